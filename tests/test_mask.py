"""Masks: ids come through as they are, or not at all."""

import io
import random
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from octhub.mask import UNKNOWN, MaskError, checked_ids, read_mask
from octhub.scan import ScanError, read_scan

SHAPE = (40, 56)
NAMES = ("above", "layers", "below", "fluid")
IDS = np.random.default_rng(0).choice(np.array([0, 1, 2, 3, UNKNOWN], np.uint8), SHAPE)
FEW = IDS % 2
ORIENTATION = 0x0112

grey = Image.fromarray(IDS)
palette = Image.fromarray(IDS)
palette.putpalette(np.random.default_rng(1).integers(0, 256, 768, dtype=np.uint8).tobytes())
opaque = np.full(SHAPE, 255, np.uint8)


def encode(image: Image.Image, format: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def png(depth: int, colour: int, rows: np.ndarray) -> bytes:
    """A PNG by hand, of (H, bytes of a row) packed pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", *SHAPE[::-1], depth, colour, 0, 0, 0)
    data = b"".join(b"\0" + row.tobytes() for row in rows)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def equals(source, expected: np.ndarray = IDS) -> None:
    ids = read_mask(source, SHAPE, NAMES)
    assert type(ids) is np.ndarray
    assert ids.dtype == np.uint8
    assert ids.flags.c_contiguous
    np.testing.assert_array_equal(ids, expected)


FILES = {
    "grey.png": encode(grey),
    "palette.png": encode(palette),
    "see-through palette.png": encode(palette, transparency=bytes([0]) + bytes([255] * 255)),
    "16 bit.png": encode(Image.fromarray(IDS.astype(np.uint16))),
    "grey and alpha.png": encode(Image.merge("LA", [grey, Image.fromarray(opaque)])),
    "equal channels.png": encode(Image.merge("RGB", [grey] * 3)),
    "equal channels and alpha.png": encode(Image.merge("RGBA", [grey] * 3 + [Image.fromarray(opaque)])),
    "grey.bmp": encode(grey, "BMP"),
    "palette.bmp": encode(palette, "BMP"),
    "equal channels.bmp": encode(Image.merge("RGB", [grey] * 3), "BMP"),
    "grey.tif": encode(grey, "TIFF"),
    "palette.tif": encode(palette, "TIFF", compression="tiff_lzw"),
    "16 bit.tiff": encode(Image.fromarray(IDS.astype(np.uint16)), "TIFF", compression="tiff_adobe_deflate"),
    "32 bit.tif": encode(Image.fromarray(IDS.astype(np.int32)), "TIFF"),
}


@pytest.mark.parametrize("name", FILES)
def test_every_kind_of_file(name, tmp_path):
    path = tmp_path / name
    path.write_bytes(FILES[name])
    equals(path)
    equals(str(path))
    equals(FILES[name])
    with path.open("rb") as file:
        equals(file)
    with Image.open(path) as image:
        equals(image)


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF"])
def test_1_bit(format):
    equals(encode(Image.fromarray(FEW > 0), format), FEW)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_palettes_of_few_bits(bits):
    few = IDS % min(2**bits, len(NAMES))
    image = Image.fromarray(few)
    image.putpalette(np.random.default_rng(2).integers(0, 256, 3 * 2**bits, dtype=np.uint8).tobytes())
    data = encode(image, bits=bits)
    assert data[24] == bits
    equals(data, few)


@pytest.mark.parametrize(
    "array",
    [IDS, IDS.astype(np.int64), IDS.astype(">u2"), np.asfortranarray(IDS), IDS[::-1][::-1], np.ma.masked_array(IDS)],
    ids=lambda a: str(a.dtype),
)
def test_arrays(array):
    equals(array)
    assert not np.shares_memory(read_mask(array), array)


def test_bool_arrays_and_images():
    equals(FEW > 0, FEW)
    equals(grey)
    equals(palette)
    equals(Image.fromarray(FEW > 0), FEW)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_as_to_the_scan(orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    data = encode(grey, exif=exif)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    np.testing.assert_array_equal(read_mask(data, read_scan(data).shape, NAMES), upright)


def test_without_classes_every_id_passes():
    every = np.arange(SHAPE[0] * SHAPE[1], dtype=np.uint16).reshape(SHAPE) % 256
    np.testing.assert_array_equal(read_mask(every), every)
    with pytest.raises(MaskError, match=r"^the mask: id 256 without a class, expected 0 to 254 or 255 for not annot"):
        read_mask(every + 1)


def test_only_0_and_255_is_background_and_not_annotated():
    mask = np.where(FEW, UNKNOWN, 0).astype(np.uint8)
    equals(mask, mask)


def test_another_size_than_the_scan(tmp_path):
    Image.new("L", (500, 300)).save(tmp_path / "mask.png")
    with pytest.raises(MaskError, match=r"^mask\.png: 500 × 300 pixels, expected 768 × 496 like the scan$"):
        read_mask(tmp_path / "mask.png", (496, 768), NAMES)
    with pytest.raises(MaskError, match=r"^the mask: 40 × 56 pixels, expected 56 × 40 like the scan$"):
        read_mask(IDS.T, SHAPE)


def test_ids_without_a_class():
    ids = IDS.astype(np.int16)
    ids[0, :2] = 37, 10
    with pytest.raises(
        MaskError, match=r"^m\.png: ids 10, 37 without a class, expected 0 to 3 \(above … fluid\) or 255 for not annot"
    ):
        read_mask(ids, SHAPE, NAMES, "m.png")
    ids[0, :9] = [-1, 4, 4, 5, 6, 7, 8, 254, 3000]
    with pytest.raises(MaskError, match=r"^the mask: ids -1, 4, 5, 6, 7 and 3 more without a class, expected"):
        read_mask(ids, SHAPE, NAMES)
    with pytest.raises(MaskError, match=r"id 1 without a class, expected 0 \(only\) or 255"):
        read_mask(FEW, None, ["only"])
    with pytest.raises(MaskError, match=r"ids .* and \d+ more without a class"):
        read_mask(encode(Image.linear_gradient("L")), None, NAMES)  # a scan in place of its mask


def test_nothing_annotated():
    with pytest.raises(MaskError, match=r"^the mask: 255 \(not annotated\) everywhere, expected 0 to 3 \(above … fl"):
        read_mask(np.full(SHAPE, UNKNOWN), SHAPE, NAMES)
    with pytest.raises(MaskError, match=r"everywhere, expected 0 to 254"):
        read_mask(np.full(SHAPE, UNKNOWN))


STORED = {  # four rows of id 1 and the like, which Pillow would turn into other ids
    "2 bit grey.png": (png(2, 0, np.full((40, 14), 0b01_01_01_01, np.uint8)), "stored as L;2"),
    "4 bit grey.png": (png(4, 0, np.full((40, 28), 0x11, np.uint8)), "stored as L;4"),
    "deep colour.png": (png(16, 2, np.full((40, 56 * 3), 1, ">u2")), "stored as RGB;16B"),
    "deep grey and alpha.png": (png(16, 4, np.full((40, 56 * 2), 1, ">u2")), "stored as LA;16B"),
}
COLOURED = {
    "colour.png": (encode(palette.convert("RGB")), "a coloured picture"),
    "colour and alpha.png": (encode(palette.convert("RGBA")), "a coloured picture"),
    "overlay.png": (encode(Image.merge("RGBA", [grey] * 4)), "a partly transparent picture"),
    "faint.png": (encode(Image.merge("LA", [grey] * 2)), "a partly transparent picture"),
    "float.tif": (encode(Image.fromarray(FEW.astype(np.float32)), "TIFF"), "a picture of mode F"),
    "ink.tif": (encode(palette.convert("CMYK"), "TIFF"), "a picture of mode CMYK"),
}
LOSSY = {
    "mask.jpg": (encode(grey, "JPEG", quality=100), "a JPEG file"),
    "mask.webp": (encode(grey, "WEBP", lossless=True), "a WEBP file"),
    "jpeg.tif": (encode(grey, "TIFF", compression="jpeg"), "a TIFF with lossy compression"),
}
BROKEN = {
    "empty.png": (b"", "an empty file"),
    "notes.png": (b"no pixels" * 20, "not a known kind of image"),
    "scan.dcm": (bytes(128) + b"DICM", "a DICOM file"),
    "cut.png": (encode(grey)[:-400], "a damaged or truncated PNG"),
    "pages.tif": (encode(grey, "TIFF", save_all=True, append_images=[grey]), "2 pages or frames"),
    "small.png": (encode(Image.new("L", (64, 20))), "64 × 20 pixels"),
    "bomb.bmp": (encode(grey, "BMP")[:18] + struct.pack("<ii", 9000, 9000) + encode(grey, "BMP")[26:], "81.0 mega"),
}
BAD = STORED | COLOURED | LOSSY | BROKEN


@pytest.mark.parametrize("name", BAD)
def test_bad_files(name, tmp_path):
    data, found = BAD[name]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(MaskError, match=f"^{name}: .*{found}.*, expected") as error:
        read_mask(tmp_path / name, SHAPE, NAMES)
    assert str(tmp_path) not in str(error.value)
    assert "WebP" not in str(error.value)
    with pytest.raises(MaskError, match=r"^grader 2: .+, expected"):
        read_mask(data, SHAPE, NAMES, "grader 2")


def test_what_is_accepted_is_said(tmp_path):
    with pytest.raises(MaskError, match=r"^gone\.png: no such file, expected a PNG, TIFF or BMP image of at most 100"):
        read_mask(tmp_path / "gone.png")
    with pytest.raises(MaskError, match=r"a JPEG image, expected a PNG, TIFF or BMP image"):
        read_mask(Image.open(io.BytesIO(encode(grey, "JPEG"))))
    assert issubclass(MaskError, ScanError)


@pytest.mark.parametrize(
    ("source", "found"),
    [
        (None, "NoneType, expected a path, a PIL image or an array"),
        ([[0]], "list, expected a path"),
        (IDS[0], r"shape \(56,\), expected \(H, W\) class ids"),
        (np.zeros((40, 56, 3), np.uint8), r"shape \(40, 56, 3\), expected \(H, W\)"),
        (np.zeros((0, 56), np.uint8), r"shape \(0, 56\)"),
        (FEW.astype(float), "type float64, expected whole numbers"),
        (FEW.astype(str), "type <U3, expected whole numbers"),
    ],
    ids=["none", "list", "row", "colour", "empty", "float", "text"],
)
def test_bad_arrays_and_objects(source, found):
    with pytest.raises(MaskError, match=f"^the mask: .*{found}"):
        read_mask(source, SHAPE, NAMES)


@pytest.mark.parametrize("name", FILES)
def test_damaged_files_end_in_a_mask_error_or_ids(name):
    random_ = random.Random(name)
    for _ in range(25):
        data = bytearray(FILES[name])
        for _ in range(random_.choice((1, 2, 8))):
            data[random_.randrange(min(len(data), random_.choice((64, 400, 10**9))))] = random_.randrange(256)
        try:
            ids = read_mask(bytes(data), None, NAMES)
        except MaskError:
            continue
        assert ids.dtype == np.uint8
        assert set(np.unique(ids)) <= {0, 1, 2, 3, UNKNOWN}


def test_checked_ids_take_a_count_of_classes():
    assert checked_ids(IDS, len(NAMES), "it").dtype == np.uint8
    with pytest.raises(MaskError, match=r"^it: id 3 without a class, expected 0 to 2 or 255"):
        checked_ids(IDS, 3, "it")


def test_only_scan_opens_files():
    source = (Path(__file__).parent.parent / "octhub" / "mask.py").read_text()
    assert "Image.open" not in source
    assert "read_bytes" not in source
