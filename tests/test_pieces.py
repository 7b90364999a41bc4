"""What files have too much of, and what they lack, before Pillow decodes them."""

import struct
import zlib

import numpy as np
import pytest
from image_files import bmp, chunk, encode, jpeg_with_scans, jpeg_with_segment, png, png_of, tiff
from PIL import Image

from octhub import ScanError, pieces, read_scan
from octhub import scan as scan_module
from octhub.pieces import ADAM7, MAX_NUMBERS

GREY = np.random.default_rng(0).integers(0, 256, (37, 45), np.uint8)
HEIGHT, WIDTH = GREY.shape
ROWS = b"".join(b"\0" + row.tobytes() for row in GREY)

grey = Image.fromarray(GREY)


def interlaced(pixels: np.ndarray) -> bytes:
    """(H, W) uint8 → an interlaced PNG's rows."""
    parts = (pixels[y::down, x::across] for x, y, across, down in ADAM7)
    return b"".join(b"\0" + row.tobytes() for part in parts if part.size for row in part)


def refusal(data: bytes) -> str:
    with pytest.raises(ScanError) as error:
        read_scan(data)
    assert "expected" in str(error.value)
    return str(error.value)


def reads_as(data: bytes, pixels: np.ndarray) -> None:
    np.testing.assert_allclose(read_scan(data), pixels / np.float32(255), rtol=0, atol=1e-6)


class TestPng:
    @pytest.mark.parametrize("how", [0, 1], ids=["plain", "interlaced"])
    def test_pixels_that_end_early(self, how):
        rows = interlaced(GREY) if how else ROWS
        reads_as(png_of(WIDTH, HEIGHT, 8, 0, how, chunk(b"IDAT", zlib.compress(rows))), GREY)
        for length in (0, 1, len(rows) // 2, len(rows) - 1):
            data = png_of(WIDTH, HEIGHT, 8, 0, how, chunk(b"IDAT", zlib.compress(rows[:length])))
            assert "damaged or truncated PNG image (its pixels end before its last row)" in refusal(data)

    @pytest.mark.parametrize(("depth", "colour"), [(1, 0), (2, 0), (4, 0), (16, 0), (8, 2), (16, 2), (8, 4), (16, 6)])
    def test_every_depth_and_colour_is_whole(self, depth, colour):
        stride = (WIDTH * depth * pieces.CHANNELS[colour] + 7) // 8
        rows = bytes((1 + stride) * HEIGHT)
        assert (
            read_scan(png_of(WIDTH, HEIGHT, depth, colour, 0, chunk(b"IDAT", zlib.compress(rows)))).shape == GREY.shape
        )
        short = png_of(WIDTH, HEIGHT, depth, colour, 0, chunk(b"IDAT", zlib.compress(rows[:-1])))
        assert "before its last row" in refusal(short)

    def test_pixels_in_many_chunks_and_more_than_there_are_rows(self):
        stream = zlib.compress(ROWS + bytes(1000))
        parts = (chunk(b"IDAT", stream[at : at + 7]) for at in range(0, len(stream), 7))
        reads_as(png_of(WIDTH, HEIGHT, 8, 0, 0, *parts), GREY)

    def test_colour_profiles(self):
        profile = chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(100)))
        reads_as(png(WIDTH, HEIGHT, 8, 0, GREY.tobytes(), profile), GREY)
        data = png(WIDTH, HEIGHT, 8, 0, GREY.tobytes(), *[profile] * 9)
        assert refusal(data) == "the image: a PNG with 9 colour profiles, expected at most 8"


class TestJpeg:
    def test_scans(self):
        plain = encode(grey, "JPEG", progressive=True)
        assert read_scan(jpeg_with_scans(plain, 50)).shape == GREY.shape
        assert "a JPEG with 1006 scans, expected at most 100" in refusal(jpeg_with_scans(plain, 1000))

    def test_photoshop_and_exif(self):
        plain = encode(grey, "JPEG")
        for begins, what in ((b"Photoshop 3.0\0", "101 Photoshop blocks"), (b"Exif\0\0", "101 EXIF blocks")):
            marker = 0xED if begins.startswith(b"P") else 0xE1
            assert what in refusal(jpeg_with_segment(plain, marker, *[begins + bytes(20)] * 101))


