"""Pictures of masks: the classes in colour over a scan, where a model and an expert differ, and index PNGs."""

import io
import re
from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image

from octhub.mask import UNKNOWN, checked_ids
from octhub.render import blend

OPACITY = 0.8
"""How opaque `mask_layer` is laid over a scan by default: speckle shows through the fills, and edges stay crisp."""

LAYERS = ("#CC3311", "#F0E442", "#EE3377", "#AAAA00", "#117733", "#AA4499", "#EE8866")
"""Colours of tissue, for colour-blind eyes: from Paul Tol's schemes "vibrant", "light" and "muted" (Tol 2021, "Colour
Schemes", SRON/EPS/TN/09-002, issue 3.2) and, the yellow, from Okabe and Ito (2008, "Color Universal Design"). None is
blue. In this order neighbours are at least 19 apart by CIEDE2000, as is each from the first of FLUIDS, and any two at
least 7, for normal eyes and for those without the red, green or blue cones (as simulated by Machado et al. 2009)."""

FLUIDS = ("#33BBEE", "#4477AA", "#99DDFF", "#0072B2")
"""Blues for fluid: Tol's "vibrant" cyan, "bright" blue and "light" cyan, and Okabe and Ito's blue."""

GREYS = ("#5A5F68", "#8A8F98", "#3C4048", "#A9ADB5")
"""What isn't tissue, in legends and in index PNGs; over a scan it is clear."""

IS_FLUID = re.compile(r"fluid|cyst|edema|\b(IRF|SRF|PED)\b", re.IGNORECASE)
"""Names of classes that are fluid: "fluid", "intraretinal cyst", RETOUCH's abbreviations (Bogunović et al. 2019)."""

IS_BACKGROUND = re.compile(r"background$|(above|below|outside)\b", re.IGNORECASE)
"""Names of classes that are no tissue, such as "above retina", if they aren't fluid. The class with id 0 always is."""

FILL, FLUID_FILL, OUTLINE = 105, 150, 255
"""Alpha of the inside of tissue, of the inside of fluid, which is black without it, and of every outline."""

LINE = 600
"""An outline is a pixel thick for every so many pixels of the scan's shorter side, and at least one."""

MISSED_FLUID, EXTRA_FLUID, OTHER_CLASS, NOT_ANNOTATED = (238, 51, 119), (51, 187, 238), (240, 228, 66), (0, 0, 0)
"""RGB of `disagreement_layer`: the expert alone sees fluid; the model alone does; they name other classes (or the model
none); the expert names none. Tol's "vibrant" magenta and cyan, Okabe and Ito's yellow; black dims the scan."""

DIFFERENCE, DIM = 200, 140
"""Alpha of a disagreement, and of what isn't annotated."""


def is_fluid(class_names: Sequence[str]) -> np.ndarray:
    """(C,) bool: which classes are fluid."""
    return np.array([id > 0 and bool(IS_FLUID.search(name)) for id, name in enumerate(class_names)], bool)


def is_background(class_names: Sequence[str]) -> np.ndarray:
    """(C,) bool: which classes are neither tissue nor fluid."""
    named = [id == 0 or bool(IS_BACKGROUND.match(name)) for id, name in enumerate(class_names)]
    return np.array(named, bool) & ~is_fluid(class_names)


def class_colours(class_names: Sequence[str]) -> np.ndarray:
    """(C, 3) uint8 RGB, no colour twice: blues for fluid, greys for what isn't tissue, LAYERS for the rest.

    They depend on the names and their order alone. C is at most 254.
    """
    background, fluid = is_background(class_names), is_fluid(class_names)
    colours = np.zeros((len(class_names), 3), np.uint8)
    for which, palette in ((background, GREYS), (fluid, FLUIDS), (~background & ~fluid, LAYERS)):
        colours[which] = _colours(palette, int(which.sum()))
    return colours


def mask_layer(mask: np.ndarray, class_names: Sequence[str], only: str | None = None) -> np.ndarray:
    """Every class in its colour, a fill that lets the scan through within a crisp outline.

    Args:
        mask: (H, W) int class ids; UNKNOWN (255) where nothing is known.
        class_names: one name per id.
        only: a class to show alone; one that isn't tissue is shown then, too.

    Returns:
        (H, W, 4) uint8 RGBA; clear where nothing is known, and where there is no tissue.

    Raises:
        ValueError: the mask isn't (H, W) integers or holds ids without a class, or `only` is none of the names.
    """
    if only is not None and only not in class_names:
        raise ValueError(f"class {only!r}, expected one of {', '.join(class_names)}")
    ids = checked_ids(mask, class_names, "the mask")
    shown = ~is_background(class_names) if only is None else np.array([name == only for name in class_names])
    table = np.zeros((256, 4), np.uint8)
    table[: len(class_names), :3] = class_colours(class_names)
    table[: len(class_names), 3] = np.where(is_fluid(class_names), FLUID_FILL, FILL) * shown
    table[table[:, 3] == 0] = 0  # the colours of what is clear could still show where a layer is resized
    layer = table[ids]
    layer[outlines(ids) & (layer[..., 3] > 0), 3] = OUTLINE
    return layer


