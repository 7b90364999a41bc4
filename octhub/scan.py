"""Read and check a scan: the only door for user input."""

import io
import stat
import warnings
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.ExifTags import Base as Tag
from PIL.JpegImagePlugin import jpeg_factory
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from octhub.pieces import excess, rows_missing

MIN_SIDE = 32
"""Pixels of the shorter side: below it a B-scan shows no layers, and the encoders halve an image five times."""

MAX_PIXELS = 20_000_000
"""Pixels of a whole scan. OCT devices export about 1 megapixel; 20 leave room for photographs and montages and
keep a decoded scan (80 MB as float32) far from a server's memory, and below Pillow's own bomb warning."""

MAX_BYTES = 100_000_000
"""Bytes of a file: 20 megapixels of uncompressed 32-bit TIFF take 80 MB."""

MAX_EXIF = 65_535
"""Bytes of EXIF, as many as fit in a JPEG segment. Pillow copies what each of its entries claims, so a few hundred
kilobytes of overlapping claims would cost gigabytes."""

MAX_READS, MAX_RUN_READS = 500_000, 2_000_000
"""How often Pillow may read from a file, and from a BMP: a few times for each piece of a PNG or JPEG, of which an
honest one of MAX_BYTES has about 12,000, and twice for each run of equal pixels of a compressed BMP. It takes Pillow a
second or two."""

SHOWN = 300
"""Characters of a library's own message that are shown: some hold what they found in the file."""

FORMATS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png",),
    "TIFF": (".tif", ".tiff"),
    "BMP": (".bmp",),
    "WEBP": (".webp",),
}
"""Accepted formats, by Pillow's names, and the suffixes of their files. Each decoder is one more way to attack a
server, so only those that OCT exports come in. A file's content decides, not its suffix."""

IMAGE_SUFFIXES = frozenset(suffix for suffixes in FORMATS.values() for suffix in suffixes)
"""Lower-case suffixes to look for when walking a folder."""

TIFF_COMPRESSIONS = (
    "raw",
    "packbits",
    "tiff_lzw",
    "tiff_deflate",
    "tiff_adobe_deflate",
    "jpeg",
    "lzma",
    "zstd",
    "webp",
)
"""How a TIFF's pixels may be compressed, by Pillow's names. Not by the codes of fax machines: where those are damaged,
libtiff goes on and Pillow hands out memory that nobody wrote to since it held something else, such as another visitor's
scan."""

OPENERS = {
    "JPEG": jpeg_factory,
    "PNG": PngImageFile,
    "TIFF": TiffImageFile,
    "BMP": BmpImageFile,
    "WEBP": WebPImageFile,
}
"""Pillow's readers, called directly: Image.open checks sizes against Image.MAX_IMAGE_PIXELS, a global that others
set, and warns before the size can be looked at."""

