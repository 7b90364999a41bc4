"""The models that octhub's are compared with, and what each is usually given.

Their weights are random: how fast a model is doesn't depend on them.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import timm
import torch
from torch import nn

from octhub.hub import DEFAULT_CLASSIFIER, DEFAULT_SEGMENTER, locate
from octhub.octnet import OctNet
from octhub.serving import ServingConfig

SEGMENTER_CLASSES = 10
"""Seven layers of the retina, fluid, and what lies above and below, as in the committed checkpoint."""

IMAGENET = (3, 224, 224)
"""What ImageNet's classifiers are given (He et al. 2016, "Deep Residual Learning for Image Recognition")."""


@dataclass(frozen=True)
class Contestant:
    """A model, and what it is given.

    Attributes:
        name: as it is shown.
        make: builds it.
        shape: (channels, height, width) of its input.
    """

    name: str
    make: Callable[[], nn.Module]
    shape: tuple[int, int, int]

    def build(self) -> nn.Module:
        """The model in eval mode, without gradients."""
        torch.manual_seed(0)
        return self.make().eval().requires_grad_(False)


def serving_size(checkpoint: str) -> tuple[int, int]:
    """(height, width) of the input that a checkpoint is served with."""
    config = json.loads((Path(locate(checkpoint)) / "config.json").read_text(encoding="utf-8"))
    height, width = config["serving"]["size"]
    return height, width


def classifiers(size: tuple[int, int] | None = None) -> list[Contestant]:
    """OctNet as it is served and at ImageNet's size, and what is often fine-tuned for OCT, as timm has it.

    Args:
        size: (height, width) for all, instead.
    """
    rivals = {"ResNet-50": "resnet50", "MobileNetV2": "mobilenetv2_100", "EfficientNet-Lite0": "efficientnet_lite0"}
    octnet = Contestant("OctNet", OctNet, (1, *serving_size(DEFAULT_CLASSIFIER)))
    at_224 = Contestant("OctNet at 224×224", OctNet, (1, *IMAGENET[1:]))
    others = [Contestant(name, partial(timm.create_model, timms), IMAGENET) for name, timms in rivals.items()]
    return [octnet, at_224, *others] if size is None else [resized(c, size) for c in (octnet, *others)]


def segmenters(size: tuple[int, int] | None = None) -> list[Contestant]:
    """UNet and its rivals with the same encoder, at the size that UNet is served with, or at another."""
    from training.baselines import MODELS  # segmentation-models-pytorch takes a second

    size = size or serving_size(DEFAULT_SEGMENTER)
    serving = ServingConfig(tuple(f"class {i}" for i in range(SEGMENTER_CLASSES)), size)
    return [
        Contestant(name, partial(make, SEGMENTER_CLASSES, "resnet34", serving), (1, *size))
        for name, make in MODELS.items()
    ]


def resized(contestant: Contestant, size: tuple[int, int]) -> Contestant:
    return replace(contestant, shape=(contestant.shape[0], *size))
