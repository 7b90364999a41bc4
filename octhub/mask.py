"""Read and check a mask: an expert's class ids for the pixels of one scan."""

import re
from collections.abc import Sequence

import numpy as np
from PIL import Image

from octhub.scan import ScanError, ScanSource, load, name_of, open_image

UNKNOWN = 255
"""The id of pixels that nobody annotated, or where a scan shows nothing: they count nowhere."""

MASK_FORMATS = ("PNG", "TIFF", "BMP")
"""Pillow's names of the formats that keep ids as they are. WebP can, too, but doesn't tell when it has not."""

LOSSY = frozenset({"jpeg", "webp"})
"""Pillow's names of the compressions inside a TIFF that can change an id."""

RESCALED = re.compile(r";(2|4|15|16)")
"""Raw modes that Pillow stretches or cuts to 8 bits a channel while it decodes: grey of 2 or 4 bits and colour of 5 or
16. What an id was can't be told any more. (Palettes and 16-bit grey keep theirs.)"""

MANY = 5
"""Ids that an error names before it only counts them."""


class MaskError(ScanError):
    """A mask that can't be used; the message names it, what was found and what was expected."""


class UnannotatedError(MaskError):
    """A mask that is UNKNOWN everywhere."""


def read_mask(
    source: ScanSource,
    shape: tuple[int, int] | None = None,
    class_names: Sequence[str] | None = None,
    name: str | None = None,
) -> np.ndarray:
    """Read a mask of class ids, one for each pixel of a scan.

    Images: greyscale of 1, 8 or 16 bits, or a palette (its indices, not its colours), as a PNG, TIFF or BMP file.
    Colour is read as grey where red, green and blue are equal everywhere and nothing is transparent. The EXIF
    orientation is applied, as to a scan.

    Arrays: (H, W) of bool or integers.

    Args:
        source: a path, a PIL image, an array, an image file's bytes, or a file opened for reading bytes.
        shape: the scan's (H, W), which the mask must have.
        class_names: one name per id; None lets every id from 0 to 254 pass.
        name: what errors call it; by default the file's name, else "the mask".

    Returns:
        (H, W) uint8 class ids, C-contiguous, a copy; UNKNOWN (255) where nothing is annotated. At least one pixel is.

    Raises:
        MaskError: whatever is wrong with the source: not there, not an accepted or a lossy format, a coloured picture,
            another size than the scan, ids without a class, or nothing annotated (UnannotatedError); and all that
            `read_scan` refuses.
    """
    name = name_of(source, name, "the mask")
    try:
        values = source if isinstance(source, np.ndarray) else _read(source, name)
    except MaskError:
        raise
    except ScanError as error:
        raise MaskError(str(error)) from error
    ids = checked_ids(values, class_names or UNKNOWN, name)
    if shape is not None and ids.shape != tuple(shape):
        (h, w), (height, width) = ids.shape, shape
        raise MaskError(f"{name}: {w} × {h} pixels, expected {width} × {height} like the scan")
    if (ids == UNKNOWN).all():
        expected = _classes(class_names or UNKNOWN)
        raise UnannotatedError(f"{name}: {UNKNOWN} (not annotated) everywhere, expected {expected}")
    return ids


def checked_ids(values: np.ndarray, classes: Sequence[str] | int, name: str) -> np.ndarray:
    """An (H, W) array of class ids → (H, W) uint8, a C-contiguous copy.

    Args:
        values: (H, W) bool or integers, each the id of a class or UNKNOWN.
        classes: the classes' names, or how many there are.
        name: what errors call it.

    Raises:
        MaskError: another number of dimensions, no pixels, another type, or ids without a class.
    """
    values = np.asarray(values)  # a matrix or masked array would stay one
    if values.ndim != 2 or not values.size:
        raise MaskError(f"{name}: an array of shape {values.shape}, expected (H, W) class ids")
    if values.dtype.kind not in "bui":
        raise MaskError(f"{name}: values of type {values.dtype}, expected whole numbers, the class ids")
    count = classes if isinstance(classes, int) else len(classes)
    strangers = (values < 0) | ((values >= count) & (values != UNKNOWN))
    if strangers.any():
        ids = np.unique(values[strangers]).tolist()
        more = f" and {len(ids) - MANY} more" if len(ids) > MANY else ""
        found = f"id{'s' * (len(ids) > 1)} {', '.join(map(str, ids[:MANY]))}{more} without a class"
        raise MaskError(f"{name}: {found}, expected {_classes(classes)} or {UNKNOWN} for not annotated")
    return values.astype(np.uint8, order="C")


def _classes(classes: Sequence[str] | int) -> str:
    """What errors say which ids there are: "0 to 9 (NFL … fluid)"."""
    if isinstance(classes, int):
        return f"0 to {classes - 1}"
    return f"0 to {len(classes) - 1} ({classes[0]} … {classes[-1]})" if len(classes) > 1 else f"0 ({classes[0]})"


def _read(source: ScanSource, name: str) -> np.ndarray:
    """An image of any kind → (H, W) bool or integers, upright."""
    with open_image(source, name, MASK_FORMATS) as image:
        _check_lossless(image, name)
        turn = load(image, name)
        return turn(_ids(image, name))


def _check_lossless(image: Image.Image, name: str) -> None:
    """Refuse what has not kept its ids, or would not while it is decoded; so this comes before that."""
    if image.info.get("compression") in LOSSY:
        raise MaskError(f"{name}: a TIFF with lossy compression, expected a lossless one, or the ids aren't kept")
    for tile in getattr(image, "tile", ())[:1]:
        raw = tile.args if isinstance(tile.args, str) else str(tile.args[0])
        if RESCALED.search(raw) and not image.mode.startswith(("I", "P")):
            raise MaskError(f"{name}: pixels stored as {raw}, expected ids as grey of 1, 8 or 16 bits or as a palette")


def _ids(image: Image.Image, name: str) -> np.ndarray:
    """A loaded image of any mode → (H, W) bool or integers, not turned yet."""
    values = np.asarray(image)
    if image.mode in ("1", "L", "P", "I") or image.mode.startswith("I;16"):
        return values
    if image.mode == "PA":
        return values[..., 0]
    if image.mode not in ("LA", "RGB", "RGBA"):
        raise MaskError(f"{name}: a picture of mode {image.mode}, expected class ids as grey levels or palette indices")
    colours = values[..., :3] if image.mode != "LA" else values[..., :1]
    if (colours != colours[..., :1]).any():
        raise MaskError(f"{name}: a coloured picture, expected class ids as grey levels or palette indices")
    if image.mode != "RGB" and (values[..., -1] != 255).any():
        raise MaskError(f"{name}: a partly transparent picture, expected class ids as grey levels or palette indices")
    return values[..., 0]
