"""What an image file is put together of, looked at before Pillow does.

Pillow makes objects of all numbers of a TIFF's directory, decodes every scan of a JPEG and inflates every colour
profile of a PNG before anyone can ask how many there are. A file of 100 MB would take it minutes, and gigabytes.
"""

import re
import struct
import zlib
from collections.abc import Iterator

REPEATED = {
    "JPEG": (
        (re.compile(rb"\xff\xe1..Exif\0\0", re.DOTALL), 1, "EXIF blocks"),
        (re.compile(rb"\xff\xed..Photoshop 3\.0\0", re.DOTALL), 100, "Photoshop blocks"),
        (re.compile(rb"\xff\xda\0[\x08\x0a\x0c\x0e][\x01-\x04]"), 100, "scans"),
    ),
    "PNG": ((re.compile(rb"iCCP"), 8, "colour profiles"),),
}
"""(how a piece begins, how many of them a file may have, what they are called), by format. A progressive JPEG comes in
about 10 scans, each of which costs as much as a whole image; libtiff stops at 100, too. A PNG has one colour profile,
but its four letters may turn up in pixels, too."""

MAX_NUMBERS = 200_000
"""Numbers of a TIFF's directory, which take up to 250 bytes each in memory: a palette of 16 bits has 196,608."""

MAX_PAGES = 1000
"""Pages of a TIFF that are counted for an error message."""

BYTES, TEXT, UNDEFINED = 1, 2, 7
"""Types of a TIFF's values that can stay in one piece (TIFF 6.0, section 2)."""

PRIVATE, XMP, ICC_PROFILE = 700, 700, 34675
"""Tags from PRIVATE on hold what programs add, of which Pillow looks at these two, and takes them as they are if they
are bytes. Of the tags below it takes bytes for numbers."""

CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Values of a pixel, by a PNG's colour type."""

PLAIN = ((0, 0, 1, 1),)
ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""First column and row, and steps to the next ones, of the pictures that a PNG consists of (PNG, section 8)."""

MAX_CHUNKS = 300_000
"""Chunks of a PNG that are looked through for its pixels, several times as many as an honest one has."""

AT_ONCE = 1_000_000
"""Bytes that are inflated in one go."""


def excess(kind: str, data: bytes) -> str:
    """What a file of a format (by Pillow's name) has more of than it may: what was found, what was expected; or ""."""
    for begins, most, what in REPEATED.get(kind, ()):
        found = sum(1 for _ in begins.finditer(data))
        if found > most:
            return f"a {kind} with {found} {what}, expected at most {most}"
    if kind != "TIFF":
        return ""
    pages, numbers = _directories(data)
    if pages > 1:
        found = pages if pages <= MAX_PAGES else f"more than {MAX_PAGES}"
        return f"{found} pages or frames, expected a single picture"
    if numbers > MAX_NUMBERS:
        return f"a TIFF with a directory of {numbers} numbers, expected at most {MAX_NUMBERS}"
    return ""


def _directories(data: bytes) -> tuple[int, int]:
    """(a TIFF's pages, up to MAX_PAGES + 1; the numbers of its first directory). What is damaged, Pillow tells."""
    order, big = "<" if data.startswith(b"II") else ">", b"\x2b" in data[2:4]
    offset, count, entry = (order + s for s in (("Q", "Q", "HHQ8x") if big else ("I", "H", "HHI4x")))
    pages, numbers = set(), None
    try:
        (at,) = struct.unpack_from(offset, data, 8 if big else 4)
        while at and at not in pages and len(pages) <= MAX_PAGES:
            pages.add(at)
            (entries,) = struct.unpack_from(count, data, at)
            first, size = at + struct.calcsize(count), struct.calcsize(entry)
            if numbers is None:
                whole = data[first : first + min(entries, len(data) // size) * size]
                whole = whole[: len(whole) // size * size]
                numbers = len(whole) // size + sum(_numbers(*e) for e in struct.iter_unpack(entry, whole))
            (at,) = struct.unpack_from(offset, data, first + entries * size)
    except (struct.error, OverflowError):
        pass
    return len(pages), numbers or 0


def _numbers(tag: int, kind: int, count: int) -> int:
    """How many numbers Pillow makes of an entry."""
    if tag < PRIVATE:
        return 0 if kind == TEXT else count
    return count if tag in (XMP, ICC_PROFILE) and kind not in (BYTES, TEXT, UNDEFINED) else 0


def rows_missing(data: bytes) -> bool:
    """Whether a PNG's pixels end before its last row. If their stream ends as it should, Pillow leaves the rest black,
    without a word.

    Raises:
        zlib.error, struct.error, KeyError: it is damaged otherwise.
    """
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", data[16:29])
    left = 0
    for x, y, across, down in ADAM7 if interlaced else PLAIN:
        columns, rows = -(-(width - x) // across), -(-(height - y) // down)
        left += rows * (1 + (columns * depth * CHANNELS[colour] + 7) // 8) if columns > 0 and rows > 0 else 0
    inflate = zlib.decompressobj()
    for compressed in _compressed(data):
        rest = compressed
        while rest and left > 0 and not inflate.eof:
            left -= len(inflate.decompress(rest, AT_ONCE))
            rest = inflate.unconsumed_tail
        if left <= 0:
            break
    return left > 0


def _compressed(data: bytes) -> Iterator[bytes]:
    """The pieces that a PNG's pixels are in."""
    at = 8
    for _ in range(MAX_CHUNKS):
        if at + 8 > len(data):
            break
        length, kind = struct.unpack_from(">I4s", data, at)
        if kind == b"IDAT":
            yield data[at + 8 : at + 8 + length]
        at += 12 + length
