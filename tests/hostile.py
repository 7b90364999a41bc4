"""What a hostile upload is, and the names that come with some: shared by the generators beside it."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

import numpy as np

ANSWERED, REFUSED, EITHER = "answered", "refused", "either"
"""What must come of a case; EITHER where damage may or may not be noticed, as in a JPEG, which has no checksum."""


@dataclass(frozen=True)
class Case:
    """One hostile upload.

    Attributes:
        data: the file.
        expect: ANSWERED, REFUSED or EITHER.
        pixels: (H, W) floats in [0, 1] that an answer must have, where they are known; within `atol`.
        ids: (H, W) integers that it must have as a mask, where they are known.
        name: what the visitor calls it; a generator's `case` gives it one if it has none.
        kind: of what kind it is, likewise.
        large: whether it is a scan near the limits, which may take memory for its pixels.
        members: of a ZIP, what must come of it: label → pixels, or None for a refusal; None if that isn't known.
    """

    data: bytes
    expect: str
    pixels: np.ndarray | None = None
    atol: float = 1e-6
    ids: np.ndarray | None = None
    name: str = ""
    kind: str = ""
    large: bool = False
    members: dict[str, np.ndarray | None] | None = None


Make = Callable[[Random], Case]

NAMES = (
    "../../x",
    "..\\..\\x",
    "/etc/cron.d/x",
    "%2e%2e/%2e%2e/x",
    "a%00b",
    "a\nb\r\nSet-Cookie: x=1",
    "a\tb",
    "\x1b[31mred\x1b[0m",
    "\u202egpj.exe",
    "\u2066left\u2069",
    "zero\u200bwidth",
    "\ufefforder",
    "e\u0301",
    "Ünïcödé",
    "右目/断層",
    "глаз",
    "\U0001f441\ufe0f\U0001f5e8\ufe0f",
    "x" * 300,
    "é" * 150,
    "👁" * 80,
    "CON",
    "nul",
    "lpt1",
    "",
    ".",
    "..",
    "...",
    " ",
    ".hidden",
    "-rf",
    "--help",
    "=cmd|'/C calc'!A0",
    "@SUM(1)",
    "<img src=x onerror=alert(1)>",
    "';alert(1)//",
    '"quoted"; filename="other',
    "$(touch x)",
    "`id`",
    "{0.__class__}",
    "%s%n%d",
    "scan.png.zip",
    "scan.labels",
    "record",
)
"""File names, without a suffix, that lead elsewhere, break lines, mean something to a program or look like others."""

SUFFIXES = (
    "",
    ".",
    ".png",
    ".PNG",
    ".jpg",
    ".jpeg",
    ".tif",
    ".bmp",
    ".webp",
    ".gif",
    ".zip.png",
    ".exe",
    ".html",
    ".svg",
)


def name_for(random: Random, suffix: str | None = None) -> str:
    """A hostile name, with any suffix but for the one that is given."""
    return random.choice(NAMES) + (random.choice(SUFFIXES) if suffix is None else suffix)


def noise(random: Random, *shape: int, below: int = 256, dtype: type = np.uint8) -> np.ndarray:
    """Numbers below `below`."""
    return np.random.default_rng(random.getrandbits(32)).integers(0, below, shape, dtype)


def side(random: Random) -> int:
    """Pixels of a small scan's height or width: what doesn't fill bytes, blocks and tiles is most worth trying."""
    return random.choice((32, 33, 37, 40, 47, 64, 65, 80))
