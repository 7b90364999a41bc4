"""OctNet: a small convolutional classifier of retinal OCT B-scans."""

import torch
from torch import nn

from octhub.hub import CheckpointMixin
from octhub.serving import ServingConfig


class ConvBlock(nn.Sequential):
    """Convolution → batch norm → ReLU → 2×2 max pool: (B, in, H, W) → (B, out, ⌊H/2⌋, ⌊W/2⌋)."""

    def __init__(self, in_chans: int, out_chans: int, kernel_size: int):
        super().__init__()
        self.conv = nn.Conv2d(in_chans, out_chans, kernel_size, padding=kernel_size // 2, bias=False)
        self.norm = nn.BatchNorm2d(out_chans)
        self.act = nn.ReLU(inplace=True)
        self.pool = nn.MaxPool2d(2)


class OctNet(
    nn.Module,
    CheckpointMixin,
    pipeline_tag="image-classification",
    tags=["medical", "ophthalmology", "oct", "retina"],
):
    """Six convolutional blocks, global average pooling, and a three-layer MLP.

    With the default layout it has 1,763,124 parameters, 6.90 % of ResNet-50's 25,557,032.

    Args:
        in_chans: input channels; B-scans have one.
        num_classes: number of classes.
        channels: output channels of each block.
        kernel_sizes: odd kernel size of each block's convolution.
        hidden: widths of the MLP's hidden layers.
        dropout: dropout probability before each hidden layer's output is used, in [0, 1).
        serving: how to run the model on scans; None for a model that is not served yet.
        remembered: how many training scans' features it carries, for `novelty`: the buffer `memory`.

    Shapes:
        input (B, in_chans, H, W), normalised float, H and W at least 2 ** len(channels);
        output logits (B, num_classes).
    """

    def __init__(
        self,
        in_chans: int = 1,
        num_classes: int = 4,
        channels: tuple[int, ...] = (16, 32, 64, 128, 256, 512),
        kernel_sizes: tuple[int, ...] = (7, 5, 5, 3, 3, 3),
        hidden: tuple[int, ...] = (256, 64),
        dropout: float = 0.5,
        serving: ServingConfig | None = None,
        remembered: int = 0,
    ):
        super().__init__()
        if len(channels) != len(kernel_sizes):
            raise ValueError(
                f"{len(channels)} channels and {len(kernel_sizes)} kernel_sizes: expected one of each a block"
            )
        self.in_chans, self.num_classes = in_chans, num_classes
        self.smallest = 2 ** len(channels)
        self.set_serving(serving)
        if self.serving is not None and min(self.serving.size) < self.smallest:
            raise ValueError(f"serving size {self.serving.size}, expected at least {self.smallest} pixels a side")
        widths = (in_chans, *channels)
        self.blocks = nn.Sequential(
            *(ConvBlock(*shape) for shape in zip(widths[:-1], channels, kernel_sizes, strict=True))
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        layers: list[nn.Module] = []
        widths = (channels[-1], *hidden)
        for n_in, n_out in zip(widths[:-1], hidden, strict=True):
            layers += [nn.Linear(n_in, n_out), nn.ReLU(inplace=True), nn.Dropout(dropout)]
        self.mlp = nn.Sequential(*layers, nn.Linear(widths[-1], num_classes))
        self.register_buffer("memory", torch.zeros(remembered, channels[-1]) if remembered else None)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, in_chans, H, W) → logits (B, num_classes)."""
        return self.mlp(self.features(x))

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """(B, in_chans, H, W) → pooled features (B, channels[-1])."""
        return self.pooled(self.activation(x))

    def activation(self, x: torch.Tensor) -> torch.Tensor:
        """(B, in_chans, H, W) → the last block's activation before its pooling, (B, channels[-1], h, w)."""
        if x.ndim != 4 or x.shape[1] != self.in_chans or min(x.shape[2:]) < self.smallest:
            expected = f"(B, {self.in_chans}, H, W) with H and W at least {self.smallest}"
            raise ValueError(f"input of shape {tuple(x.shape)}, expected {expected}")
        *others, last = self.blocks
        for block in others:
            x = block(x)
        return last.act(last.norm(last.conv(x)))

    def pooled(self, activation: torch.Tensor) -> torch.Tensor:
        """An activation, (B, channels[-1], h, w) → features (B, channels[-1])."""
        return self.pool(self.blocks[-1].pool(activation)).flatten(1)

    def novelty(self, features: torch.Tensor) -> torch.Tensor | None:
        """(B, channels[-1]) → (B,) distance in [0, 2] from the nearest remembered scan; None without any.

        Nearest neighbours of features of length 1: Sun et al. 2022, "Out-of-Distribution Detection with Deep Nearest
        Neighbors".
        """
        if self.memory is None:
            return None
        features, memory = (nn.functional.normalize(x.float(), dim=1) for x in (features, self.memory))
        nearest = (features @ memory.T).amax(dim=1)
        return (2 - 2 * nearest).clamp(min=0).sqrt()

    def heat(self, activation: torch.Tensor, class_index: torch.Tensor) -> torch.Tensor:
        """Grad-CAM (Selvaraju et al. 2017) at the last block's activation, in closed form.

        Max pooling hands each window's gradient to one pixel, and average pooling hands the same to every window. So
        the mean of a logit's gradient over a channel, which is the channel's weight, is the logit's gradient at the
        channel's pooled feature over the number of pixels, and only the MLP has to be differentiated.

        Args:
            activation: (B, channels[-1], h, w), of `activation`.
            class_index: (B,) int64, the class to explain of each.

        Returns:
            (B, h, w), at least 0: evidence for the class.
        """
        with torch.inference_mode(False), torch.enable_grad():
            features = self.pooled(activation).detach().clone().requires_grad_(True)
            logits = self.mlp(features).gather(1, class_index.clone()[:, None])
            (gradient,) = torch.autograd.grad(logits.sum(), features)
        weights = gradient / activation[0, 0].numel()
        return (weights[:, :, None, None] * activation).sum(1).relu()

    def cam_layer(self) -> nn.Module:
        """The layer that `heat` looks at: the last block's activation, before its pooling."""
        return self.blocks[-1].act
