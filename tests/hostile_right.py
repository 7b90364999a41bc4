"""Scans that are odd and right: of every depth, mode and make, whose pixels are known without Pillow's help."""

import struct
import zlib
from random import Random

import numpy as np
from hostile import ANSWERED, Case, noise, side
from image_files import bmp, chunk, encode, jpeg_with_segment, png, png_of, tiff
from PIL import Image, ImageCms

from octhub.pieces import ADAM7

LOSSLESS = (("PNG", {}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"}), ("TIFF", {"compression": "packbits"}))
LOSSLESS += (("TIFF", {"compression": "tiff_adobe_deflate"}), ("TIFF", {"big_tiff": True}))
WEBP = ("WEBP", {"lossless": True, "exact": True})

ORIENTATION = 0x0112


def luma(rgb: np.ndarray) -> np.ndarray:
    """(…, 3) uint8 → grey in [0, 1] by ITU-R 601, in steps of 1/255."""
    weighted = rgb.astype(np.uint32) @ np.array([19595, 38470, 7471], np.uint32)
    return (weighted + 0x8000 >> 16) / np.float32(255)


def unit(values: np.ndarray, full: float = 255) -> np.ndarray:
    return values / np.float32(full)


def any_file(random: Random, image: Image.Image, *more: tuple[str, dict]) -> bytes:
    """The image in a format that keeps it: PNG, TIFF, or one of `more`."""
    format, options = random.choice((*LOSSLESS, *more))
    return encode(image, format, **options)


def grey(random: Random) -> Case:
    values = noise(random, side(random), side(random))
    return Case(any_file(random, Image.fromarray(values), ("BMP", {})), ANSWERED, unit(values), ids=values)


def few_levels(random: Random) -> Case:
    """Grey of 1, 2 or 4 bits in a PNG."""
    depth = random.choice((1, 2, 4))
    values = noise(random, side(random), side(random), below=1 << depth)
    rows = packed_bits(values, depth)
    data = png(values.shape[1], values.shape[0], depth, 0, rows)
    return Case(data, ANSWERED, unit(values, (1 << depth) - 1), ids=values if depth == 1 else None)


def packed_bits(values: np.ndarray, depth: int) -> bytes:
    """Rows of values of a few bits, each of whole bytes."""
    bits = (values[..., None] >> np.arange(depth - 1, -1, -1)) & 1
    return np.packbits(bits.reshape(len(values), -1).astype(np.uint8), axis=1).tobytes()


def black_and_white(random: Random) -> Case:
    values = noise(random, side(random), side(random), below=2)
    data = any_file(random, Image.fromarray(values.astype(bool)), ("BMP", {}))
    return Case(data, ANSWERED, unit(values, 1), ids=values)


def sixteen_bits(random: Random) -> Case:
    values = noise(random, side(random), side(random), below=65536, dtype=np.uint16)
    height, width = values.shape
    if random.random() < 0.5:
        return Case(any_file(random, Image.fromarray(values)), ANSWERED, unit(values, 65535))
    key = int(values[0, 0])
    transparent = chunk(b"tRNS", struct.pack(">H", key))
    data = png(width, height, 16, 0, values.astype(">u2").tobytes(), transparent)
    return Case(data, ANSWERED, unit(np.where(values == key, 0, values), 65535))


def thirty_two_bits(random: Random) -> Case:
    """Whole numbers up to 65,535, or floats up to 1."""
    height, width = side(random), side(random)
    if random.random() < 0.5:
        values = noise(random, height, width, below=65536, dtype=np.int32)
        data = encode(Image.fromarray(values), "TIFF", **random.choice(LOSSLESS[1:])[1])
        return Case(data, ANSWERED, unit(values, 65535))
    values = noise(random, height, width) / np.float32(255)
    return Case(encode(Image.fromarray(values), "TIFF", **random.choice(LOSSLESS[1:])[1]), ANSWERED, values)


def tiff_by_hand(random: Random) -> Case:
    """Of another byte order, depth, polarity or layout than Pillow writes."""
    height, width = random.choice((32, 40, 64)), random.choice((32, 48, 64))
    values = noise(random, height, width)
    deep = noise(random, height, width, below=65536, dtype=np.uint16)
    twelve = (deep >> 4).reshape(-1, 2).astype(np.uint32)
    packed = (twelve[:, 0] << 12 | twelve[:, 1]).astype(">u4").view(np.uint8).reshape(-1, 4)[:, 1:]
    strips = [values[at : at + 8].tobytes() for at in range(0, height, 8)]
    random.shuffle(order := list(range(len(strips))))  # strips may lie anywhere
    places = np.empty(len(strips), np.uint32)
    places[order] = 8 + 2 + 12 * 9 + 4 + 8 * width * np.arange(len(strips))
    lengths = np.full(len(strips), 8 * width, np.uint32)
    in_strips = {"t278": 8, "t273": (4, len(places), places.tobytes()), "t279": (4, len(places), lengths.tobytes())}
    tiles = values.reshape(height // 8, 8, width // 16, 16).swapaxes(1, 2).reshape(-1, 8 * 16)
    where = (8 + 2 + 12 * 10 + 4 + 128 * np.arange(len(tiles))).astype(np.uint32)
    sizes = np.full(len(tiles), 128, np.uint32)
    in_tiles = {"t324": (4, len(where), where.tobytes()), "t325": (4, len(where), sizes.tobytes())}
    in_tiles |= {"t322": 16, "t323": 8}
    reverse = np.packbits(np.unpackbits(values[..., None], axis=-1)[..., ::-1], axis=-1)[..., 0]
    data, pixels = random.choice(
        (
            (tiff(width, height, values.tobytes(), t262=0), unit(255 - values)),
            (tiff(width, height, deep.tobytes(), t258=16), unit(deep, 65535)),
            (tiff(width, height, deep.tobytes(), t258=16, t262=0), 1 - unit(deep, 65535)),
            (tiff(width, height, packed.tobytes(), t258=12), unit(deep >> 4, 4095)),
            (tiff(width, height, reverse.tobytes(), t266=2), unit(values)),
            (tiff(width, height, values.tobytes(), t284=2), unit(values)),
            (tiff(width, height, values.tobytes(), t259=1, t317=1), unit(values)),
            (tiff(width, height, zlib.compress(values.tobytes()), t259=8), unit(values)),
            (tiff(width, height, b"".join(strips[n] for n in order), **in_strips), unit(values)),
            (tiff(width, height, tiles.tobytes(), **in_tiles), unit(values)),
        )
    )
    return Case(data, ANSWERED, pixels)


def colour(random: Random) -> Case:
    rgb = noise(random, side(random), side(random), 3)
    data = any_file(random, Image.fromarray(rgb), ("BMP", {}), WEBP)
    return Case(data, ANSWERED, luma(rgb))


def see_through(random: Random) -> Case:
    """Grey or colour with alpha, laid over black."""
    rgba = noise(random, side(random), side(random), 4)
    alpha = unit(rgba[..., 3])
    if random.random() < 0.5:
        return Case(any_file(random, Image.fromarray(rgba), WEBP), ANSWERED, luma(rgba[..., :3]) * alpha, 2e-3)
    grey_alpha = Image.merge("LA", [Image.fromarray(rgba[..., band]) for band in (0, 3)])
    return Case(any_file(random, grey_alpha), ANSWERED, unit(rgba[..., 0]) * alpha, 2e-3)


def palette(random: Random) -> Case:
    """Indices with a palette, in a PNG with or without transparency; a palette may be shorter than 256."""
    count = random.choice((2, 3, 17, 255, 256))
    colours, values = noise(random, count, 3), noise(random, side(random), side(random), below=count)
    height, width = values.shape
    if random.random() < 0.3:
        table = np.concatenate([colours[:, ::-1], np.zeros((count, 1), np.uint8)], axis=1).tobytes()
        stride = -width % 4
        rows = np.pad(values[::-1], ((0, 0), (0, stride))).tobytes()
        return Case(bmp(width, height, 8, 0, rows, table), ANSWERED, luma(colours)[values], ids=values)
    chunks, alphas = [chunk(b"PLTE", colours.tobytes())], np.full(count, 255, np.uint8)
    if random.random() < 0.7:
        given = random.randrange(1, count + 1)
        alphas[:given] = noise(random, given)
        chunks.append(chunk(b"tRNS", alphas[:given].tobytes()))
    pixels = (luma(colours) * unit(alphas))[values]
    return Case(png(width, height, 8, 3, values.tobytes(), *chunks), ANSWERED, pixels, 2e-3, ids=values)


def mask(random: Random) -> Case:
    """Class ids, as experts' programs write them."""
    ids = noise(random, side(random), side(random), below=10)
    ids[0] = 255
    image = Image.fromarray(ids)
    form = random.choice(("L", "P", "16", "RGB", "LA"))
    if form == "16":
        return Case(any_file(random, Image.fromarray(ids.astype(np.uint16))), ANSWERED, unit(ids, 65535), ids=ids)
    if form == "P":
        image = Image.frombytes("P", image.size, ids.tobytes())
        image.putpalette(noise(random, 768).tobytes())
        return Case(any_file(random, image, ("BMP", {})), ANSWERED, ids=ids)
    return Case(any_file(random, image.convert(form), *[("BMP", {})] * (form == "L")), ANSWERED, unit(ids), ids=ids)


def cmyk(random: Random) -> Case:
    ink = noise(random, side(random), side(random), 4)
    image = Image.frombytes("CMYK", ink.shape[1::-1], ink.tobytes())
    data = encode(image, "TIFF", **random.choice(LOSSLESS[1:])[1])
    left = (255 - ink.astype(int)) / 255
    rgb = left[..., :3] * left[..., 3:]
    return Case(data, ANSWERED, rgb @ np.array([0.299, 0.587, 0.114]), 0.01)


def lab(random: Random) -> Case:
    """CIE L*a*b* without colour: only then is its grey plain arithmetic (L* to luminance to sRGB's curve)."""
    lightness = noise(random, side(random), side(random))
    values = np.stack([lightness, *[np.zeros_like(lightness)] * 2], axis=-1)
    height, width = lightness.shape
    eights = (3, 3, struct.pack("<3H", 8, 8, 8))
    star = lightness / 255 * 100
    linear = np.where(star > 8, ((star + 16) / 116) ** 3, star / 903.3)
    srgb = np.where(linear > 0.0031308, 1.055 * linear ** (1 / 2.4) - 0.055, 12.92 * linear)
    return Case(tiff(width, height, values.tobytes(), t258=eights, t262=8, t277=3), ANSWERED, srgb, 0.02)


def jpeg(random: Random) -> Case:
    """Smooth, so that little is lost."""
    height, width = side(random), side(random)
    values = (np.add.outer(np.arange(height), np.arange(width)) * 255 / (height + width)).astype(np.uint8)
    mode = random.choice(("L", "RGB", "CMYK"))
    options = {"quality": 100, "progressive": random.random() < 0.5, "optimize": random.random() < 0.5}
    if random.random() < 0.3:
        options["restart_marker_rows"] = 1
    return Case(encode(Image.fromarray(values).convert(mode), "JPEG", **options), ANSWERED, unit(values), 0.02)


def interlaced(random: Random) -> Case:
    deep = random.random() < 0.5
    values = noise(random, side(random), side(random), below=65536 if deep else 256, dtype=np.uint16)
    parts = (values[y::down, x::across].astype(">u2" if deep else np.uint8) for x, y, across, down in ADAM7)
    rows = b"".join(b"\0" + row.tobytes() for part in parts if part.size for row in part)
    height, width = values.shape
    data = png_of(width, height, 16 if deep else 8, 0, 1, chunk(b"IDAT", zlib.compress(rows)))
    return Case(data, ANSWERED, unit(values, 65535 if deep else 255))


def exif(random: Random) -> Case:
    """An orientation of 1 to 8 is applied; nonsense is not, nor is anything else that EXIF says."""
    values = noise(random, side(random), side(random))
    orientation = random.choice((*range(10), 255, 65535))
    found = Image.Exif()
    found[ORIENTATION] = orientation
    found[0x010F] = random.choice(("a camera", "\0\n<script>", "x" * 3000))
    found[0x011A] = random.choice((72.0, 0.0))
    block = found.tobytes()
    if random.random() < 0.3:  # some more bytes that nothing points to
        block += random.randbytes(random.randrange(2000))
    format = random.choice(("PNG", "WEBP", "TIFF"))
    data = encode(Image.fromarray(values), format, exif=block, **({"lossless": True} if format == "WEBP" else {}))
    upright = {2: values[:, ::-1], 3: values[::-1, ::-1], 4: values[::-1], 5: values.T, 6: values.T[:, ::-1]}
    upright |= {7: values[::-1, ::-1].T, 8: values.T[::-1]}
    return Case(data, ANSWERED, unit(upright.get(orientation, values)))


def icc(random: Random) -> Case:
    """A colour profile, good, cut or nonsense, changes no grey."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile(random.choice(("sRGB", "LAB", "XYZ")))).tobytes()
    form = random.randrange(4)
    if form == 1:
        profile = profile[: random.randrange(1, len(profile))]
    elif form == 2:
        profile = random.randbytes(random.choice((1, 127, 128, 5000)))
    elif form == 3:
        profile = profile[:36] + random.randbytes(len(profile) - 36)
    values = noise(random, side(random), side(random))
    format, options = random.choice((("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True})))
    return Case(encode(Image.fromarray(values), format, icc_profile=profile, **options), ANSWERED, unit(values))


ODD_CHUNKS = {
    b"gAMA": (b"\0\0\0\0", b"\xff" * 4),
    b"cHRM": (bytes(32), b"\xff" * 32),
    b"sRGB": (b"\0", b"\xff"),
    b"pHYs": (bytes(9), b"\xff" * 9, b"\x7f" * 8 + b"\1"),
    b"tIME": (b"\0\0\0\0\0\0\0", b"\xff" * 7),
    b"tEXt": (b"key\0\xff\xfe\0value", b"\0", b"Comment\0<script>alert(1)</script>", b"x" * 1000),
    b"zTXt": (b"key\0\0" + zlib.compress(b"x" * 100_000),),
    b"iTXt": (b"key\0\1\0en\0\0" + zlib.compress(b"x" * 100_000), b"XML:com.adobe.xmp\0\0\0\0\0<x tiff:Orientation"),
    b"bKGD": (b"\xff\xff", b""),
    b"hIST": (bytes(512),),
    b"sPLT": (b"x\0\x08" + bytes(60),),
    b"prVt": (b"private",),
}
"""What PNGs may say besides their pixels, at its strangest."""


def metadata(random: Random) -> Case:
    values = noise(random, side(random), side(random))
    kinds = random.sample(list(ODD_CHUNKS), random.randrange(1, 5))
    chunks = [chunk(kind, random.choice(ODD_CHUNKS[kind])) for kind in kinds]
    data = png(values.shape[1], values.shape[0], 8, 0, values.tobytes(), *chunks)
    return Case(data, ANSWERED, unit(values))


def polyglot(random: Random) -> Case:
    """A scan that other programs take for something else, or that carries it along."""
    values = noise(random, side(random), side(random))
    image = Image.fromarray(values)
    zipped = b"PK\3\4" + bytes(26) + b"PK\5\6" + bytes(18)
    html = b"<html><script>alert(1)</script></html>"
    php = b"<?php system($_GET['c']); ?>"
    payload = random.choice((zipped, html, php, b"%PDF-1.7\n", b"GIF89a", b"MZ\x90\0", encode(image, "JPEG")))
    form = random.randrange(4)
    if form == 0:
        data = encode(image, random.choice(("PNG", "TIFF", "BMP"))) + payload
    elif form == 1:
        data = png(values.shape[1], values.shape[0], 8, 0, values.tobytes(), chunk(b"prVt", payload))
    elif form == 2:
        flat = np.full_like(values, 100)
        plain = encode(Image.fromarray(flat), "JPEG", quality=100)
        return Case(jpeg_with_segment(plain, 0xFE, payload) + payload, ANSWERED, unit(flat), 0.01)
    else:
        data = tiff(values.shape[1], values.shape[0], values.tobytes(), t65000=(7, len(payload), payload)) + payload
    return Case(data, ANSWERED, unit(values))


RIGHT = {
    "grey": grey,
    "grey of 1 to 4 bits": few_levels,
    "black and white": black_and_white,
    "16 bits": sixteen_bits,
    "32 bits": thirty_two_bits,
    "TIFF by hand": tiff_by_hand,
    "colour": colour,
    "transparency": see_through,
    "palette": palette,
    "mask": mask,
    "CMYK": cmyk,
    "LAB": lab,
    "JPEG": jpeg,
    "interlaced": interlaced,
    "EXIF": exif,
    "ICC": icc,
    "metadata": metadata,
    "polyglot": polyglot,
}