def outlines(ids: np.ndarray) -> np.ndarray:
    """(H, W) uint8 class ids → (H, W) bool: each class's pixels beside another class.

    What lies beside UNKNOWN or the picture's border is no outline: the class may go on there.
    """
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    thick = max(1, round(min(ids.shape) / LINE))
    known = ids != UNKNOWN
    highest = cv2.dilate(np.where(known, ids, np.uint8(0)), cross, iterations=thick)
    lowest = cv2.erode(ids, cross, iterations=thick)  # UNKNOWN is above all ids
    return known & ((highest != ids) | (lowest != ids))


def mask_overlay(
    scan: np.ndarray, mask: np.ndarray, class_names: Sequence[str], opacity: float = OPACITY, only: str | None = None
) -> np.ndarray:
    """Lay a mask over its scan, as a browser lays `mask_layer` over `grey`.

    Args:
        scan: (H, W) float in [0, 1].
        mask, class_names, only: as for `mask_layer`.
        opacity: of the layer, in [0, 1]; at 0 the scan comes back in grey, bit for bit.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ValueError: as `mask_layer`, or the shapes differ, or the opacity is out of range.
    """
    layer = mask_layer(mask, class_names, only)
    if scan.shape != layer.shape[:2]:
        raise ValueError(f"scan of shape {scan.shape} and mask of shape {layer.shape[:2]}, expected the same (H, W)")
    return blend(scan, layer, opacity)


def disagreement_layer(mask: np.ndarray, truth: np.ndarray, class_names: Sequence[str]) -> np.ndarray:
    """Where a model's mask differs from an expert's; `disagreement_key` explains the colours.

    Args:
        mask: (H, W) int class ids, the model's; UNKNOWN (255) where it has no answer.
        truth: (H, W) int class ids, the expert's; UNKNOWN where nothing is annotated.
        class_names: one name per id; they tell fluid from the rest.

    Returns:
        (H, W, 4) uint8 RGBA: clear where they agree, a dark veil where the expert says nothing, and else the colour
        of the kind of disagreement.

    Raises:
        ValueError: one isn't (H, W) integers or holds ids without a class, or the shapes differ.
    """
    ids, expert = checked_ids(mask, class_names, "the mask"), checked_ids(truth, class_names, "the truth")
    if ids.shape != expert.shape:
        raise ValueError(f"masks of shape {ids.shape} and {expert.shape}, expected the same (H, W)")
    fluid = np.zeros(256, bool)
    fluid[: len(class_names)] = is_fluid(class_names)
    ours, theirs = fluid[ids], fluid[expert]
    layer = np.zeros((*ids.shape, 4), np.uint8)
    layer[ids != expert] = (*OTHER_CLASS, DIFFERENCE)
    layer[theirs & ~ours] = (*MISSED_FLUID, DIFFERENCE)
    layer[ours & ~theirs] = (*EXTRA_FLUID, DIFFERENCE)
    layer[expert == UNKNOWN] = (*NOT_ANNOTATED, DIM)
    return layer


def disagreement_key(class_names: Sequence[str]) -> list[tuple[str, tuple[int, int, int]]]:
    """What the colours of `disagreement_layer` mean, as (text, RGB); nothing of fluid if no class is any."""
    fluid = [("Fluid missed", MISSED_FLUID), ("Fluid not in the expert's mask", EXTRA_FLUID)]
    others = [("Another class", OTHER_CLASS), ("Not annotated", NOT_ANNOTATED)]
    return [*(fluid if is_fluid(class_names).any() else []), *others]


def label_png(mask: np.ndarray, class_names: Sequence[str]) -> bytes:
    """A mask as an index PNG: `read_mask` gets the ids back, and any viewer shows the classes' colours.

    Args:
        mask: (H, W) int class ids; UNKNOWN (255) is kept and looks black.
        class_names: one name per id.

    Raises:
        ValueError: the mask isn't (H, W) integers or holds ids without a class.
    """
    palette = np.zeros((256, 3), np.uint8)  # all 256, or Pillow would store fewer bits, which can't hold UNKNOWN
    palette[: len(class_names)] = class_colours(class_names)
    image = Image.fromarray(checked_ids(mask, class_names, "the mask"))
    image.putpalette(palette.tobytes())
    with io.BytesIO() as buffer:
        image.save(buffer, "PNG", optimize=True)
        return buffer.getvalue()


def _colours(palette: Sequence[str], count: int) -> np.ndarray:
    """(count, 3) uint8 RGB: the palette, then lighter and darker shades of it."""
    base = np.array([[int(colour[i : i + 2], 16) for i in (1, 3, 5)] for colour in palette], float)
    rounds = [base]
    for number in range(1, -(-count // len(base))):
        amount = 0.85 * _spread((number + 1) // 2)  # of the way to white or black, which 1 would reach
        rounds.append(base + amount * ((255 if number % 2 else 0) - base))
    return np.rint(np.concatenate(rounds)[:count]).astype(np.uint8)


def _spread(number: int) -> float:
    """1, 2, 3 … → 1/2, 1/4, 3/4, 1/8 … (van der Corput's sequence): each falls into the widest gap so far."""
    digits = f"{number:b}"
    return int(digits[::-1], 2) / 2 ** len(digits)
