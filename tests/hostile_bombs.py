"""Small files that cost much: that grow to gigabytes, are in a million pieces, or are as large as a scan may be. They
take longer to make and to try than other kinds, so fewer are."""

import zlib
from collections.abc import Callable
from functools import cache
from random import Random

import numpy as np
from hostile import ANSWERED, REFUSED, Case, Make
from image_files import (
    bmp,
    chunk,
    encode,
    forged_exif,
    jpeg_with_exif,
    jpeg_with_scans,
    jpeg_with_segment,
    png,
    png_of,
    tiff,
)
from PIL import Image

VALUES = np.random.default_rng(0).integers(0, 256, (40, 56), np.uint8)
PIXELS, IMAGE = VALUES.tobytes(), Image.fromarray(VALUES)
SIZE = VALUES.shape[::-1]

MANY = 2_000_000
"""Numbers in a TIFF's directory, of which Pillow would make objects of up to 250 bytes each."""

PIECES = 1_000_000
"""In how many pieces a file comes, for each of which Pillow would take microseconds."""


LARGEST = 4000, 5000
"""(H, W) of the largest scan that there may be."""


@cache
def zeros(megabytes: int) -> bytes:
    """That many megabytes of zeros, a thousandth of their size."""
    return zlib.compress(bytes(megabytes * 1_000_000), 9)


def png_with(*chunks: bytes) -> bytes:
    return png(*SIZE, 8, 0, PIXELS, *chunks)


def tiff_with(**tags: int | tuple[int, int, bytes]) -> bytes:
    return tiff(*SIZE, PIXELS, **tags)


def plain() -> bytes:
    return encode(IMAGE, "JPEG")


def many(kind: int, count: int = MANY) -> tuple[int, int, bytes]:
    """Zeros of a TIFF's type."""
    return kind, count, bytes(count * {1: 1, 3: 2, 5: 8}[kind])


BOMBS: dict[str, Callable[[], bytes]] = {
    "PNG profile": lambda: png_with(chunk(b"iCCP", b"x\0\0" + zeros(200))),
    "PNG profiles": lambda: png_with(*[chunk(b"iCCP", b"x\0\0" + zeros(1))] * 500),
    "PNG text": lambda: png_with(chunk(b"zTXt", b"x\0\0" + zeros(200))),
    "PNG texts": lambda: png_with(*[chunk(b"zTXt", b"x\0\0" + zeros(1))] * 70),
    "PNG Unicode text": lambda: png_with(chunk(b"iTXt", b"x\0\1\0\0\0" + zeros(200))),
    "PNG EXIF": lambda: encode(IMAGE, "PNG", exif=forged_exif(800, 1_000_000)),
    "WebP EXIF": lambda: encode(IMAGE, "WEBP", exif=forged_exif(800, 1_000_000)),
    "JPEG EXIF": lambda: jpeg_with_exif(plain(), forged_exif(3000, 300_000)),
    "TIFF tags": lambda: forged_exif(800, 1_000_000),
    "TIFF tile": lambda: tiff(64, 64, zeros(100), t259=8, t322=10_000, t323=10_000),
    "TIFF depths": lambda: tiff_with(t258=many(3)),
    "TIFF palette": lambda: tiff_with(t262=3, t320=many(3)),
    "TIFF strips": lambda: tiff_with(t278=1, t273=many(3), t279=many(3)),
    "TIFF strips in bytes": lambda: tiff_with(t278=1, t273=many(1)),
    "TIFF resolution": lambda: tiff_with(t282=many(5, MANY // 4)),
    "TIFF profile": lambda: tiff_with(t34675=many(3)),
}
"""What grows, or says it does, beside its pixels."""

CROWDS: dict[str, Callable[[], bytes]] = {
    "PNG chunks": lambda: png_of(*SIZE, 8, 0, 0, chunk(b"aaAa", b"") * PIECES, chunk(b"IDAT", zlib.compress(PIXELS))),
    "PNG pixels": lambda: png_of(*SIZE, 8, 0, 0, chunk(b"IDAT", b"") * PIECES, chunk(b"IDAT", zlib.compress(PIXELS))),
    "JPEG segments": lambda: jpeg_with_segment(plain(), 0xE9, *[b""] * PIECES),
    "JPEG comments": lambda: jpeg_with_segment(plain(), 0xFE, *[b""] * PIECES),
    "JPEG filling": lambda: plain()[:2] + b"\xff\0" * PIECES + plain()[2:],
    "JPEG Photoshop": lambda: jpeg_with_segment(
        plain(), 0xED, *[b"Photoshop 3.0\0" + (b"8BIM" + bytes(8)) * 5000] * 200
    ),
    "JPEG scans": lambda: jpeg_with_scans(encode(Image.new("L", (2000, 2000)), "JPEG", progressive=True), 3000),
    "BMP lines": lambda: bmp(64, 64, 8, 1, b"\0\0" * 2 * PIECES, bytes(1024)),
    "BMP runs": lambda: bmp(2000, 1000, 8, 1, b"\1\7" * 2 * PIECES, bytes(1024)),
}
"""What is in too many pieces."""

LIMITS = {
    "PNG LA": ("PNG", "LA", (51, 255)),
    "PNG RGBA": ("PNG", "RGBA", (51, 51, 51, 255)),
    "PNG I;16": ("PNG", "I;16", 13107),
    "TIFF F": ("TIFF", "F", 0.2),
    "JPEG RGB": ("JPEG", "RGB", (51, 51, 51)),
    "WebP RGBA": ("WEBP", "RGBA", (51, 51, 51, 255)),
}
"""Scans of 20 megapixels, all of the grey 0.2: what a server's memory has to be enough for."""


def refused(make: Callable[[], bytes]) -> Make:
    return lambda random: Case(make(), REFUSED)


@cache
def large_file(format: str, mode: str, colour: float | tuple[int, ...]) -> bytes:
    options = {"WEBP": {"lossless": True}, "TIFF": {"compression": "tiff_lzw"}}.get(format, {})
    return encode(Image.new(mode, LARGEST[::-1], colour), format, **options)


def large(kind: str) -> Make:
    pixels = np.broadcast_to(np.float32(0.2), LARGEST)
    return lambda random: Case(large_file(*LIMITS[kind]), ANSWERED, pixels, 0.01, large=True)


def swelling(random: Random) -> Case:
    """More compressed pixels than the image has, which are right all the same."""
    stream = chunk(b"IDAT", zeros(random.choice((20, 100))))
    data = png_of(64, 64, 8, 0, 0, stream) if random.random() < 0.5 else tiff(64, 64, zeros(100), t259=8)
    return Case(data, ANSWERED, np.zeros((64, 64), np.float32))


SLOW: dict[str, Make] = {f"pieces, {name}": refused(make) for name, make in CROWDS.items()}
SLOW |= {f"large, {name}": large(name) for name in LIMITS}

HEAVY: dict[str, Make] = {f"bomb, {name}": refused(make) for name, make in BOMBS.items()}
HEAVY |= {"swelling": swelling} | SLOW
