"""Image files as no program writes them, for the tests of the door: by hand, or from Pillow's."""

import io
import struct
import zlib

from PIL import Image


def encode(image: Image.Image, format: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, depth: int, colour: int, rows: bytes, *extra: bytes) -> bytes:
    """A PNG by hand; `rows` are raw pixels without filter bytes."""
    stride = len(rows) // height if height else 0
    rows = b"".join(b"\0" + rows[at : at + stride] for at in range(0, len(rows), stride or 1))
    return png_of(width, height, depth, colour, 0, *extra, chunk(b"IDAT", zlib.compress(rows)))


def png_of(width: int, height: int, depth: int, colour: int, interlace: int, *chunks: bytes) -> bytes:
    """A PNG of these chunks, between its first and its last one."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(chunks) + chunk(b"IEND", b"")


def bmp(width: int, height: int, bits: int, compression: int, data: bytes, palette: bytes = b"") -> bytes:
    """A BMP by hand; its rows go up, unless the height is negative."""
    start = 14 + 40 + len(palette)
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, len(data), 0, 0, len(palette) // 4, 0)
    return b"BM" + struct.pack("<IHHI", start + len(data), 0, 0, start) + head + palette + data


def jpeg_with_segment(plain: bytes, marker: int, *parts: bytes) -> bytes:
    """A JPEG with segments of a kind after its first two bytes."""
    segments = b"".join(struct.pack(">BBH", 0xFF, marker, 2 + len(part)) + part for part in parts)
    return plain[:2] + segments + plain[2:]


def jpeg_with_scans(plain: bytes, times: int) -> bytes:
    """A progressive JPEG of Pillow's whose second scan comes that many times more."""
    scans = [at for at in range(len(plain)) if plain.startswith(b"\xff\xda\0", at)]
    return plain[: scans[1]] + plain[scans[1] : scans[2]] * times + plain[scans[1] :]


def tiff(width: int, height: int, data: bytes, **tags: int | tuple[int, int, bytes]) -> bytes:
    """A little-endian grey TIFF by hand, of one strip unless told otherwise.

    Args:
        tags: t258=12 and the like, as numbers or as (type, how many values, their bytes).
    """
    tags = {"t256": width, "t257": height, "t258": 8, "t259": 1, "t262": 1, "t277": 1} | tags
    if "t322" not in tags:
        tags = {"t278": height} | tags
    offset, length = ("t324", "t325") if "t322" in tags else ("t273", "t279")
    tags = {offset: None, length: len(data)} | tags
    start = 8 + 2 + 12 * len(tags) + 4
    entries, heap = b"", b""
    for tag in sorted(tags, key=lambda tag: int(tag[1:])):
        value = start if tags[tag] is None else tags[tag]
        kind, count, found = value if isinstance(value, tuple) else (4, 1, struct.pack("<I", value))
        if len(found) > 4:
            found, heap = struct.pack("<I", start + len(data) + len(heap)), heap + found
        entries += struct.pack("<HHI4s", int(tag[1:]), kind, count, found)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + b"\0\0\0\0" + data + heap


def forged_exif(entries: int, size: int) -> bytes:
    """EXIF of `size` bytes in which every entry claims nearly all of them."""
    claims = b"".join(struct.pack("<HHII", 40000 + n, 7, size - 100, 8) for n in range(entries))
    return (b"II*\0" + struct.pack("<IH", 8, entries) + claims + b"\0\0\0\0").ljust(size, b"\0")


def jpeg_with_exif(plain: bytes, exif: bytes) -> bytes:
    """Pillow's JPEG with EXIF, spread over as many segments as it takes, and without a resolution elsewhere."""
    parts = (b"Exif\0\0" + exif[at : at + 65000] for at in range(0, len(exif), 65000))
    segments = b"".join(b"\xff\xe1" + struct.pack(">H", 2 + len(part)) + part for part in parts)
    return plain[:2] + segments + plain[4 + int.from_bytes(plain[4:6], "big") :]
