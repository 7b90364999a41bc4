"""Read and check a scan: the only door for user input."""

from pathlib import Path

import numpy as np
from PIL import Image


class ScanError(ValueError):
    """A scan that can't be used; the message names it, what was found and what was expected."""


def read_scan(source, name: str | None = None) -> np.ndarray:
    if isinstance(source, np.ndarray):
        return source.astype(np.float32)
    if not isinstance(source, Image.Image):
        source = Image.open(Path(source))
    return np.asarray(source.convert("L"), np.float32) / 255
