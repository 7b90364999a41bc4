"""The figures by which a B-scan is told from other images: see octhub.bscan for what they say."""

import cv2
import numpy as np

from octhub.bscan import TINY
from octhub.preprocess import window, windowed
from octhub.tissue import Tissue

THUMBNAIL = (64, 96)
"""(rows, columns) that a scan is reduced to, so that no statistic but the grain depends on its size."""

GRAIN_WIDTH = 512
"""Pixels to which a wider scan is reduced before its grain is measured: OCT2017's narrow exports have as many."""

FAR = 20
"""Rows of the thumbnail from the band of light to what is far above or below it: beyond a healthy retina."""

BRIGHT_LEVEL = 102
"""Of 255: above it, a pixel's surroundings are bright, and its grain counts."""

DARK, BRIGHT = 0.25, 0.6
"""Windowed intensities: below, vitreous and deep choroid; above, the nerve fibres and the pigment epithelium."""


def statistics(scan: np.ndarray | Tissue) -> np.ndarray:
    """The figures of an image: (H, W) float32 in [0, 1], or its tissue → (len(STATISTICS),) float64, all finite.

    White margins and black sides are left out, and intensities are windowed, as for a model.
    """
    tissue = Tissue.of(scan).image
    image = windowed(tissue, window(tissue))
    small = cv2.resize(image, THUMBNAIL[::-1], interpolation=cv2.INTER_AREA)
    smooth = cv2.GaussianBlur(small, (0, 0), 1)
    steps = np.diff(smooth, axis=0)
    down, across = (np.square(np.diff(smooth, axis=axis)).sum() for axis in (0, 1))
    light = np.maximum(smooth - np.median(smooth), 0)
    of_column = light.sum(axis=0) + TINY
    height, rows = len(light), np.arange(len(light))[:, None]
    centre = (light * rows).sum(axis=0) / of_column
    spread = np.sqrt((light * np.square(rows - centre)).sum(axis=0) / of_column)
    peaks = light.max(axis=0)
    middle = int(np.clip(np.median(centre), 4, height - 5))
    figures = (
        down / (down + across + TINY),
        np.median(spread) / height,
        np.abs(np.diff(centre)).mean() / height,
        np.quantile(peaks, 0.1) / (np.median(peaks) + TINY),
        light.mean(axis=0).std() / (light.mean() + TINY),
        (small < DARK).mean(),
        (small > BRIGHT).mean(),
        _grain(image),
        small[: max(2, middle - FAR)].mean(),
        np.median(steps.max(axis=0) + steps.min(axis=0)),
        small[min(height - 2, middle + FAR) :].mean(),
    )
    return np.array(figures, dtype=np.float64)


def _grain(image: np.ndarray) -> float:
    """How far pixels of the bright parts are from the median of the 5×5 around them, on average."""
    height, width = image.shape
    if width > GRAIN_WIDTH:
        size = GRAIN_WIDTH, max(8, round(height * GRAIN_WIDTH / width))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    levels = image * 255
    median = cv2.medianBlur(np.rint(levels, out=levels).astype(np.uint8), 5)
    bright = median > BRIGHT_LEVEL
    return float(np.abs(image[bright] - median[bright] / 255).mean()) if bright.any() else 0.0
