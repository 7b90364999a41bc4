"""The door for user input: right values in, everything else turned away with a ScanError."""

import io
import os
import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
from image_files import chunk, encode, png, tiff
from PIL import Image, ImageFile, ImageOps

from octhub import pieces
from octhub import scan as scan_module
from octhub.scan import FORMATS, IMAGE_SUFFIXES, MAX_EXIF, MAX_PIXELS, MIN_SIDE, ScanError, read_scan

SHAPE = (40, 56)
RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, SHAPE, dtype=np.uint8)
DEEP = RNG.integers(0, 65536, SHAPE, dtype=np.uint16)
REAL = RNG.random(SHAPE, dtype=np.float32)
RGBA = RNG.integers(0, 256, (*SHAPE, 4), dtype=np.uint8)
ORIENTATION = 0x0112

grey, rgb, rgba = Image.fromarray(GREY), Image.fromarray(RGBA[..., :3]), Image.fromarray(RGBA)
luma = np.asarray(rgb.convert("L")) / np.float32(255)
over_black = luma * (RGBA[..., 3] / np.float32(255))


@pytest.fixture(autouse=True)
def _no_warning():
    """No test here may let a warning out, Pillow's about bombs and corrupt metadata least of all."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    assert [str(warning.message) for warning in caught] == []


def transparent(image: Image.Image, key) -> Image.Image:
    image.info["transparency"] = key
    return image


def equals(image: Image.Image | np.ndarray | str | Path | bytes, expected: np.ndarray, atol: float = 0) -> None:
    pixels = read_scan(image)
    assert type(pixels) is np.ndarray
    assert pixels.dtype == np.float32
    assert pixels.flags.c_contiguous
    assert pixels.shape == expected.shape
    np.testing.assert_allclose(pixels, expected, rtol=0, atol=atol or 1e-6)
    assert 0 <= pixels.min() <= pixels.max() <= 1


VALUES = {
    "1": (grey.convert("1"), np.asarray(grey.convert("1"), np.float32)),
    "L": (grey, GREY / np.float32(255)),
    "L, transparent colour": (transparent(grey.copy(), 7), np.where(GREY == 7, 0, GREY) / np.float32(255)),
    "LA": (rgba.convert("LA"), over_black),
    "RGB": (rgb, luma),
    "RGBA": (rgba, over_black),
    "CMYK": (rgb.convert("CMYK"), luma),
    "P": (rgb.quantize(64), np.asarray(rgb.quantize(64).convert("RGB").convert("L")) / np.float32(255)),
    "PA": (rgba.convert("PA"), None),
    "YCbCr": (rgb.convert("YCbCr"), luma),
    "HSV": (rgb.convert("HSV"), luma),
    "I;16": (Image.fromarray(DEEP), DEEP / np.float32(65535)),
    "I": (Image.fromarray(DEEP.astype(np.int32)), DEEP / np.float32(65535)),
    "F": (Image.fromarray(REAL), REAL),
    "RGBX": (rgb.convert("RGBX"), luma),
    "La": (rgba.convert("LA").convert("La"), over_black),
    "RGBa": (rgba.convert("RGBa"), over_black),
    "LAB": (rgb.convert("LAB"), luma),
}
LOSSY = {"YCbCr": 0.01, "HSV": 0.02, "La": 0.01, "RGBa": 0.02, "LAB": 0.2}


@pytest.mark.parametrize("mode", VALUES)
def test_every_mode_of_a_pil_image(mode):
    image, expected = VALUES[mode]
    if expected is None:
        colour = image.convert("RGBA")
        expected = np.asarray(colour.convert("L")) * (np.asarray(colour)[..., 3] / np.float32(255)) / 255
    equals(image, expected, LOSSY.get(mode, 0))


def test_big_endian_16_bit():
    image = Image.frombytes("I;16B", SHAPE[::-1], DEEP.astype(">u2").tobytes())
    equals(image, DEEP / np.float32(65535))


def test_palette_with_transparency_is_laid_over_black():
    palette = rgb.quantize(64)
    alphas = bytes(range(0, 256, 4))
    shown = np.asarray(palette.convert("RGB").convert("L")) / np.float32(255)
    expected = shown * (np.frombuffer(alphas, np.uint8)[np.asarray(palette)] / np.float32(255))
    equals(encode(palette, "PNG", transparency=alphas), expected)


FILES = {
    "bmp 1": ("BMP", "1", {}),
    "bmp grey": ("BMP", "L", {}),
    "bmp colour": ("BMP", "RGB", {}),
    "bmp palette": ("BMP", "P", {}),
    "png 1": ("PNG", "1", {}),
    "png grey": ("PNG", "L", {}),
    "png grey and alpha": ("PNG", "LA", {}),
    "png colour": ("PNG", "RGB", {}),
    "png colour and alpha": ("PNG", "RGBA", {}),
    "png palette": ("PNG", "P", {}),
    "png 16 bit": ("PNG", "I;16", {}),
    "tiff 16 bit": ("TIFF", "I;16", {}),
    "tiff 16 bit lzw": ("TIFF", "I;16", {"compression": "tiff_lzw"}),
    "tiff float": ("TIFF", "F", {}),
    "tiff float deflate": ("TIFF", "F", {"compression": "tiff_adobe_deflate"}),
    "tiff grey packbits": ("TIFF", "L", {"compression": "packbits"}),
    "tiff big": ("TIFF", "L", {"big_tiff": True}),
    "tiff colour": ("TIFF", "RGB", {"compression": "tiff_lzw"}),
    "tiff cmyk": ("TIFF", "CMYK", {}),
    "webp": ("WEBP", "RGB", {"lossless": True}),
    "webp alpha": ("WEBP", "RGBA", {"lossless": True, "exact": True}),
    "jpeg grey": ("JPEG", "L", {"quality": 100}),
    "jpeg colour": ("JPEG", "RGB", {"quality": 100, "subsampling": 0}),
    "jpeg cmyk": ("JPEG", "CMYK", {"quality": 100}),
    "jpeg progressive": ("JPEG", "L", {"quality": 100, "progressive": True}),
}


@pytest.mark.parametrize("kind", FILES)
def test_every_kind_of_file(kind, tmp_path):
    format, mode, options = FILES[kind]
    image, expected = VALUES[mode]
    path = tmp_path / f"scan{FORMATS[format][0]}"
    image.save(path, format, **options)
    equals(path, expected, 0.02 if format == "JPEG" else 0)
    equals(str(path), read_scan(path))
    equals(path.read_bytes(), read_scan(path))
    with path.open("rb") as file:
        equals(file, read_scan(path))
    with Image.open(path) as lazy:
        equals(lazy, read_scan(path))


def test_grey_jpeg_saved_as_colour_is_the_same():
    image = Image.open(io.BytesIO(encode(grey, "JPEG", quality=60)))
    expected = read_scan(image)
    assert np.array_equal(read_scan(encode(image.convert("RGB"), "PNG")), expected)
    assert np.array_equal(read_scan(np.asarray(image.convert("RGB"))), expected)


def test_16_bit_colour_png_is_read_as_8_bit():
    deep = RNG.integers(0, 65536, (*SHAPE, 3), dtype=np.uint16)
    expected = (deep / 65535) @ [0.299, 0.587, 0.114]
    equals(png(*SHAPE[::-1], 16, 2, deep.astype(">u2").tobytes()), expected, 0.01)


def test_16_bit_png_with_a_transparent_value():
    deep = DEEP.copy()
    deep[:5] = 40000
    data = png(*SHAPE[::-1], 16, 0, deep.astype(">u2").tobytes(), chunk(b"tRNS", struct.pack(">H", 40000)))
    equals(data, np.where(deep == 40000, 0, deep) / np.float32(65535))


def test_tiff_byte_order_depth_and_polarity():
    header = b"MM\0*" + struct.pack(">IH", 8, 8)
    tags = {256: 56, 257: 40, 258: 16, 259: 1, 262: 1, 273: 8 + 2 + 12 * 8 + 4, 278: 40, 279: DEEP.nbytes}
    entries = b"".join(struct.pack(">HHII", tag, 4, 1, value) for tag, value in tags.items())
    equals(header + entries + b"\0\0\0\0" + DEEP.astype(">u2").tobytes(), DEEP / np.float32(65535))
    equals(tiff(56, 40, DEEP.tobytes(), t258=16, t262=0), 1 - DEEP / np.float32(65535))
    equals(tiff(56, 40, GREY.tobytes(), t262=0), 1 - GREY / np.float32(255))
    twelve = (DEEP >> 4).reshape(-1, 2).astype(np.uint32)
    packed = (twelve[:, 0] << 12 | twelve[:, 1]).astype(">u4").view(np.uint8).reshape(-1, 4)[:, 1:]
    equals(tiff(56, 40, packed.tobytes(), t258=12), (DEEP >> 4) / np.float32(4095))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_exif_orientation_is_applied(format, orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    data = encode(grey, format, exif=exif, **({"lossless": True} if format == "WEBP" else {}))
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("L")
    assert upright.size == (SHAPE[::-1] if orientation < 5 else SHAPE)
    equals(data, np.asarray(upright) / np.float32(255))
    equals(Image.open(io.BytesIO(data)), np.asarray(upright) / np.float32(255))


def test_exif_that_pillow_cannot_write_again():
    exif = Image.Exif()
    exif[ORIENTATION], exif[0x011A] = 6, 72.0
    data = encode(grey, "PNG", exif=exif)
    at = data.index(b"eXIf") + 4
    block = data[at : at + int.from_bytes(data[at - 8 : at - 4], "big")]
    broken = block.replace(b"\x01\x1a\x00\x05", b"\x01\x1a\x00\x02", 1).replace(
        b"\x1a\x01\x05\x00", b"\x1a\x01\x02\x00", 1
    )
    assert broken != block
    data = encode(grey, "PNG", exif=broken)
    equals(data, np.rot90(GREY, -1) / np.float32(255))


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (GREY, GREY / np.float32(255)),
        (GREY[:, ::-1], GREY[:, ::-1] / np.float32(255)),
        (GREY[..., None], GREY / np.float32(255)),
        (RGBA[..., :3], luma),
        (RGBA, over_black),
        (DEEP, DEEP / np.float32(65535)),
        (DEEP.astype(">u2"), DEEP / np.float32(65535)),
        (DEEP.astype(np.int64), DEEP / np.float32(65535)),
        (GREY > 99, (GREY > 99).astype(np.float32)),
        (REAL, REAL),
        (REAL.astype(np.float64), REAL),
        (np.asfortranarray(REAL), REAL),
        (np.repeat(REAL[..., None], 3, 2), REAL),
        (RGBA.astype(np.uint16) * 257, over_black),
        (np.ma.masked_array(REAL, REAL > 0.5), REAL),
    ],
    ids=lambda value: f"{value.dtype} {value.shape}",
)
def test_arrays(array, expected):
    equals(array, expected, 0.005 if array.dtype == np.uint16 and array.ndim == 3 else 0)


def test_the_result_is_a_copy():
    given = REAL.copy()
    read_scan(given)[:] = 0
    assert np.array_equal(given, REAL)


def test_smallest_and_largest():
    assert read_scan(np.zeros((MIN_SIDE, MIN_SIDE), np.uint8)).shape == (MIN_SIDE, MIN_SIDE)
    assert read_scan(encode(Image.new("L", (5000, 4000)), "PNG")).size == MAX_PIXELS
    with pytest.raises(ScanError, match=r"31 × 64 pixels, expected at least 32"):
        read_scan(encode(Image.new("L", (31, 64)), "PNG"))
    with pytest.raises(ScanError, match=r"5001 × 4000 pixels \(20.0 megapixels\), expected at most 20 megapixels"):
        read_scan(png(5001, 4000, 8, 0, b""))
    with pytest.raises(ScanError, match="at most 20 megapixels"):
        read_scan(np.broadcast_to(np.uint8(0), (5000, 4001)))


def test_pillows_pixel_limit_has_no_say(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    equals(encode(grey, "PNG"), GREY / np.float32(255))


def test_suffixes():
    assert {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp"} <= IMAGE_SUFFIXES
    assert all(suffix == suffix.lower() for suffix in IMAGE_SUFFIXES)
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


BAD_FILES = {
    "empty.png": (b"", r"0 bytes"),
    "notes.jpg": (b"these are no pixels" * 20, "not a known kind of image"),
    "movie.gif": (encode(grey, "GIF"), "a GIF file"),
    "scan.dcm": (bytes(128) + b"DICM", "a DICOM file"),
    "report.pdf": (b"%PDF-1.7", "a PDF file"),
    "scan.ppm": (encode(grey, "PPM"), "not a known kind"),
    "pages.tif": (encode(grey, "TIFF", save_all=True, append_images=[grey] * 4), "5 pages or frames"),
    "moving.png": (encode(grey, "PNG", save_all=True, append_images=[rgb]), "2 pages or frames"),
    "moving.webp": (encode(grey, "WEBP", save_all=True, append_images=[rgb, grey]), "3 pages or frames"),
    "two.jpg": (encode(grey, "MPO", save_all=True, append_images=[grey]), "2 pages or frames"),
    "small.bmp": (encode(Image.new("L", (64, 20)), "BMP"), "64 × 20 pixels"),
    "bomb.png": (png(60000, 60000, 8, 0, b""), r"60000 × 60000 pixels \(3600.0 megapixels\)"),
    "bomb.bmp": (encode(grey, "BMP")[:18] + struct.pack("<ii", 9000, 9000) + encode(grey, "BMP")[26:], "81.0 mega"),
    "bomb.tif": (tiff(50000, 50000, bytes(99)), "50000 × 50000 pixels"),
    "hdr.tif": (encode(Image.fromarray(REAL * 3), "TIFF"), r"float32 values from 0.\d+ to 2.\d+"),
    "nan.tif": (encode(Image.fromarray(np.where(REAL > 0.5, np.nan, REAL)), "TIFF"), "NaN"),
    "wide.tif": (encode(Image.fromarray(DEEP.astype(np.int32) * 2), "TIFF"), r"int32 values from \d+ to 13\d+"),
    "fax.tif": (encode(grey.convert("1"), "TIFF", compression="group4"), "a TIFF compressed by group4"),
    "magic.webp": (b"RIFF\0\0\0\0WEBPVP8 ", "damaged or truncated WEBP"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files(name, tmp_path):
    data, found = BAD_FILES[name]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ScanError, match=f"^{name}: .*{found}.*expected") as error:
        read_scan(tmp_path / name)
    assert str(tmp_path) not in str(error.value)
    with pytest.raises(ScanError, match=r"^left eye: .+, expected"):
        read_scan(data, name="left eye")


def test_no_file_folder_pipe_and_null(tmp_path):
    with pytest.raises(ScanError, match=r"^gone.png: no such file, expected a JPEG, PNG"):
        read_scan(tmp_path / "gone.png")
    with pytest.raises(ScanError, match=f"^{tmp_path.name}: a folder, expected"):
        read_scan(tmp_path)
    with pytest.raises(ScanError, match="expected a JPEG"):
        read_scan("a\0b.png")
    with pytest.raises(ScanError, match="can't be read"):
        read_scan(f"{'x' * 5000}.png")
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ScanError, match=r"pipe.png: a device or pipe, expected"):
        read_scan(tmp_path / "pipe.png")


def test_too_many_bytes(tmp_path, monkeypatch):
    with (tmp_path / "huge.png").open("wb") as file:
        file.truncate(100_000_001)  # sparse: takes no room
    with pytest.raises(ScanError, match=r"huge.png: a file of 100.0 MB, expected .* at most 100 MB"):
        read_scan(tmp_path / "huge.png")
    monkeypatch.setattr(scan_module, "MAX_BYTES", 1000)
    with pytest.raises(ScanError, match=r"the image: more than"):
        read_scan(io.BytesIO(bytes(2000)))


@pytest.mark.parametrize(
    ("source", "found"),
    [
        (None, "NoneType, expected a path"),
        ([[0.5]], "list, expected a path"),
        (io.StringIO("text"), "can't be read"),
        (np.zeros(64), r"the array: the wrong number of dimensions, 1 in shape \(64,\), expected \(H, W\)"),
        (np.zeros((2, 64, 64, 3)), "wrong number of dimensions, 4"),
        (np.zeros((64, 64, 2)), "2 channels"),
        (np.zeros((0, 64)), "64 × 0 pixels"),
        (np.full((64, 64), np.nan), "NaN or infinite"),
        (np.full((64, 64), -np.inf), "NaN or infinite"),
        (np.full((64, 64), 1.5), r"float64 values from 1.5 to 1.5, expected \[0, 1\]"),
        (np.full((64, 64), -1), r"int64 values from -1 to -1, expected \[0, 65535\]"),
        (np.full((64, 64), 65536), "from 65536"),
        (np.zeros((64, 64), complex), "complex128"),
        (np.zeros((64, 64), object), "object"),
        (np.full((64, 64), "x"), "<U1"),
        (Image.new("L", (64, 8)), "the image: 64 × 8 pixels"),
        (Image.new("I", (64, 64), -5), "from -5"),
        (Image.new("F", (64, 64), 255), r"expected \[0, 1\]"),
        (Image.open(io.BytesIO(encode(grey, "GIF"))), "a GIF image, expected"),
        (Image.open(io.BytesIO(encode(rgb, "PNG")[:-900])), "damaged or truncated PNG"),
        (Image.open(io.BytesIO(encode(grey, "TIFF", save_all=True, append_images=[grey]))), "2 pages"),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else type(value).__name__,
)
def test_bad_arrays_images_and_objects(source, found):
    with pytest.raises(ScanError, match=found):
        read_scan(source)


def test_closed_image():
    image = Image.open(io.BytesIO(encode(grey, "PNG")))
    image.close()
    with pytest.raises(ScanError, match="the image: "):
        read_scan(image)


@pytest.mark.parametrize("kind", FILES)
def test_cut_short_is_never_filled_up(kind, tmp_path):
    format, mode, options = FILES[kind]
    data = encode(VALUES[mode][0], format, **options)
    path = tmp_path / f"cut{FORMATS[format][0]}"
    for share in (0.1, 0.5, 0.9):
        path.write_bytes(data[: int(len(data) * share)])
        with pytest.raises(ScanError, match=rf"^{path.name}: a damaged or truncated {format}.*, expected a complete"):
            read_scan(path)


def test_more_pages_than_are_counted(monkeypatch):
    monkeypatch.setattr(pieces, "MAX_PAGES", 3)
    data = encode(grey, "TIFF", save_all=True, append_images=[grey] * 5)
    with pytest.raises(ScanError, match="more than 3 pages"):
        read_scan(data)


def test_exif_that_makes_pillow_warn():
    exif = b"II*\0" + struct.pack("<IHHHII", 8, 1, 0x010F, 2, 5000, 99)  # claims 5000 bytes that are not there
    data = encode(grey, "WEBP", exif=exif, lossless=True)
    with pytest.warns(UserWarning, match="Truncated"):
        Image.open(io.BytesIO(data)).getexif()
    equals(data, GREY / np.float32(255))


def test_more_exif_than_one_segment_holds():
    exif = Image.Exif()
    exif[ORIENTATION] = 3
    exif = exif.tobytes().removeprefix(b"Exif\0\0").ljust(MAX_EXIF, b"\0")
    equals(encode(grey, "WEBP", exif=exif, lossless=True), GREY[::-1, ::-1] / np.float32(255))
    with pytest.raises(ScanError, match=r"the image: 65536 bytes of EXIF, expected at most 65535"):
        read_scan(encode(grey, "WEBP", exif=exif + b"\0"))