class TestTiff:
    def test_numbers(self):
        """What Pillow would make a number of each: gigabytes, from a hundredth of that."""
        many = bytes(2 * MAX_NUMBERS)
        strips = {"t278": 1, "t273": (3, MAX_NUMBERS, many), "t279": (3, MAX_NUMBERS, many)}
        bytes_for_strips = {"t278": 1, "t273": (1, 2 * MAX_NUMBERS, many)}
        for tags in ({"t320": (3, MAX_NUMBERS, many)}, strips, bytes_for_strips, {"t34675": (3, MAX_NUMBERS, many)}):
            found = refusal(tiff(WIDTH, HEIGHT, GREY.tobytes(), **tags))
            assert "a TIFF with a directory of" in found
            assert f"numbers, expected at most {MAX_NUMBERS}" in found

    def test_what_programs_add_may_be_long(self):
        whole = bytes(3 * MAX_NUMBERS)
        for tag, kind in (("t700", 1), ("t34377", 1), ("t34675", 7), ("t270", 2)):
            reads_as(tiff(WIDTH, HEIGHT, GREY.tobytes(), **{tag: (kind, len(whole), whole)}), GREY)
        reads_as(tiff(WIDTH, HEIGHT, GREY.tobytes(), t65000=(12, len(whole) // 8, whole)), GREY)

    def test_strips_and_tiles_that_are_missing(self):
        for tags in ({"t278": 8}, {"t322": 16, "t323": 16}):
            assert "its strips or tiles don't fill it" in refusal(tiff(WIDTH, HEIGHT, GREY.tobytes(), **tags))
        eights = {"t258": (3, 3, struct.pack("<3H", 8, 8, 8)), "t262": 2, "t277": 3, "t284": 2}
        assert "don't fill it" in refusal(tiff(WIDTH, HEIGHT, GREY.tobytes() * 3, **eights))  # red alone
        rows = [GREY[at : at + 8].tobytes() for at in range(0, HEIGHT, 8)]
        start = 8 + 2 + 12 * 9 + 4
        offsets = struct.pack("<5I", *(start + 8 * WIDTH * n for n in range(5)))
        lengths = struct.pack("<5I", *map(len, rows))
        reads_as(tiff(WIDTH, HEIGHT, b"".join(rows), t278=8, t273=(4, 5, offsets), t279=(4, 5, lengths)), GREY)

    def test_pages(self):
        """Two that lead to each other are two; one that leads to itself is one."""
        one = tiff(WIDTH, HEIGHT, GREY.tobytes())
        at = 8 + 2 + 12 * 9
        reads_as(one[:at] + struct.pack("<I", 8) + one[at + 4 :], GREY)
        assert "2 pages or frames" in refusal(one[:at] + struct.pack("<I", 10**9) + one[at + 4 :])
        assert "3 pages or frames" in refusal(
            encode(grey, "TIFF", big_tiff=True, save_all=True, append_images=[grey] * 2)
        )


def test_files_in_too_many_pieces(monkeypatch):
    """Pillow looks at each piece in Python: a hundred megabytes of them would take minutes."""
    monkeypatch.setattr(scan_module, "MAX_READS", 5000)
    monkeypatch.setattr(scan_module, "MAX_RUN_READS", 5000)
    plain = encode(grey, "JPEG")
    files = (
        png(WIDTH, HEIGHT, 8, 0, GREY.tobytes(), *[chunk(b"aaAa", b"")] * 5000),
        png_of(WIDTH, HEIGHT, 8, 0, 0, *[chunk(b"IDAT", b"")] * 5000, chunk(b"IDAT", zlib.compress(ROWS))),
        jpeg_with_segment(plain, 0xFE, *[b""] * 5000),
        plain[:2] + b"\xff\0" * 5000 + plain[2:],
        bmp(WIDTH, HEIGHT, 8, 1, b"\0\0" * 5000, bytes(1024)),
    )
    for data in files:
        assert "it is in far more pieces than an image needs" in refusal(data)
