"""What the example gallery promises of a segmenter: one figure of its answer, and how far that may be off."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from octhub.predict import Segmentation


@dataclass(frozen=True)
class MaskPromise:
    """A segmenter's answer agrees with an expert's mask as well as it did.

    Attributes:
        mask, mask_sha256: the mask's file (see octhub.mask.read_mask), and its hash.
        miou: the expected mean IoU in [0, 1]; None until it is recorded.
        tolerance: how far another machine's may be off.
    """

    FIGURE: ClassVar = "miou"

    mask: Path
    mask_sha256: str
    miou: float | None = None
    tolerance: float = 0.02

    @property
    def promised(self) -> float | None:
        return self.miou

    @property
    def allowed(self) -> float:
        """How far the figure may be off."""
        return self.tolerance

    def measure(self, answer: Segmentation) -> float:
        """The figure of an answer. Raises MaskError: the mask doesn't fit."""
        return round(answer.score(self.mask).miou, 4)

    def show(self, figure: float) -> str:
        return f"mIoU {figure:.4f}"


@dataclass(frozen=True)
class ClassPromise:
    """A segmenter finds a class, and about as much of it as it did.

    Attributes:
        name: the class.
        pixels: how many of the scan's pixels are expected to be of it; None until they are recorded.
        tolerance: how far another machine's may be off, as a share of `pixels`.
    """

    FIGURE: ClassVar = "pixels"

    name: str
    pixels: int | None = None
    tolerance: float = 0.2

    @property
    def promised(self) -> int | None:
        return self.pixels

    @property
    def allowed(self) -> float:
        """How far the figure may be off."""
        return self.tolerance * (self.pixels or 0)

    def measure(self, answer: Segmentation) -> int:
        """The figure of an answer. Raises ValueError: the segmenter has no such class."""
        if self.name not in answer.class_names:
            raise ValueError(f"no class {self.name!r}, expected one of {', '.join(answer.class_names)}")
        return int((answer.mask == answer.class_names.index(self.name)).sum())

    def show(self, figure: float) -> str:
        return f"{self.name} {figure} px"
