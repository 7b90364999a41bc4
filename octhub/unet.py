"""UNet: a U-Net with a ResNet-34 encoder whose decoder scores the classes at every resolution."""

import torch
from torch import nn
from torch.nn import functional as F

from octhub.hub import CheckpointMixin
from octhub.serving import ServingConfig

REDUCTION = 32
"""How many times smaller than the input the encoder's last features are."""


class DecoderBlock(nn.Module):
    """Double the resolution, join the skip, convolve twice, score the classes.

    A 2×2 transposed convolution, concatenation, two 3×3 convolutions with batch norm and ReLU (Ronneberger et al.
    2015), and a 1×1 convolution whose scores refine the coarser block's, upsampled (as in Long et al. 2015's FCN).
    """

    def __init__(self, in_chans: int, skip_chans: int, out_chans: int, num_classes: int):
        super().__init__()
        self.up = nn.ConvTranspose2d(in_chans, out_chans, 2, stride=2)
        self.conv = nn.Sequential(
            *_conv(out_chans + skip_chans, out_chans),
            *_conv(out_chans, out_chans),
        )
        self.score = nn.Conv2d(out_chans, num_classes, 1)

    def forward(
        self, x: torch.Tensor, skip: torch.Tensor | None, coarser: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, in, h, w), (B, skip, 2h, 2w) and scores (B, classes, h, w) → (B, out, 2h, 2w), (B, classes, 2h, 2w)."""
        x = self.up(x)
        x = self.conv(x if skip is None else torch.cat([x, skip], 1))
        score = self.score(x)
        if coarser is not None:
            score = score + F.interpolate(coarser, scale_factor=2, mode="bilinear", align_corners=False)
        return x, score


def _conv(in_chans: int, out_chans: int) -> tuple[nn.Module, ...]:
    conv = nn.Conv2d(in_chans, out_chans, 3, padding=1, bias=False)
    return conv, nn.BatchNorm2d(out_chans), nn.ReLU(inplace=True)


class UNet(
    nn.Module,
    CheckpointMixin,
    pipeline_tag="image-segmentation",
    tags=["medical", "ophthalmology", "oct", "retina"],
):
    """A segmenter of B-scans, or of any other images with one or more channels.

    Args:
        in_chans: input channels.
        num_classes: classes, background included.
        encoder: a timm model with five feature maps, of reductions 2 to 32.
        decoder_channels: output channels of the five decoder blocks, coarse to fine.
        serving: how to run the model on scans; None for a model that is not served yet.

    Shapes:
        input (B, in_chans, H, W), normalised float, any H and W; output logits (B, num_classes, H, W).
    """

    def __init__(
        self,
        in_chans: int = 1,
        num_classes: int = 10,
        encoder: str = "resnet34",
        decoder_channels: tuple[int, ...] = (256, 128, 64, 32, 16),
        serving: ServingConfig | None = None,
    ):
        import timm  # it takes a while, and who only classifies needs no encoder

        super().__init__()
        self.in_chans, self.num_classes = in_chans, num_classes
        self.set_serving(serving)
        if not timm.is_model(encoder):
            raise ValueError(f"encoder {encoder!r}, expected a model of timm, such as resnet34")
        if len(decoder_channels) != 5:
            raise ValueError(f"{len(decoder_channels)} decoder_channels, expected 5")
        self.encoder = timm.create_model(encoder, pretrained=False, features_only=True, in_chans=in_chans)
        reductions = self.encoder.feature_info.reduction()
        if reductions != [2, 4, 8, 16, REDUCTION]:
            raise ValueError(f"encoder {encoder} halves its input to {reductions}, expected [2, 4, 8, 16, {REDUCTION}]")
        *skips, deepest = self.encoder.feature_info.channels()
        ins = (deepest, *decoder_channels[:-1])
        self.decoder = nn.ModuleList(
            DecoderBlock(n_in, n_skip, n_out, num_classes)
            for n_in, n_skip, n_out in zip(ins, (*skips[::-1], 0), decoder_channels, strict=True)
        )

    def forward(self, x: torch.Tensor, every_score: bool = False) -> torch.Tensor | list[torch.Tensor]:
        """(B, in_chans, H, W) → logits (B, num_classes, H, W).

        Args:
            every_score: for training, a list of every decoder block's logits, coarse to fine, each upsampled to
                (B, num_classes, H, W); the last is the output.
        """
        if x.ndim != 4 or x.shape[1] != self.in_chans or min(x.shape[2:]) < 1:
            raise ValueError(f"input of shape {tuple(x.shape)}, expected (B, {self.in_chans}, H, W)")
        height, width = x.shape[2:]
        # Replicated, so that the border of the padding is no edge
        padded = F.pad(x, (0, -width % REDUCTION, 0, -height % REDUCTION), mode="replicate")
        *skips, y = self.encoder(padded)
        score, scores = None, []
        for block, skip in zip(self.decoder, (*skips[::-1], None), strict=True):
            y, score = block(y, skip, score)
            scores.append(score)
        if not every_score:
            return score[..., :height, :width]
        coarse = [F.interpolate(s, padded.shape[2:], mode="bilinear", align_corners=False) for s in scores[:-1]]
        return [s[..., :height, :width] for s in (*coarse, score)]

    def load_encoder(self, tensors: dict[str, torch.Tensor]) -> None:
        """Start the encoder from tensors named as timm names them, of its own architecture.

        Raises:
            RuntimeError: a tensor is missing, left over or of another shape.
        """
        self.encoder.load_state_dict(tensors)
