"""Images that nobody photographed: noise, blanks and gradients, drawings and pages of text, and true scans spoilt."""

from collections.abc import Callable

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

SIZE = (496, 512)
"""(H, W) of what is made up: a common export's."""

COUNT = 12
"""Images of each kind."""


def made_up(seed: int = 0) -> dict[str, list[np.ndarray]]:
    """Kind → COUNT images, (H, W) float32 in [0, 1]."""
    rng = np.random.default_rng(seed)
    return {kind: [make(rng, i) for i in range(COUNT)] for kind, make in KINDS.items()}


def _noise(rng: np.random.Generator, i: int) -> np.ndarray:
    """Uniform, normal, speckle, salt and pepper, clouds of several sizes, and noise in rows."""
    draw = [
        lambda: rng.random(SIZE),
        lambda: rng.normal(0.4, 0.15, SIZE),
        lambda: rng.exponential(0.2, SIZE),
        lambda: (rng.random(SIZE) < 0.05) * 1.0,
        lambda: _stretched(cv2.GaussianBlur(rng.random(SIZE), (0, 0), 2 + 4 * i)),
        lambda: np.repeat(rng.random((SIZE[0], 1)), SIZE[1], axis=1),
    ]
    return _unit(draw[i % len(draw)]())


def _gradient(rng: np.random.Generator, i: int) -> np.ndarray:
    """Blank images and slopes of light: down, across, slanted and from a centre."""
    y, x = np.mgrid[-1 : 1 : SIZE[0] * 1j, -1 : 1 : SIZE[1] * 1j]
    shape = [lambda: 0 * x + rng.random(), lambda: y, lambda: x, lambda: x + y, lambda: -np.hypot(x, y), lambda: y * y]
    image = shape[i % len(shape)]()
    return _unit(image if np.ptp(image) == 0 else _stretched(image))


def _drawing(rng: np.random.Generator, i: int) -> np.ndarray:
    """A dozen shapes, white on black or black on white."""
    paper = Image.new("L", SIZE[::-1], 255 * (i % 2))
    pen = ImageDraw.Draw(paper)
    for _ in range(12):
        box = sorted(rng.integers(0, 480, 2).tolist()), sorted(rng.integers(0, 480, 2).tolist())
        corners = (box[0][0], box[1][0], box[0][1] + 1, box[1][1] + 1)
        ink, width = int(rng.integers(0, 256)), int(rng.integers(1, 12))
        kind = rng.integers(0, 3)
        if kind == 0:
            pen.ellipse(corners, outline=ink, width=width)
        elif kind == 1:
            pen.rectangle(corners, fill=ink)
        else:
            pen.line(corners, fill=ink, width=width)
    return _unit(np.asarray(paper) / 255)


def _text(rng: np.random.Generator, i: int) -> np.ndarray:
    """A page of words, dark on light or light on dark, in several sizes."""
    paper = Image.new("L", SIZE[::-1], 255 * (i % 2))
    pen, size = ImageDraw.Draw(paper), 10 + 2 * i
    font = ImageFont.load_default(size)
    for y in range(8, SIZE[0] - size, round(1.5 * size)):
        words = ("".join(chr(97 + c) for c in rng.integers(0, 26, rng.integers(2, 10))) for _ in range(12))
        pen.text((10, y), " ".join(words), fill=255 * (1 - i % 2), font=font)
    return _unit(np.asarray(paper) / 255)


def _bars(rng: np.random.Generator, i: int) -> np.ndarray:
    """Flat stripes that lie like layers: nearest to a B-scan of all that is made up here."""
    edges = np.sort(rng.integers(0, SIZE[0], 3 + i))
    levels = rng.random(len(edges) + 1)
    rows = levels[np.searchsorted(edges, np.arange(SIZE[0]), side="right")]
    return _unit(np.repeat(rows[:, None], SIZE[1], axis=1))


KINDS: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "made-up noise": _noise,
    "made-up gradients": _gradient,
    "made-up drawings": _drawing,
    "made-up text": _text,
    "made-up stripes": _bars,
}


def _crop(share: float) -> Callable[[np.ndarray], np.ndarray]:
    def crop(scan: np.ndarray) -> np.ndarray:
        height, width = (max(32, round(share * n)) for n in scan.shape)
        top, left = (scan.shape[0] - height) // 2, (scan.shape[1] - width) // 2
        return np.ascontiguousarray(scan[top : top + height, left : left + width])

    return crop


SPOILT: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "upside down": lambda scan: np.ascontiguousarray(scan[::-1]),
    "turned by 90°": lambda scan: np.ascontiguousarray(scan.T),
    "negative": lambda scan: 1 - scan,
    "cropped to three quarters": _crop(0.75),
    "cropped to half": _crop(0.5),
    "cropped to a third": _crop(1 / 3),
}
"""What can be done to a true scan; whether the result is still one is for the reader to say."""


def _unit(image: np.ndarray) -> np.ndarray:
    return np.clip(image, 0, 1).astype(np.float32)


def _stretched(image: np.ndarray) -> np.ndarray:
    return (image - image.min()) / np.ptp(image)
