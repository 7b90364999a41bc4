"""What a mask measures: each class's area, thickness and number of regions, for tables, CSV files and the API."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from octhub.mask import UNKNOWN, checked_ids

SMALLEST, LARGEST = 1e-3, 1e4
"""µm that a pixel may measure: no OCT resolves a nanometre, and no scan's pixel has a centimetre."""


@dataclass(frozen=True)
class Scale:
    """How large a pixel is. It comes with the scan or from the user and is never guessed: devices differ, and so do
    eyes of different length.

    Attributes:
        axial: µm from one row to the next, along depth, at the scan's own size.
        lateral: µm from one column to the next, across the retina, at the scan's own size.
    """

    axial: float
    lateral: float

    def __post_init__(self):
        if not all(SMALLEST <= side <= LARGEST for side in (self.axial, self.lateral)):
            expected = f"expected numbers from {SMALLEST:g} to {LARGEST:g}"
            raise ValueError(f"a pixel of {self.axial} × {self.lateral} µm, {expected}")


@dataclass(frozen=True)
class Measurement:
    """One class of a mask. Thickness is counted along the columns (A-scans), over those in which the class occurs.

    Where a class lies in several pieces in a column, their sum is its thickness there. A tilted retina is thicker
    along the columns than across its layers. What can't be measured is None.

    Attributes:
        name: the class.
        pixels: how many there are.
        share: of the mask's known pixels, in [0, 1]; None when none is known.
        regions: number of connected regions; pixels that touch at a corner are connected.
        columns: in how many columns the class occurs.
        thickness_px_mean, thickness_px_max: pixels in such a column; None when there is no such column.
        area_mm2: None without a scale.
        thickness_um_mean, thickness_um_max: the same in µm; None without a scale or such a column.
    """

    name: str
    pixels: int
    share: float | None
    regions: int
    columns: int
    thickness_px_mean: float | None
    thickness_px_max: int | None
    area_mm2: float | None = None
    thickness_um_mean: float | None = None
    thickness_um_max: float | None = None


def measure(mask: np.ndarray, class_names: Sequence[str], scale: Scale | None = None) -> list[Measurement]:
    """Measure every class of a mask.

    Args:
        mask: (H, W) int class ids at the scan's own size; UNKNOWN (255) counts nowhere.
        class_names: one name per id.
        scale: the size of the scan's pixels; without it there are only pixels.

    Returns:
        One Measurement per class, in the order of the ids, those that don't occur included.

    Raises:
        ValueError: the mask isn't (H, W) integers, or holds ids without a class.
    """
    ids = checked_ids(mask, class_names, "the mask")
    known = int((ids != UNKNOWN).sum())
    return [_measure_class(ids, number, name, known, scale) for number, name in enumerate(class_names)]


def thickness_profile(mask: np.ndarray, class_id: int) -> np.ndarray:
    """(H, W) class ids → (W,) int64, how many pixels of the class each column holds."""
    return np.count_nonzero(np.asarray(mask) == class_id, axis=0)


def _measure_class(ids: np.ndarray, number: int, name: str, known: int, scale: Scale | None) -> Measurement:
    where = ids == number
    profile = thickness_profile(ids, number)
    present = profile[profile > 0]
    pixels, columns = int(present.sum()), len(present)
    mean, most = (pixels / columns, int(present.max())) if columns else (None, None)
    return Measurement(
        name=name,
        pixels=pixels,
        share=pixels / known if known else None,
        regions=cv2.connectedComponents(where.astype(np.uint8), connectivity=8)[0] - 1 if columns else 0,
        columns=columns,
        thickness_px_mean=mean,
        thickness_px_max=most,
        area_mm2=pixels * scale.axial * scale.lateral / 1e6 if scale else None,
        thickness_um_mean=mean * scale.axial if scale and columns else None,
        thickness_um_max=most * scale.axial if scale and columns else None,
    )
