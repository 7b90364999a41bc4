"""From a scan to a model's input, and from a model's map back to the scan."""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torchvision.transforms.v2 import functional as F

from octhub.serving import ServingConfig

WHITE = 245 / 255
"""Intensity from which a margin counts as white: OCT2017's exports fill what the scan doesn't cover with white."""

SMALLEST_MARGIN = 1e-3
"""Share of the scan below which white at the border is a bright vessel or the sclera, not a margin."""

JPEG_BLOCK = 8
"""Pixels by which a margin is grown: JPEG smears its edge over a block."""


@dataclass(frozen=True)
class Box:
    """A rectangle of a scan, in its pixels: rows top … top + height, columns left … left + width."""

    top: int
    left: int
    height: int
    width: int


def blank_margins(scan: np.ndarray) -> np.ndarray:
    """Paint white margins black: runs of white pixels that reach the border along a row or column.

    The white corners of OCT2017's exports come from rotated scans, and how often they come depends on the
    class; a classifier must not see them.

    Args:
        scan: (H, W) float in [0, 1].

    Returns:
        (H, W) float in [0, 1]; the same array when it has no margin.
    """
    white = scan >= WHITE
    if not (white[0].any() or white[-1].any() or white[:, 0].any() or white[:, -1].any()):
        return scan
    run = np.logical_and.accumulate
    vertical = run(white, axis=0) | run(white[::-1], axis=0)[::-1]
    horizontal = run(white, axis=1) | run(white[:, ::-1], axis=1)[:, ::-1]
    margin = vertical | horizontal
    if margin.mean() < SMALLEST_MARGIN:
        return scan
    grown = cv2.dilate(margin.astype(np.uint8), np.ones((2 * JPEG_BLOCK + 1,) * 2, np.uint8))
    return np.where(grown, 0, scan).astype(scan.dtype)


def retina_row(scan: np.ndarray) -> float:
    """The row, in pixels from the top, around which the retina's light lies.

    It is the centroid of each row's light above the scan's median, squared so that the bright layers count
    and the dim vitreous and choroid hardly do.
    """
    rows = np.clip(scan - np.median(scan), 0, None).mean(axis=1) ** 2
    total = rows.sum()
    return float((rows * np.arange(len(rows))).sum() / total) if total > 0 else (len(rows) - 1) / 2


def retina_box(scan: np.ndarray, aspect: float) -> Box:
    """The full-width band around the retina whose width is `aspect` times its height.

    A scan that is wider than that is taken whole (and squeezed by the resize), never padded.
    """
    height, width = scan.shape
    band = min(height, max(1, round(width / aspect)))
    top = int(np.clip(round(retina_row(scan) - band / 2), 0, height - band))
    return Box(top, 0, band, width)


def window(scan: np.ndarray) -> tuple[float, float]:
    """(low, high) intensities that become 0 and 1: the 10th and 99.5th percentile.

    Devices differ in black level and gain; this makes their scans alike.
    """
    low, high = np.percentile(scan[::2, ::2] if scan.size > 100_000 else scan, (10, 99.5))
    return float(low), float(max(high, low + 1e-3))


def preprocess(scan: np.ndarray, serving: ServingConfig) -> tuple[torch.Tensor, Box]:
    """A scan as a model's input.

    Args:
        scan: (H, W) float32 in [0, 1].

    Returns:
        input (in_chans, height, width) float32, normalised, of the serving size; and the part of the scan it shows.
    """
    scan = blank_margins(scan)
    box = retina_box(scan, serving.size[1] / serving.size[0])
    crop = scan[box.top : box.top + box.height, box.left : box.left + box.width]
    low, high = window(crop)
    image = torch.from_numpy(np.clip((crop - low) / (high - low), 0, 1).astype(np.float32))[None]
    image = F.resize(image, list(serving.size), antialias=True)
    return normalise(image, serving), box


def normalise(image: torch.Tensor, serving: ServingConfig) -> torch.Tensor:
    """(1, H, W) windowed intensities in [0, 1] → (in_chans, H, W), less the mean, over the standard deviation."""
    image = image.expand(len(serving.mean), *image.shape[1:])
    return F.normalize(image, list(serving.mean), list(serving.std))


def to_scan(map: torch.Tensor, box: Box, shape: tuple[int, int]) -> np.ndarray:
    """Lay a model's map over the scan: (h, w) float → (H, W) float32 of `shape`, 0 outside the box."""
    out = np.zeros(shape, np.float32)
    patch = F.resize(map[None].float(), [box.height, box.width], antialias=False)[0]
    out[box.top : box.top + box.height, box.left : box.left + box.width] = patch.cpu().numpy()
    return out
