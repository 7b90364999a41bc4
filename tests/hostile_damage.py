"""Good scans, damaged: bits that flip, files that are cut, and fields that lie though their checksums are right."""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import replace
from random import Random

from hostile import EITHER, Case
from hostile_right import RIGHT
from image_files import chunk

EXTREMES = (0, 1, 2, 3, 7, 8, 127, 255, 256, 32767, 32768, 65535, 2**24, 2**31 - 1, 2**31, 2**32 - 1)

TAGS = (256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 284, 317, 320, 322, 323, 324, 325, 338, 339, 347)
"""Of a TIFF's entries, what Pillow reads."""

MARKERS = (0xC0, 0xC1, 0xC2, 0xC3, 0xC4, 0xC9, 0xCA, 0xD9, 0xDB, 0xDC, 0xDD, 0xE1, 0xE2, 0xED, 0xEE, 0xFE)

BMP_FIELDS = ((2, 4), (10, 4), (14, 4), (18, 4), (22, 4), (26, 2), (28, 2), (30, 4), (34, 4), (46, 4))
"""(offset, bytes) of the file's size, where pixels begin, the header's size, width, height, planes, bits, compression,
the pixels' size and the palette's."""

SOURCES = [kind for kind in RIGHT if kind != "polyglot"]


def good(random: Random, magic: tuple[bytes, ...] = (b"",)) -> Case:
    """A good scan in a format that begins like one of `magic`."""
    while True:
        case = RIGHT[random.choice(SOURCES)](random)
        if case.data.startswith(magic):
            return case


def damaged(data: bytes) -> Case:
    return Case(data, EITHER)


def flipped(random: Random) -> Case:
    data = bytearray(good(random).data)
    for _ in range(random.choice((1, 1, 2, 8, 100))):
        reach = min(len(data), random.choice((64, 400, 10**9)))  # headers matter most
        data[random.randrange(reach)] ^= 1 << random.randrange(8)
    return damaged(bytes(data))


def overwritten(random: Random) -> Case:
    data = bytearray(good(random).data)
    for _ in range(random.choice((1, 2, 8))):
        at, length = random.randrange(min(len(data), random.choice((64, 400, 10**9)))), random.choice((1, 2, 4, 50))
        data[at : at + length] = random.choice((random.randbytes(length), b"\xff" * length, bytes(length)))
    return damaged(bytes(data))


def cut(random: Random) -> Case:
    """A file that ends early is refused, or, if it lacks nothing that matters, is what it was: never filled up."""
    case = good(random)
    length = random.choice((random.randrange(len(case.data)), len(case.data) - random.randrange(1, 30)))
    return replace(case, data=case.data[: max(length, 0)], expect=EITHER, ids=None)


def longer(random: Random) -> Case:
    """Bytes that were added, doubled or taken out."""
    data = good(random).data
    a, b = sorted(random.randrange(len(data) + 1) for _ in range(2))
    return damaged(
        random.choice(
            (
                data[:a] + random.randbytes(random.choice((1, 4, 1000))) + data[a:],
                data[:b] + data[a:],
                data[:a] + data[b:],
                data[:a] + data[a:b][::-1] + data[b:],
            )
        )
    )


