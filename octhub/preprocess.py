"""From a scan to a model's input, and from a model's map back to the scan."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.nn import functional as F

from octhub.serving import ServingConfig
from octhub.tissue import Tissue


@dataclass(frozen=True)
class Box:
    """A rectangle of a scan, in its pixels: rows top … top + height, columns left … left + width."""

    top: int
    left: int
    height: int
    width: int


def retina_row(scan: np.ndarray) -> float:
    """The row, in pixels from the top, around which the retina's light lies.

    It is the centroid of each row's light above the scan's median, squared so that the bright layers count
    and the dim vitreous and choroid hardly do.
    """
    light = scan - np.median(_thinned(scan))
    rows = np.maximum(light, 0, out=light).mean(axis=1) ** 2
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
    image = torch.from_numpy(windowed(crop, levels))[None]
    return resize(image, size, antialias=True)


def resize(image: torch.Tensor, size: tuple[int, int], antialias: bool = False) -> torch.Tensor:
    """(C, H, W) → (C, *size), bilinear. As torchvision does it, which takes a second to import."""
    if image.shape[1:] == size:
        return image
    return F.interpolate(image[None], size, mode="bilinear", align_corners=False, antialias=antialias)[0]


def windowed(scan: np.ndarray, levels: tuple[float, float]) -> np.ndarray:
    """A copy of a scan in which the levels of `window` are 0 and 1, and nothing is outside."""
    low, high = levels
    image = scan - low
    image /= high - low
    return np.clip(image, 0, 1, out=image)


def preprocess(scan: np.ndarray | Tissue, serving: ServingConfig) -> tuple[torch.Tensor, Box]:
    """A scan as a model's input: by the serving's framing the band around the retina, the whole scan, or a plain image.

    Args:
        scan: (H, W) float32 in [0, 1], or its tissue, if that was found already.

    Returns:
        input (in_chans, height, width) float32, normalised, of the serving size; and the part of the scan it shows.
    """
    if serving.framing == "plain":
        scan = scan.scan if isinstance(scan, Tissue) else scan
        return normalise(_resized(scan, window(scan), serving.size), serving), Box(0, 0, *scan.shape)
    tissue = Tissue.of(scan)
    image = tissue.image
    if serving.framing == "whole":
        # Margins don't count for the window: where they are large, they would set black to their own 0 and squeeze the
        # tissue of a device whose black is grey.
        box = Box(0, tissue.left, *image.shape)
        return normalise(_resized(image, window(image, tissue.seen), serving.size), serving), box
    box = retina_box(image.shape, retina_row(image), serving.size[1] / serving.size[0])
    return normalise(cut(image, box, serving.size), serving), replace(box, left=tissue.left)


def normalise(image: torch.Tensor, serving: ServingConfig) -> torch.Tensor:
    """(1, H, W) windowed intensities in [0, 1] → (in_chans, H, W), less the mean, over the standard deviation."""
    image = image.expand(len(serving.mean), *image.shape[1:])
    mean, std = (torch.tensor(each, dtype=image.dtype)[:, None, None] for each in (serving.mean, serving.std))
    return (image - mean) / std


def to_scan(map: torch.Tensor, box: Box, shape: tuple[int, int]) -> np.ndarray:
    """Lay a model's map over the scan: (h, w) float → (H, W) float32 of `shape`, 0 outside the box."""
    out = np.zeros(shape, np.float32)
    patch = resize(map[None].float(), (box.height, box.width))[0]
    out[box.top : box.top + box.height, box.left : box.left + box.width] = patch.cpu().numpy()
    return out


def classes_to_scan(logits: torch.Tensor, box: Box, shape: tuple[int, int], outside: int) -> np.ndarray:
    """Lay a segmenter's answer over the scan: logits (C, h, w) → (H, W) uint8 class ids of `shape`.

    The logits are enlarged, not the ids, so that outlines are smooth; one class at a time, since a scan may have 20
    megapixels. Pixels outside the box get the id `outside`.
    """
    best, ids = None, None
    for id, logit in enumerate(logits.float()):
        enlarged = resize(logit[None], (box.height, box.width))[0]
        if best is None:
            best, ids = enlarged, torch.zeros_like(enlarged, dtype=torch.uint8)
            continue
        ids[enlarged > best] = id
        best = torch.maximum(best, enlarged)
    out = np.full(shape, outside, np.uint8)
    out[box.top : box.top + box.height, box.left : box.left + box.width] = ids.cpu().numpy()
    return out
