"""What of a scan shows the eye: white margins of exports are painted black, and black sides are cut."""

from dataclasses import dataclass

import cv2
import numpy as np

WHITE = 245 / 255
"""Intensity from which a margin counts as white: OCT2017's exports fill what the scan doesn't cover with white."""

SMALLEST_MARGIN = 1e-3
"""Share of the scan below which white at the border is a bright vessel or the sclera, not a margin."""

JPEG_BLOCK = 8
"""Pixels by which a margin is grown: JPEG smears its edge over a block."""


@dataclass(frozen=True, eq=False)
class Tissue:
    """A scan without what isn't tissue; found once, for all who look at the scan.

    Attributes:
        scan: (H, W) float32 in [0, 1], as it was read.
        image: (H, w) float32 in [0, 1], with black margins and without black sides; it may be a view of `scan`.
        left: how many columns were cut at the left.
        seen: (H, w) bool, where the image is the scan's own; None where all of it is.
    """

    scan: np.ndarray
    image: np.ndarray
    left: int
    seen: np.ndarray | None

    @classmethod
    def of(cls, scan: "np.ndarray | Tissue") -> "Tissue":
        """Find the tissue of a scan, (H, W) float32 in [0, 1], unless it was found already."""
        if isinstance(scan, Tissue):
            return scan
        margin = grown_margins(scan)
        image = scan if margin is None else np.where(margin, scan.dtype.type(0), scan)
        lit = np.flatnonzero(image.any(axis=0))
        columns = slice(lit[0], lit[-1] + 1) if len(lit) else slice(0, image.shape[1])
        return cls(scan, image[:, columns], int(columns.start), None if margin is None else ~margin[:, columns])


def white_margins(scan: np.ndarray) -> np.ndarray | None:
    """Where a scan is white from the top or bottom border on, along a column; None if it has no margin.

    OCT2017's exports fill with white what a rotated scan doesn't cover, and how often they do depends on the
    class: a classifier must not see it. The scan itself is convex, so all of the white lies above or below it.

    Args:
        scan: (H, W) float in [0, 1].

    Returns:
        (H, W) bool or None.
    """
    white = scan >= WHITE
    if not (white[0].any() or white[-1].any()):
        return None
    rows = np.arange(len(white))[:, None]
    margin = (rows < _run(white)) | (rows >= len(white) - _run(white[::-1]))
    return margin if np.count_nonzero(margin) >= SMALLEST_MARGIN * margin.size else None


def _run(white: np.ndarray) -> np.ndarray:
    """(H, W) bool → (W,) how many rows are white, from the first one on."""
    lengths = np.zeros(white.shape[1], int)
    columns = np.flatnonzero(white[0])
    beginning = white[:, columns]
    lengths[columns] = np.where(beginning.all(axis=0), len(white), beginning.argmin(axis=0))
    return lengths


def grown_margins(scan: np.ndarray) -> np.ndarray | None:
    """White margins and the JPEG block around them, which they smear over: (H, W) bool, or None without a margin."""
    margin = white_margins(scan)
    if margin is None:
        return None
    return cv2.dilate(margin.view(np.uint8), np.ones((2 * JPEG_BLOCK + 1,) * 2, np.uint8)).view(bool)
