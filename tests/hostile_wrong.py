"""What has to be refused: no scans, scans too small or too large, or that lack pixels."""

import struct
import zlib
from random import Random

import numpy as np
from hostile import REFUSED, Case, noise, side
from image_files import (
    bmp,
    chunk,
    encode,
    png,
    png_of,
    tiff,
)
from PIL import Image

GIF = b"GIF89a\x40\0\x40\0\0\0\0,\0\0\0\0\x40\0\x40\0\0\2\1\0\0;"

HUGE = (2**31 - 1, 2**31, 2**32 - 1, 65535, 30_000, 20_001)
"""Pixels of a side that make any image too large, whatever the other one has."""


def tiny(random: Random) -> Case:
    """Fewer pixels than a scan has; none at all, for formats that can say so."""
    width, height = random.choice(((0, 0), (1, 1), (0, 64), (64, 0), (1, 64), (64, 1), (31, 64), (64, 31), (2, 2)))
    pixels = bytes(width * height)
    makes = [
        lambda: png(width, height, 8, 0, pixels),
        lambda: tiff(width, height, pixels),
        lambda: bmp(width, height, 8, 0, bytes((width + -width % 4) * height), bytes(1024)),
    ]
    if width and height:
        image = Image.new("RGB", (width, height))
        makes += [lambda: encode(image, "JPEG"), lambda: encode(image, "WEBP"), lambda: encode(image, "GIF")]
    return Case(random.choice(makes)(), REFUSED)


def giant(random: Random) -> Case:
    """A small file that says it has billions of pixels."""
    width, height = random.choice(HUGE), random.choice((*HUGE, 1000, 20_000))
    if random.random() < 0.5:
        width, height = height, width
    short = [min(n, 65_000) for n in (width, height)]
    plain = encode(Image.new("L", (64, 64)), "JPEG")
    at = plain.index(b"\xff\xc0") + 5
    webp = encode(Image.new("RGB", (64, 64)), "WEBP", exif=b"Exif\0\0II*\0\0\0\0\0")
    canvas = b"".join(struct.pack("<I", min(n - 1, 2**24 - 1))[:3] for n in (width, height))
    makes = (
        lambda: png(width, height, random.choice((1, 8, 16)), 0, b""),
        lambda: tiff(width, height, bytes(99)),
        lambda: tiff(64, 64, bytes(99), t259=8, t322=min(width, 2**31), t323=min(height, 2**31)),
        lambda: bmp(min(width, 2**31 - 1), min(height, 2**31 - 1), 8, random.choice((0, 1)), bytes(99), bytes(1024)),
        lambda: plain[:at] + struct.pack(">HH", *short[::-1]) + plain[at + 4 :],
        lambda: webp[:24] + canvas + webp[30:],
        lambda: GIF[:6] + struct.pack("<HH", *short) + GIF[10:],
        lambda: b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, width, height, 8, 3),
    )
    return Case(random.choice(makes)(), REFUSED)


def moving(random: Random) -> Case:
    """Several pages or frames."""
    frames = [Image.fromarray(noise(random, 40, 40, 3)) for _ in range(random.choice((2, 3, 30)))]
    format = random.choice(("PNG", "WEBP", "TIFF", "GIF", "MPO"))
    return Case(encode(frames[0], format, save_all=True, append_images=frames[1:]), REFUSED)


def loops(random: Random) -> Case:
    """A TIFF whose pages lead to each other, or nowhere."""
    one = tiff(40, 40, bytes(1600))
    at = 8 + 2 + 12 * 9
    target = random.choice((9, 100, len(one) - 1, len(one) + 10, 2**31, 2**32 - 1))
    return Case(one[:at] + struct.pack("<I", target) + one[at + 4 :], REFUSED)


def beyond(random: Random) -> Case:
    """Numbers that are no grey levels."""
    values = noise(random, side(random), side(random)) / np.float32(255)
    at = random.randrange(values.size)
    values.flat[at] = random.choice((np.nan, np.inf, -np.inf, -1e-3, 1.001, 1e38, -0.5))
    if random.random() < 0.5:
        values = noise(random, *values.shape, below=65536, dtype=np.int32)
        values.flat[at] = random.choice((-1, 65536, 2**31 - 1, -(2**31)))
    return Case(encode(Image.fromarray(values), "TIFF"), REFUSED)


