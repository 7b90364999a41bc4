"""The segmenters that UNet is compared with, of segmentation-models-pytorch, under UNet's interface."""

from collections.abc import Callable

import segmentation_models_pytorch as smp
import torch
from torch import nn
from torch.nn import functional as F

from octhub.serving import ServingConfig
from octhub.unet import REDUCTION, UNet


class Baseline(nn.Module):
    """A segmenter of segmentation-models-pytorch that takes any size and is trained and served as a UNet is."""

    def __init__(self, make: type[nn.Module], num_classes: int, encoder: str, serving: ServingConfig):
        super().__init__()
        self.serving, self.in_chans, self.num_classes = serving, len(serving.mean), num_classes
        self.net = make(encoder, encoder_weights=None, in_channels=self.in_chans, classes=num_classes)

    def forward(self, x: torch.Tensor, every_score: bool = False) -> torch.Tensor | list[torch.Tensor]:
        """(B, in_chans, H, W) → logits (B, num_classes, H, W); a list of these one with `every_score`."""
        height, width = x.shape[2:]
        padded = F.pad(x, (0, -width % REDUCTION, 0, -height % REDUCTION), mode="replicate")
        logits = self.net(padded)[..., :height, :width]
        return [logits] if every_score else logits

    def load_encoder(self, tensors: dict[str, torch.Tensor]) -> None:
        """Start the encoder from tensors of the ResNet that UNet's encoder is."""
        self.net.encoder.load_state_dict(tensors)


def make_unet(num_classes: int, encoder: str, serving: ServingConfig) -> UNet:
    return UNet(in_chans=len(serving.mean), num_classes=num_classes, encoder=encoder, serving=serving)


def make_unetpp(num_classes: int, encoder: str, serving: ServingConfig) -> Baseline:
    return Baseline(smp.UnetPlusPlus, num_classes, encoder, serving)


def make_deeplabv3plus(num_classes: int, encoder: str, serving: ServingConfig) -> Baseline:
    return Baseline(smp.DeepLabV3Plus, num_classes, encoder, serving)


MODELS: dict[str, Callable[[int, str, ServingConfig], nn.Module]] = {
    "UNet": make_unet,
    "U-Net++": make_unetpp,
    "DeepLabV3+": make_deeplabv3plus,
}
"""Zhou et al. 2018 (U-Net++) and Chen et al. 2018 (DeepLabV3+), with the library's defaults otherwise."""
