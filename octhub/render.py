"""Pictures for people: a scan in grey, a heatmap in colour over it, and the legend that explains the colours."""

from functools import cache

import cv2
import numpy as np


@cache
def palette() -> np.ndarray:
    """(256, 3) uint8 RGB from cold to hot: inferno, whose lightness rises evenly, so no step looks like an edge."""
    levels = np.arange(256, dtype=np.uint8)[None]
    return np.ascontiguousarray(cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO)[0, :, ::-1])


def grey(scan: np.ndarray) -> np.ndarray:
    """(H, W) float in [0, 1] → (H, W) uint8, the scan as it is shown."""
    return np.rint(np.clip(scan, 0, 1) * 255).astype(np.uint8)


def heat_layer(heatmap: np.ndarray) -> np.ndarray:
    """(H, W) float in [0, 1] → (H, W, 4) uint8 RGBA: the hotter the more opaque, and 0 is clear.

    A cold area thus leaves the scan as it is instead of painting it black.
    """
    levels = grey(heatmap)
    return np.dstack([palette()[levels], levels])


def overlay(scan: np.ndarray, heatmap: np.ndarray, opacity: float) -> np.ndarray:
    """Lay a heatmap over its scan, as a browser lays `heat_layer` over `grey`.

    Args:
        scan: (H, W) float in [0, 1].
        heatmap: (H, W) float in [0, 1].
        opacity: of the hottest place, in [0, 1]; at 0 the scan comes back in grey, bit for bit.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    if scan.ndim != 2 or scan.shape != heatmap.shape:
        raise ValueError(f"scan of shape {scan.shape} and heatmap of shape {heatmap.shape}, expected the same (H, W)")
    return blend(scan, heat_layer(heatmap), opacity)


def blend(scan: np.ndarray, layer: np.ndarray, opacity: float) -> np.ndarray:
    """Lay any layer over its scan, as a browser does.

    Args:
        scan: (H, W) float in [0, 1].
        layer: (H, W, 4) uint8 RGBA.
        opacity: of the whole layer, in [0, 1]; at 0 the scan comes back in grey, bit for bit.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    if not 0 <= opacity <= 1:
        raise ValueError(f"opacity {opacity}, expected 0 to 1")
    base = grey(scan).astype(np.float32)
    alpha = layer[..., 3] * np.float32(opacity / 255)
    blended = np.empty((*scan.shape, 3), np.uint8)
    for channel in range(3):  # one at a time: a scan may have 20 megapixels
        blended[..., channel] = np.rint(base + alpha * (layer[..., channel] - base))
    return blended


def legend(width: int = 256, height: int = 1) -> np.ndarray:
    """(height, width, 3) uint8: the colours from no evidence to most, as they look over black."""
    ramp = np.tile(np.linspace(0, 1, width, dtype=np.float32), (height, 1))
    return overlay(np.zeros_like(ramp), ramp, 1.0)