def missing(random: Random) -> Case:
    """A proper end before the last pixel."""
    values = noise(random, 64, 64)
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    short = random.randrange(len(rows))
    makes = (
        lambda: png_of(64, 64, 8, 0, 0, chunk(b"IDAT", zlib.compress(rows[:short]))),
        lambda: png_of(64, 64, 8, 0, 0),
        lambda: tiff(64, 64, values.tobytes(), t278=random.choice((1, 8, 63))),
        lambda: tiff(64, 64, values.tobytes(), t322=16, t323=16),
        lambda: tiff(64, 64, zlib.compress(values.tobytes()[:short]), t259=8),
        lambda: tiff(64, 64, values.tobytes()[: min(short, 4095)]),
        lambda: tiff(64, 64, b"", t258=(3, 3, struct.pack("<3H", 8, 8, 8)), t262=2, t277=3, t284=2),
        lambda: bmp(64, 64, 8, 0, values.tobytes()[: min(short, 4095)], bytes(1024)),
        lambda: bmp(64, 64, 8, 1, b"\x40\7\0\0" * random.randrange(63) + b"\0\1", bytes(1024)),
    )
    return Case(random.choice(makes)(), REFUSED)


def fax(random: Random) -> Case:
    """By codes of fax machines, good or damaged: Pillow would show memory that it never wrote to."""
    values = noise(random, side(random), side(random), below=2).astype(bool)
    data = bytearray(encode(Image.fromarray(values), "TIFF", compression=random.choice(("group3", "group4"))))
    if random.random() < 0.5:
        at = random.randrange(8, 200)
        data[at : at + 4] = random.randbytes(4)
    return Case(bytes(data), REFUSED)


def strange(random: Random) -> Case:
    """No scan at all, or a format that doesn't come in, some of them with another's in them."""
    inner = tiff(64, 64, noise(random, 64, 64).tobytes())
    small = Image.fromarray(noise(random, 40, 40))
    makes = (
        lambda: b"",
        lambda: b"\0",
        lambda: random.randbytes(random.choice((3, 100, 5000))),
        lambda: bytes(random.choice((10, 5000))),
        lambda: b"GIF89a" + inner,
        lambda: b"GIF89a" + inner[6:],
        lambda: b"\n" + encode(small, "PNG"),
        lambda: bytes(128) + b"DICM" + inner,
        lambda: b"%PDF-1.7\n" + inner,
        lambda: b"8BPS" + inner[4:],
        lambda: b"PK\3\4" + encode(small, "PNG"),
        lambda: b"MZ\x90\0" + bytes(200),
        lambda: b"\x7fELF" + bytes(200),
        lambda: b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
        lambda: b"<!DOCTYPE x [<!ENTITY e SYSTEM 'file:///etc/passwd'>]><x>&e;</x>",
        lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n(/etc/passwd) (r) file\n",
        lambda: b"#!/bin/sh\nid\n",
        lambda: b"\0\0\0\x20ftypavif" + bytes(100),
        *(
            lambda format=format: encode(small.convert("RGB"), format)
            for format in ("GIF", "ICO", "PPM", "TGA", "PCX", "SGI", "JPEG2000", "AVIF", "DDS", "ICNS", "EPS")
        ),
        *(lambda magic=magic: magic for magic in (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"II*\0", b"BM")),
        lambda: b"RIFF\0\0\0\0WEBPVP8 ",
        lambda: b"RIFF\xff\xff\xff\xffWEBPVP8L\xff\xff\xff\xff\x2f" + bytes(50),
        lambda: b"\x89PNG\r\n\x1a\n" + random.randbytes(500),
        lambda: b"\xff\xd8\xff\xe0" + random.randbytes(500),
        lambda: b"II*\0\x08\0\0\0" + random.randbytes(500),
        lambda: b"BM" + random.randbytes(500),
    )
    return Case(random.choice(makes)(), REFUSED)


WRONG = {
    "too small": tiny,
    "giant": giant,
    "animated": moving,
    "page loops": loops,
    "values out of range": beyond,
    "pixels missing": missing,
    "fax": fax,
    "no scan": strange,
}
