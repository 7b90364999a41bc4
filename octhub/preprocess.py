"""From a scan to a model's input, and from a model's map back to the scan."""

from dataclasses import dataclass, replace

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
    run = np.logical_and.accumulate
    margin = run(white, axis=0) | run(white[::-1], axis=0)[::-1]
    return margin if margin.mean() >= SMALLEST_MARGIN else None


def grown_margins(scan: np.ndarray) -> np.ndarray | None:
    """White margins and the JPEG block around them, which they smear over: (H, W) bool, or None without a margin."""
    margin = white_margins(scan)
    if margin is None:
        return None
    return cv2.dilate(margin.astype(np.uint8), np.ones((2 * JPEG_BLOCK + 1,) * 2, np.uint8)).astype(bool)


def blank_margins(scan: np.ndarray) -> np.ndarray:
    """Paint white margins black: (H, W) float in [0, 1] → the same; the same array when it has no margin."""
    margin = grown_margins(scan)
    return scan if margin is None else np.where(margin, 0, scan).astype(scan.dtype)


def trim_sides(scan: np.ndarray) -> tuple[np.ndarray, int]:
    """(the scan without its black columns at the left and right, how many were cut at the left)."""
    lit = np.flatnonzero(scan.any(axis=0))
    return (scan[:, lit[0] : lit[-1] + 1], int(lit[0])) if len(lit) else (scan, 0)


def retina_row(scan: np.ndarray) -> float:
    """The row, in pixels from the top, around which the retina's light lies.

    It is the centroid of each row's light above the scan's median, squared so that the bright layers count
    and the dim vitreous and choroid hardly do.
    """
    rows = np.maximum(scan - np.median(_thinned(scan)), 0).mean(axis=1) ** 2
    total = rows.sum()
    return float((rows * np.arange(len(rows))).sum() / total) if total > 0 else (len(rows) - 1) / 2


def retina_box(shape: tuple[int, int], row: float, aspect: float) -> Box:
    """The full-width band around `row` whose width is `aspect` times its height, inside a scan of `shape`.

    A scan that is wider than that is taken whole (and squeezed by the resize), never padded.
    """
    height, width = shape
    band = min(height, max(1, round(width / aspect)))
    top = int(np.clip(round(row - band / 2), 0, height - band))
    return Box(top, 0, band, width)


def window(scan: np.ndarray, seen: np.ndarray | None = None) -> tuple[float, float]:
    """(low, high) intensities that become 0 and 1: the 10th and 99.5th percentile of the pixels `seen`, or of all.

    Devices differ in black level and gain; this makes their scans alike.
    """
    values = _thinned(scan)
    if seen is not None:
        values = values[_thinned(seen)]
    low, high = np.percentile(values, (10, 99.5)) if values.size else (0, 1)
    return float(low), float(max(high, low + 1e-3))


def _thinned(scan: np.ndarray) -> np.ndarray:
    """Every k-th pixel in both directions, so that about 20,000 are left: enough for percentiles."""
    k = max(1, int((scan.size / 20_000) ** 0.5))
    return scan[::k, ::k]


def cut(scan: np.ndarray, box: Box, size: tuple[int, int]) -> torch.Tensor:
    """The box of a scan, windowed and resized: (H, W) float32 in [0, 1] → (1, *size) float32 in [0, 1]."""
    crop = scan[box.top : box.top + box.height, box.left : box.left + box.width]
    return _resized(crop, window(crop), size)


def _resized(crop: np.ndarray, levels: tuple[float, float], size: tuple[int, int]) -> torch.Tensor:
    low, high = levels
    image = torch.from_numpy(np.clip((crop - low) / (high - low), 0, 1))[None]
    return F.resize(image, list(size), antialias=True)


def preprocess(scan: np.ndarray, serving: ServingConfig) -> tuple[torch.Tensor, Box]:
    """A scan as a model's input: by the serving's framing the band around the retina, the whole scan, or a plain image.

    Args:
        scan: (H, W) float32 in [0, 1].

    Returns:
        input (in_chans, height, width) float32, normalised, of the serving size; and the part of the scan it shows.
    """
    if serving.framing == "plain":
        return normalise(_resized(scan, window(scan), serving.size), serving), Box(0, 0, *scan.shape)
    if serving.framing == "whole":
        return _preprocess_whole(scan, serving)
    scan, left = trim_sides(blank_margins(scan))
    box = retina_box(scan.shape, retina_row(scan), serving.size[1] / serving.size[0])
    return normalise(cut(scan, box, serving.size), serving), replace(box, left=left)


def _preprocess_whole(scan: np.ndarray, serving: ServingConfig) -> tuple[torch.Tensor, Box]:
    """All of a scan but its black sides. Its margins don't count for the window: where they are large, they would set
    black to their own 0 and squeeze the tissue of a device whose black is grey."""
    margin = grown_margins(scan)
    if margin is not None:
        scan = np.where(margin, 0, scan).astype(scan.dtype)
    height = scan.shape[0]
    scan, left = trim_sides(scan)
    width = scan.shape[1]
    seen = None if margin is None else ~margin[:, left : left + width]
    return normalise(_resized(scan, window(scan, seen), serving.size), serving), Box(0, left, height, width)


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


def classes_to_scan(logits: torch.Tensor, box: Box, shape: tuple[int, int], outside: int) -> np.ndarray:
    """Lay a segmenter's answer over the scan: logits (C, h, w) → (H, W) uint8 class ids of `shape`.

    The logits are enlarged, not the ids, so that outlines are smooth; one class at a time, since a scan may have 20
    megapixels. Pixels outside the box get the id `outside`.
    """
    best, ids = None, None
    for id, logit in enumerate(logits.float()):
        enlarged = F.resize(logit[None], [box.height, box.width], antialias=False)[0]
        if best is None:
            best, ids = enlarged, torch.zeros_like(enlarged, dtype=torch.uint8)
            continue
        ids[enlarged > best] = id
        best = torch.maximum(best, enlarged)
    out = np.full(shape, outside, np.uint8)
    out[box.top : box.top + box.height, box.left : box.left + box.width] = ids.cpu().numpy()
    return out