def spliced(random: Random) -> Case:
    """The head of one file on the body of another."""
    head, body = good(random).data, good(random).data
    return damaged(head[: random.choice((4, 8, 33, 100, len(head) // 2))] + body[random.choice((0, 8, 33, 100)) :])


def chunks_of(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 8
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        yield kind, data[at + 8 : at + 8 + length]
        at += 12 + length


def png_fields(random: Random) -> Case:
    """A PNG whose chunks are changed, doubled, left out or in another order, each with the right checksum."""
    parts = list(chunks_of(good(random, (b"\x89PNG",)).data))
    for _ in range(random.choice((1, 1, 2, 4))):
        at = random.randrange(len(parts))
        kind, data = parts[at]
        form = random.randrange(6)
        if form == 0 and data:
            field = bytearray(data)
            field[random.randrange(len(field))] = random.choice((0, 1, 2, 3, 4, 6, 8, 16, 127, 128, 255))
            parts[at] = kind, bytes(field)
        elif form == 1:
            parts.insert(random.randrange(len(parts) + 1), (kind, data))
        elif form == 2 and len(parts) > 1:
            del parts[at]
        elif form == 3:
            random.shuffle(parts)
        elif form == 4:
            parts[at] = random.choice((b"IDAT", b"PLTE", b"tRNS", b"acTL", b"fcTL", b"fdAT", b"eXIf", b"iCCP")), data
        elif kind == b"IHDR":
            depth, colour = random.choice((0, 1, 2, 4, 8, 16, 32)), random.choice((0, 1, 2, 3, 4, 5, 6, 7))
            size = struct.pack(">II", random.choice(EXTREMES), random.choice(EXTREMES)) if form == 5 else data[:8]
            parts[at] = kind, size + bytes((depth, colour, 0, 0, random.choice((0, 1, 2))))
        elif kind == b"IDAT":
            parts[at] = kind, zlib.compress(random.randbytes(random.choice((10, 5000))))
    return damaged(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, data) for kind, data in parts))


def tiff_fields(random: Random) -> Case:
    """A TIFF whose entries lie: another tag, type, count or value."""
    data = bytearray(good(random, (b"II*\0", b"MM\0*")).data)
    order = "<" if data.startswith(b"II") else ">"
    (directory,) = struct.unpack_from(order + "I", data, 4)
    (count,) = struct.unpack_from(order + "H", data, directory)
    for _ in range(random.choice((1, 1, 2, 4))):
        at = directory + 2 + 12 * random.randrange(count)
        form = random.randrange(4)
        if form == 0:
            struct.pack_into(order + "H", data, at, random.choice(TAGS))
        elif form == 1:
            struct.pack_into(order + "H", data, at + 2, random.choice((*range(19), 65535)))
        elif form == 2:
            struct.pack_into(order + "I", data, at + 4, random.choice(EXTREMES))
        else:
            struct.pack_into(order + "I", data, at + 8, random.choice((*EXTREMES, 5, 6, 32773, 34677, 34925, 50000)))
    return damaged(bytes(data))


def jpeg_fields(random: Random) -> Case:
    """A JPEG whose segments are changed, doubled, left out or in another order."""
    data = good(random, (b"\xff\xd8",)).data
    parts, at = [], 2
    while data[at : at + 2] != b"\xff\xda":
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        parts.append(bytearray(data[at:end]))
        at = end
    for _ in range(random.choice((1, 1, 2, 4))):
        part = random.choice(parts)
        form = random.randrange(5)
        if form == 0:
            part[random.randrange(4, len(part))] = random.choice(
                (0, 1, 2, 3, 4, 17, 63, 64, 255, random.randrange(256))
            )
        elif form == 1:
            part[2:4] = struct.pack(">H", random.choice((0, 1, 2, 3, 65535, random.randrange(65536))))
        elif form == 2:
            part[1] = random.choice(MARKERS)
        elif form == 3:
            parts.insert(random.randrange(len(parts)), bytearray(part))
        else:
            random.shuffle(parts)
    return damaged(data[:2] + b"".join(map(bytes, parts)) + data[at:])


def bmp_fields(random: Random) -> Case:
    data = bytearray(good(random, (b"BM",)).data)
    for _ in range(random.choice((1, 1, 2, 4))):
        at, size = random.choice(BMP_FIELDS)
        value = random.choice((*EXTREMES, 12, 16, 24, 32, 40, 52, 56, 64, 108, 124))
        struct.pack_into("<I" if size == 4 else "<H", data, at, value % (1 << 8 * size))
    return damaged(bytes(data))


def webp_fields(random: Random) -> Case:
    data = bytearray(good(random, (b"RIFF",)).data)
    for _ in range(random.choice((1, 1, 2, 4))):
        form = random.randrange(3)
        if form == 0:
            struct.pack_into("<I", data, random.choice((4, 16)), random.choice(EXTREMES))
        elif form == 1:
            data[12:16] = random.choice((b"VP8 ", b"VP8L", b"VP8X", b"ANIM", b"ANMF", b"ALPH", b"EXIF", b"XXXX"))
        else:
            data[random.randrange(20, min(60, len(data)))] = random.randrange(256)
    return damaged(bytes(data))


DAMAGE = {
    "bits flipped": flipped,
    "overwritten": overwritten,
    "cut short": cut,
    "longer or shorter": longer,
    "spliced": spliced,
    "PNG fields": png_fields,
    "TIFF fields": tiff_fields,
    "JPEG fields": jpeg_fields,
    "BMP fields": bmp_fields,
    "WebP fields": webp_fields,
}