MAGIC = (
    (0, b"\xff\xd8\xff", "JPEG"),
    (0, b"\x89PNG\r\n\x1a\n", "PNG"),
    *((0, magic, "TIFF") for magic in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")),
    (0, b"BM", "BMP"),
    (8, b"WEBP", "WEBP"),
    (128, b"DICM", "DICOM"),
    (0, b"GIF8", "GIF"),
    (0, b"%PDF", "PDF"),
    (4, b"jP  ", "JPEG 2000"),
    (4, b"ftyp", "HEIF, AVIF or video"),
    (0, b"8BPS", "Photoshop"),
    (0, b"PK\3\4", "ZIP"),
)
"""(offset, bytes, format) by which a file is recognised, including what people try that isn't accepted."""

TURNS = {
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.T,
    6: lambda a: a.T[:, ::-1],
    7: lambda a: a[::-1, ::-1].T,
    8: lambda a: a.T[::-1],
}
"""What sets an (H, W) array upright, by EXIF orientation. ImageOps.exif_transpose does the same, but also writes the
EXIF anew and fails on entries that it can read and not write."""

ScanSource = str | Path | bytes | BinaryIO | Image.Image | np.ndarray


class ScanError(ValueError):
    """A scan that can't be used; the message names it, what was found and what was expected."""


def read_scan(source: ScanSource, name: str | None = None) -> np.ndarray:
    """Read a scan and set it upright, as grey levels.

    Images: colour becomes grey as in Pillow's "L" (ITU-R 601), transparency is laid over black, the EXIF orientation
    is applied. 8-bit values are divided by 255, 16-bit ones by 65,535; Pillow reads 16-bit colour as 8-bit. 32-bit
    integers are taken as 16-bit and must fit; floats must lie in [0, 1].

    Arrays: (H, W), or (H, W, 1), (H, W, 3) RGB, (H, W, 4) RGBA. bool is 0 or 1; uint8 is divided by 255; every other
    integer type is taken as 16-bit, must fit in 0 … 65,535 and is divided by 65,535; floats must lie in [0, 1].

    Args:
        source: a path, a PIL image, an array, an image file's bytes, or a file opened for reading bytes.
        name: what errors call it; by default the file's name, else "the image" or "the array".

    Returns:
        (H, W) float32 in [0, 1], C-contiguous, a copy. The shorter side has at least MIN_SIDE pixels, the whole at
        most MAX_PIXELS.

    Raises:
        ScanError: whatever is wrong with the source: not there, not an accepted format, damaged, several pages or
            frames, too small or too large, values out of range.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source, name or "the array")
    return _from_image(source, name_of(source, name, "the image"))


def read_bytes(source: str | Path | bytes | BinaryIO, name: str | None = None) -> bytes:
    """A scan's file, undecoded: for those who need its bytes before `read_scan` decodes them.

    Raises:
        ScanError: it can't be read, or is too large.
    """
    return _read(source, name_of(source, name, "the image"), tuple(FORMATS))


def name_of(source: ScanSource, name: str | None, otherwise: str) -> str:
    """What errors call a source: `name` if there is one, else its file's name, else `otherwise`."""
    if isinstance(source, str | Path):
        return name or Path(source).name or str(source)
    file = getattr(source, "name", "") if hasattr(source, "read") else ""
    return name or Path(str(file)).name or otherwise


@contextmanager
def open_image(source: ScanSource, name: str, formats: Collection[str] = tuple(FORMATS)) -> Iterator[Image.Image]:
    """Open an image and check its format, size and pages, for a block that decodes it by `load`.

    What the pixels mean is up to the block: grey levels in `read_scan`, class ids in `octhub.mask.read_mask`.

    Args:
        source: as for `read_scan`, but no array.
        name: what errors call it.
        formats: the ones that are accepted, of FORMATS.

    Raises:
        ScanError: whatever is wrong with the source, and whatever goes wrong inside the block.
    """
    data = None if isinstance(source, Image.Image) else _read(source, name, formats)
    image = source if data is None else _open(data, name, formats)
    with _decoding(f"{image.format or image.mode} image", name):
        _check_header(image, name, formats)
        if data is not None and image.format == "PNG" and rows_missing(data):
            raise ValueError("its pixels end before its last row")
        yield image


def load(image: Image.Image, name: str) -> Callable[[np.ndarray], np.ndarray]:
    """Decode an image of `open_image`, inside its block; returns what sets (H, W) arrays of its pixels upright."""
    image.load()
    exif = max(len(image.info.get(key, "")) for key in ("exif", "Raw profile type exif"))
    if exif > MAX_EXIF:
        raise ScanError(f"{name}: {exif} bytes of EXIF, expected at most {MAX_EXIF}")
    return TURNS.get(image.getexif().get(Tag.Orientation), np.asarray)


def _read(source: ScanSource, name: str, formats: Collection[str]) -> bytes:
    """A file's bytes. It looks at a path before it opens it: to open a pipe would wait for the pipe's writer."""
    if isinstance(source, bytes | bytearray | memoryview):
        return bytes(source)
    if not isinstance(source, str | Path) and not hasattr(source, "read"):
        raise ScanError(f"{name}: {type(source).__name__}, expected a path, a PIL image or an array")
    try:
        if hasattr(source, "read"):
            return bytes(memoryview(source.read(MAX_BYTES + 1)))
        path = Path(source)
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            found = "a folder"
        elif not stat.S_ISREG(status.st_mode):
            found = "a device or pipe"
        elif status.st_size > MAX_BYTES:
            found = f"a file of {status.st_size / 1e6:.1f} MB"
        else:
            return path.read_bytes()
    except FileNotFoundError:
        found = "no such file"
    except Exception as error:  # OSError; ValueError for a null byte in a path; whatever a caller's stream raises
        found = f"can't be read ({getattr(error, 'strerror', None) or error})"
    raise ScanError(f"{name}: {found}, expected {_accepted(formats)}")


def _accepted(formats: Collection[str]) -> str:
    """What errors say was expected of a file: "a PNG, TIFF or BMP image of at most 100 MB"."""
    *others, last = (format.replace("WEBP", "WebP") for format in formats)
    return f"a {', '.join(others)} or {last} image of at most {MAX_BYTES / 1e6:g} MB"


def _open(data: bytes, name: str, formats: Collection[str]) -> Image.Image:
    """An image file's bytes → Pillow's image, of which only the header is read."""
    kind = next((kind for at, magic, kind in MAGIC if data.startswith(magic, at)), None)
    found = None
    if len(data) > MAX_BYTES:
        found = f"more than {MAX_BYTES / 1e6:g} MB"
    elif not data:
        found = "an empty file (0 bytes)"
    elif kind not in formats:
        found = f"a {kind} file" if kind else "not a known kind of image"
    if found:
        raise ScanError(f"{name}: {found}, expected {_accepted(formats)}")
    if problem := excess(kind, data):
        raise ScanError(f"{name}: {problem}")
    with _decoding(kind, name):
        return OPENERS[kind](_MeteredBytes(data, MAX_RUN_READS if kind == "BMP" else MAX_READS))


class _MeteredBytes(io.BytesIO):
    """A file in memory that can be read about eight times over, in so many reads, no more.

    Each entry of a forged TIFF directory can claim the whole file, and Pillow would keep a copy for each.
    """

    def __init__(self, data: bytes, reads: int):
        super().__init__(data)
        self.left, self.reads_left = 8 * len(data) + 1_000_000, reads

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self.left -= len(data)
        self.reads_left -= 1
        if self.left < 0:
            raise ValueError("its directory claims more than the file holds")
        if self.reads_left < 0:
            raise ValueError("it is in far more pieces than an image needs")
        return data


def why(error: Exception) -> str:
    """What a library says is wrong with a file, in short."""
    text = str(error) or type(error).__name__
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


@contextmanager
def _decoding(kind: str, name: str) -> Iterator[None]:
    """Turn whatever a decoder raises into a ScanError, and keep Pillow's warnings in."""
    # Threads that cross here can leave the filter behind (until Python 3.14), so it is for Pillow alone
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        try:
            yield
        except ScanError:
            raise
        except Exception as error:  # almost anything: SyntaxError, struct.error, MemoryError, ZeroDivisionError …
            raise ScanError(
                f"{name}: a damaged or truncated {kind} ({why(error)}), expected a complete image"
            ) from error


def _from_image(source: ScanSource, name: str) -> np.ndarray:
    with open_image(source, name) as image:
        turn = load(image, name)
        return np.ascontiguousarray(turn(_grey(image, name)))


def _check_header(image: Image.Image, name: str, formats: Collection[str]) -> None:
    """Refuse what is no scan before a pixel is decoded."""
    if getattr(image, "is_animated", False):
        raise ScanError(f"{name}: {image.n_frames} pages or frames, expected a single picture")
    if image.format not in (None, *formats):
        raise ScanError(f"{name}: a {image.format} image, expected {_accepted(formats)}")
    _check_size(*image.size, name)
    if isinstance(image, TiffImageFile):
        if (compression := image.info.get("compression")) not in TIFF_COMPRESSIONS:
            *others, last = TIFF_COMPRESSIONS
            raise ScanError(f"{name}: a TIFF compressed by {compression}, expected {', '.join(others)} or {last}")
        _check_tiles(image, name)


def _check_tiles(image: TiffImageFile, name: str) -> None:
    """A TIFF's tiles can be larger than the image, and are decoded whole. Where there are too few strips or tiles,
    Pillow would leave the rest black, without a word."""
    width, length = (image.tag_v2.get(tag, 0) for tag in (Tag.TileWidth, Tag.TileLength))
    if width * length > MAX_PIXELS:
        raise ScanError(f"{name}: tiles of {width} × {length} pixels, expected at most {MAX_PIXELS / 1e6:g} megapixels")
    areas = [(right - left) * (bottom - top) for _, (left, top, right, bottom), *_ in image.tile]
    apart = image.tag_v2.get(Tag.PlanarConfiguration) == 2 and image.tile and image.tile[0][0] != "libtiff"
    layers = len(image.getbands()) if apart else 1  # libtiff counts for itself
    if areas and sum(areas) < layers * image.width * image.height:
        raise ValueError("its strips or tiles don't fill it")


def _check_size(width: int, height: int, name: str) -> None:
    if min(width, height) < MIN_SIDE:
        raise ScanError(f"{name}: {width} × {height} pixels, expected at least {MIN_SIDE} on the shorter side")
    if width * height > MAX_PIXELS:
        found = f"{width} × {height} pixels ({width * height / 1e6:.1f} megapixels)"
        raise ScanError(f"{name}: {found}, expected at most {MAX_PIXELS / 1e6:g} megapixels")


def _grey(image: Image.Image, name: str) -> np.ndarray:
    """A loaded image of any mode → (H, W) float32 in [0, 1], not turned yet."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _deep_grey(image, name)
    if image.mode in ("La", "RGBa"):  # premultiplied, from which Pillow makes no grey
        image = image.convert(image.mode.upper())
    elif image.has_transparency_data and image.mode not in ("LA", "RGBA"):
        image = image.convert("RGBA")
    elif image.mode not in ("1", "L", "LA", "RGB", "RGBA", "YCbCr"):
        image = image.convert("RGB")
    grey = _unit(np.asarray(image.convert("L")), name)
    return grey * _unit(np.asarray(image.getchannel("A")), name) if "A" in image.getbands() else grey


def _deep_grey(image: Image.Image, name: str) -> np.ndarray:
    """The grey images of more than 8 bits: modes I;16…, I and F."""
    values = np.asarray(image)
    grey = _unit(values, name)
    if isinstance(image, TiffImageFile) and image.mode.startswith("I;16"):
        if image.tag_v2.get(Tag.BitsPerSample) == (12,):
            grey = grey * np.float32(65535 / 4095)
        if image.tag_v2.get(Tag.PhotometricInterpretation) == 0:  # white is zero; Pillow forgets it
            grey = 1 - grey
    transparent = image.info.get("transparency")
    return grey if transparent is None else np.where(values == transparent, np.float32(0), grey)


def _from_array(array: np.ndarray, name: str) -> np.ndarray:
    array = np.asarray(array)  # a matrix or masked array would stay one
    expected = "expected (H, W), (H, W, 1), (H, W, 3) or (H, W, 4)"
    if array.ndim not in (2, 3):
        raise ScanError(f"{name}: the wrong number of dimensions, {array.ndim} in shape {array.shape}, {expected}")
    if array.ndim == 3 and array.shape[2] not in (1, 3, 4):
        raise ScanError(f"{name}: {array.shape[2]} channels in shape {array.shape}, {expected}")
    _check_size(array.shape[1], array.shape[0], name)
    if array.ndim == 2 or array.shape[2] == 1:
        return _unit(array.reshape(array.shape[:2]), name)
    if array.dtype == np.uint8:
        return _from_image(Image.fromarray(array), name)  # the same grey as from a file
    red, green, blue, *alpha = np.moveaxis(_unit(array, name), 2, 0)
    grey = green + 0.299 * (red - green) + 0.114 * (blue - green)  # written so that equal channels stay exact
    return np.ascontiguousarray(np.clip(grey * alpha[0] if alpha else grey, 0, 1))


def _unit(values: np.ndarray, name: str) -> np.ndarray:
    """Values of any real type → a C-contiguous float32 copy in [0, 1], by the rules of `read_scan`."""
    kind = values.dtype.kind
    if kind not in "buif":
        raise ScanError(f"{name}: values of type {values.dtype}, expected uint8, uint16 or floats in [0, 1]")
    full = {"b": 1, "f": 1}.get(kind, 255 if values.dtype == np.uint8 else 65535)
    with np.errstate(all="ignore"):  # NaN warns on some processors
        low, high = values.min(), values.max()
    if kind == "f" and not np.isfinite([low, high]).all():
        raise ScanError(f"{name}: NaN or infinite values, expected numbers in [0, 1]")
    if low < 0 or high > full:
        raise ScanError(f"{name}: {values.dtype} values from {low} to {high}, expected [0, {full}]")
    unit = values.astype(np.float32, order="C")
    unit /= full
    return unit
