"""Hostile images by the thousand, from seeds: `case(seed)` is the same upload on every machine."""

from dataclasses import replace
from functools import cache
from random import Random

import numpy as np
from hostile import ANSWERED, Case, Make, name_for
from hostile_damage import DAMAGE
from hostile_right import RIGHT
from hostile_wrong import HEAVY_WRONG, WRONG
from image_files import encode
from PIL import Image

LARGEST = 4000, 5000
"""(H, W) of the largest scan that there may be."""


@cache
def large_file(format: str, mode: str) -> bytes:
    colours = {"1": 1, "L": 51, "LA": (51, 255), "RGBA": (51, 51, 51, 255), "I;16": 13107, "F": 0.2}
    options = {"WEBP": {"lossless": True}, "TIFF": {"compression": "tiff_lzw"}}.get(format, {})
    image = Image.new(mode, LARGEST[::-1], colours.get(mode, (51, 51, 51)))
    return encode(image, format, **options)


def at_the_limits(random: Random) -> Case:
    """20 megapixels of one grey, in any mode: this is what a server's memory has to be enough for."""
    kinds = [("PNG", mode) for mode in ("L", "LA", "RGB", "RGBA", "I;16")]
    kinds += [("TIFF", "F"), ("TIFF", "I;16"), ("JPEG", "RGB"), ("WEBP", "RGB"), ("WEBP", "RGBA"), ("PNG", "1")]
    format, mode = random.choice(kinds)
    grey = np.float32(1 if mode == "1" else 0.2)
    return Case(large_file(format, mode), ANSWERED, np.broadcast_to(grey, LARGEST), 0.01, large=True)


def wrong_suffix(random: Random) -> Case:
    """A good scan that is called something else: its content decides."""
    case = RIGHT[random.choice(list(RIGHT))](random)
    return replace(
        case, name=name_for(random, random.choice((".txt", ".exe", ".html", ".svg", ".zip", ".dcm", "", ".")))
    )


LIGHT: dict[str, Make] = {**RIGHT, **WRONG, **DAMAGE, "wrong suffix": wrong_suffix}
HEAVY: dict[str, Make] = {**HEAVY_WRONG, "at the limits": at_the_limits}

KINDS = [*LIGHT, *HEAVY]
CYCLE = [*LIGHT, "bomb", *LIGHT, "at the limits", *LIGHT, "bomb", *LIGHT, "in a million pieces", *LIGHT, "swelling"]
"""The kinds of consecutive seeds."""


def case(seed: int) -> Case:
    """The upload of a seed."""
    random, kind = Random(seed), CYCLE[seed % len(CYCLE)]
    made = (LIGHT | HEAVY)[kind](random)
    return replace(made, kind=kind, name=made.name or name_for(random))
