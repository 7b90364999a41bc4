"""The one way to run a model on a scan: app, API, command line and Python all come through here."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from octhub.decision import NOT_BSCAN, OUTLINED, decide, not_bscan
from octhub.device import pick_device
from octhub.explain import heatmaps
from octhub.hub import DEFAULT_CLASSIFIER, DEFAULT_SEGMENTER, CheckpointError
from octhub.mask import UNKNOWN, read_mask
from octhub.metrics import SegmentationScore
from octhub.octnet import OctNet
from octhub.preprocess import classes_to_scan, preprocess, to_scan
from octhub.scan import read_scan
from octhub.serving import ServingConfig
from octhub.tissue import Tissue
from octhub.unet import UNet

ScanLike = str | Path | Image.Image | np.ndarray
"""What can be classified or segmented: a file, a PIL image, or an (H, W) array (see octhub.scan.read_scan)."""


@dataclass(frozen=True)
class Classification:
    """A classifier's answer for one scan.

    Attributes:
        label: the likeliest class.
        probabilities: every class's calibrated probability, in the checkpoint's order; they sum to 1.
        heatmap: (H, W) float32 in [0, 1] at the scan's own size, or None when it was not asked for.
        heatmap_class: the class that the heatmap explains.
        decision: the label, or "unsure", or "not an OCT B-scan"; the label unless given.
        reason: why it isn't the label, with the figure and what was expected; "" when it is.
    """

    label: str
    probabilities: dict[str, float]
    heatmap: np.ndarray | None = None
    heatmap_class: str | None = None
    decision: str = ""
    reason: str = ""

    def __post_init__(self):
        if not self.decision:
            object.__setattr__(self, "decision", self.label)


class Classifier:
    """A served OctNet: scan in, Classification out. Safe to share between threads."""

    def __init__(self, model: OctNet, device: str | torch.device | None = None):
        """Args: model: with a serving configuration; device: the best there is by default."""
        if model.serving is None:
            raise CheckpointError("the model has no serving configuration (size, normalisation, class names)")
        self.device = pick_device(device)
        self.model = model.to(self.device, memory_format=torch.channels_last).eval().requires_grad_(False)
        self.serving = model.serving

    @classmethod
    def from_pretrained(
        cls, source: str | Path = DEFAULT_CLASSIFIER, *, device: str | torch.device | None = None, **hub_kwargs
    ) -> "Classifier":
        """Load a checkpoint folder or Hub repo; see OctNet.from_pretrained for `hub_kwargs` and errors."""
        return cls(OctNet.from_pretrained(source, **hub_kwargs), device)

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.serving.class_names

    def __call__(self, scan: ScanLike, heatmap: bool | str = False) -> Classification:
        """Classify one scan.

        Args:
            scan: a path, a PIL image or an (H, W) array.
            heatmap: True for the Grad-CAM of the likeliest class, or a class name for that one's.

        Raises:
            ScanError: the scan can't be read.
            ValueError: `heatmap` names no class of this model.
        """
        if isinstance(heatmap, str) and heatmap not in self.class_names:
            raise ValueError(f"heatmap class {heatmap!r}, expected one of {', '.join(self.class_names)}")
        pixels = read_scan(scan)
        tissue = Tissue.of(pixels)
        input, box = preprocess(tissue, self.serving)
        input = input[None].to(self.device, memory_format=torch.channels_last)
        with torch.inference_mode():
            activation = self.model.activation(input)
            features = self.model.pooled(activation)
            logits, novelty = self.model.mlp(features), self.model.novelty(features)
            shown = self.class_names.index(heatmap) if isinstance(heatmap, str) else int(logits.argmax())
            if heatmap:
                heat = self.model.heat(activation, torch.tensor([shown], device=self.device))
                cam = heatmaps(heat, self.serving.size)[0]
        probabilities = (logits[0].float() / self.serving.temperature).softmax(0).tolist()
        label = self.class_names[int(logits.argmax())]
        named = dict(zip(self.class_names, probabilities, strict=True))
        decided = decide(tissue, self.serving, label, named[label], None if novelty is None else float(novelty))
        if not heatmap:
            return Classification(label, named, None, None, *decided)
        return Classification(label, named, to_scan(cam, box, pixels.shape), self.class_names[shown], *decided)


@dataclass(frozen=True, eq=False)
class Segmentation:
    """A segmenter's answer for one scan.

    Attributes:
        mask: (H, W) uint8 class ids at the scan's own size; UNKNOWN (255) in black columns at the sides, where the
            scan shows nothing.
        class_names: one name per id.
        decision: "outlined" or, where the outlines mean nothing, "not an OCT B-scan".
        reason: why it is no B-scan, with the figure and what was expected; "" when it is one.
    """

    mask: np.ndarray
    class_names: tuple[str, ...]
    decision: str = OUTLINED
    reason: str = ""

    def score(self, truth: ScanLike) -> SegmentationScore:
        """How well the mask agrees with an expert's.

        Args:
            truth: (H, W) class ids, as an array, an image or an index PNG's path; 255 (not annotated) counts nowhere.

        Raises:
            MaskError: the mask can't be read, has another size, or holds ids without a class.
        """
        truth = read_mask(truth, self.mask.shape, self.class_names)
        return SegmentationScore.of(self.mask, truth, self.class_names)


class Segmenter:
    """A served UNet: scan in, Segmentation out. Safe to share between threads."""

    def __init__(self, model: UNet, device: str | torch.device | None = None):
        """Args: model: with a serving configuration; device: the best there is by default."""
        if model.serving is None:
            raise CheckpointError("the model has no serving configuration (size, normalisation, class names)")
        self.device = pick_device(device)
        self.model = model.to(self.device, memory_format=torch.channels_last).eval().requires_grad_(False)
        self.serving = model.serving

    @classmethod
    def from_pretrained(
        cls, source: str | Path = DEFAULT_SEGMENTER, *, device: str | torch.device | None = None, **hub_kwargs
    ) -> "Segmenter":
        """Load a checkpoint folder or Hub repo; see UNet.from_pretrained for `hub_kwargs` and errors."""
        return cls(UNet.from_pretrained(source, **hub_kwargs), device)

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.serving.class_names

    def __call__(self, scan: ScanLike) -> Segmentation:
        """Outline the classes in one scan: a path, a PIL image or an (H, W) array.

        Raises:
            ScanError: the scan can't be read.
        """
        pixels = read_scan(scan)
        tissue = Tissue.of(pixels)
        input, box = preprocess(tissue, self.serving)
        logits = served_logits(self.model, input.to(self.device), self.serving)
        reason = not_bscan(tissue, self.serving.bscan)
        decision = NOT_BSCAN if reason else OUTLINED
        return Segmentation(classes_to_scan(logits, box, pixels.shape, UNKNOWN), self.class_names, decision, reason)


def served_logits(model: nn.Module, input: torch.Tensor, serving: ServingConfig) -> torch.Tensor:
    """(in_chans, h, w) → a segmenter's logits (C, h, w), float32, as its configuration serves them: the mean with the
    mirror image's, and offset."""
    batch = torch.stack([input, input.flip(-1)] if serving.mirror else [input])
    with torch.inference_mode():
        logits = model(batch.contiguous(memory_format=torch.channels_last)).float()
    logits = (logits[0] + logits[1].flip(-1)) / 2 if serving.mirror else logits[0]
    if serving.logit_offsets:
        logits = logits + torch.tensor(serving.logit_offsets, device=logits.device)[:, None, None]
    return logits
