"""Masks in colour: palettes, layers, disagreements and index PNGs."""

import io

import numpy as np
import pytest
from PIL import Image

from octhub.mask import UNKNOWN, read_mask
from octhub.mask_render import (
    DIM,
    EXTRA_FLUID,
    FILL,
    FLUID_FILL,
    LAYERS,
    LINE,
    MISSED_FLUID,
    NOT_ANNOTATED,
    OTHER_CLASS,
    OUTLINE,
    class_colours,
    disagreement_key,
    disagreement_layer,
    is_background,
    is_fluid,
    label_png,
    mask_layer,
    mask_overlay,
    outlines,
)
from octhub.render import grey

NAMES = ("above retina", "NFL", "GCL-IPL", "INL", "OPL", "ONL-ISM", "ISE", "OS-RPE", "below retina", "fluid")
NFL, GCL, BELOW, FLUID = 1, 2, 8, 9


@pytest.fixture
def mask() -> np.ndarray:
    """(60, 80): nothing known at the left, then background, two layers with fluid in the second, background."""
    ids = np.repeat(np.array([0] * 10 + [NFL] * 15 + [GCL] * 20 + [BELOW] * 15, np.uint8)[:, None], 80, axis=1)
    ids[30:38, 30:50] = FLUID
    ids[:, :12] = UNKNOWN
    return ids


@pytest.fixture
def scan() -> np.ndarray:
    return np.random.default_rng(0).random((60, 80), np.float32)


MACHADO = {
    "normal": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
"""Linear RGB as the colour-blind see it (Machado, Oliveira and Fernandes 2009, severity 1)."""

XYZ = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
"""Linear sRGB → XYZ (IEC 61966-2-1)."""


def lab(colours: np.ndarray, sight: str) -> np.ndarray:
    """(..., 3) uint8 RGB → CIELAB under D65, as seen by eyes of MACHADO."""
    c = np.asarray(colours) / 255
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    xyz = np.clip(linear @ np.transpose(MACHADO[sight]), 0, 1) @ np.transpose(XYZ) / [0.95047, 1, 1.08883]
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], -1)


def ciede2000(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """The difference of (..., 3) CIELAB colours (Sharma, Wu and Dalal 2005)."""
    (l1, a1, b1), (l2, a2, b2) = np.moveaxis(one, -1, 0), np.moveaxis(two, -1, 0)
    c7 = ((np.hypot(a1, b1) + np.hypot(a2, b2)) / 2) ** 7
    stretch = 1.5 - 0.5 * np.sqrt(c7 / (c7 + 25**7))
    c1, c2 = np.hypot(a1 * stretch, b1), np.hypot(a2 * stretch, b2)
    h1, h2 = np.degrees(np.arctan2(b1, a1 * stretch)) % 360, np.degrees(np.arctan2(b2, a2 * stretch)) % 360
    turn = (h2 - h1 + 180) % 360 - 180
    h, c, light = np.radians(h1 + turn / 2), (c1 + c2) / 2, ((l1 + l2) / 2 - 50) ** 2
    t = 1 - 0.17 * np.cos(h - np.pi / 6) + 0.24 * np.cos(2 * h)
    t += 0.32 * np.cos(3 * h + np.pi / 30) - 0.2 * np.cos(4 * h - np.radians(63))
    dl = (l2 - l1) / (1 + 0.015 * light / np.sqrt(20 + light))
    dc = (c2 - c1) / (1 + 0.045 * c)
    dh = 2 * np.sqrt(c1 * c2) * np.sin(np.radians(turn) / 2) / (1 + 0.015 * c * t)
    blue = np.radians(60 * np.exp(-(((np.degrees(h) % 360 - 275) / 25) ** 2)))
    return np.sqrt(dl**2 + dc**2 + dh**2 - 2 * np.sqrt(c**7 / (c**7 + 25**7)) * np.sin(blue) * dc * dh)


def differences(colours: np.ndarray) -> np.ndarray:
    """(C, 3) uint8 RGB → (C, C), the least that any two differ, over all kinds of sight."""
    seen = [lab(colours, sight) for sight in MACHADO]
    return np.min([ciede2000(*np.broadcast_arrays(s[:, None], s[None])) for s in seen], axis=0)


def test_differences_are_those_of_the_published_pairs():
    one = np.array([[50, 2.6772, -79.7751], [50, 2.49, -0.001], [60.2574, -34.0099, 36.2677]])
    two = np.array([[50, 0, -82.7485], [50, -2.49, 0.0009], [60.4626, -34.1751, 39.4387]])
    assert ciede2000(one, two) == pytest.approx([2.0425, 7.1792, 1.2644], abs=1e-4)


def test_layers_and_fluid_are_told_apart_by_all_eyes():
    colours = class_colours(NAMES)
    assert colours.shape == (10, 3)
    assert colours.dtype == np.uint8
    apart = differences(colours[[*range(1, 8), FLUID]])
    assert np.diagonal(apart, 1)[:6].min() > 19  # neighbours
    assert apart[-1, :-1].min() > 19  # fluid
    assert apart[~np.eye(8, dtype=bool)].min() > 7


def test_kinds_of_disagreement_are_told_apart_by_all_eyes():
    apart = differences(np.array([MISSED_FLUID, EXTRA_FLUID, OTHER_CLASS], np.uint8))
    assert apart[~np.eye(3, dtype=bool)].min() > 25


def test_fluid_is_blue_and_background_is_grey():
    colours = class_colours(NAMES).astype(int)
    red, green, blue = colours[FLUID]
    assert blue > green > red + 50
    assert np.ptp(colours[[0, BELOW]], axis=1).max() < 20
    assert (colours[1:8].max(1) > colours[1:8, 2]).all()  # no layer is blue


@pytest.mark.parametrize("count", [1, 2, 8, 9, 60, 254])
@pytest.mark.parametrize("name", ["layer {}", "fluid {}"])
def test_no_colour_twice(count, name):
    names = ["background", *(name.format(i) for i in range(1, count))]
    colours = class_colours(names)
    assert len(np.unique(colours, axis=0)) == count
    assert np.array_equal(colours, class_colours(names))


def test_names_tell_fluid_and_background():
    names = ["vitreous", "Below retina", "background", "SRF", "intraretinal cyst", "fluid below RPE", "below-RPE fluid"]
    assert is_background(names).tolist() == [True, True, True, False, False, False, False]
    assert is_fluid(names).tolist() == [False, False, False, True, True, True, True]
    assert not is_fluid(["fluid"]).any()  # id 0


def test_layer_fills_outlines_and_leaves_the_rest_clear(mask):
    layer = mask_layer(mask, NAMES)
    assert layer.shape == (60, 80, 4)
    assert layer.dtype == np.uint8
    colours = class_colours(NAMES)
    assert not layer[np.isin(mask, [0, BELOW, UNKNOWN])].any()
    for id, row, column, alpha in [
        (NFL, 17, 40, FILL),
        (NFL, 10, 40, OUTLINE),
        (NFL, 24, 40, OUTLINE),
        (GCL, 25, 40, OUTLINE),
        (GCL, 27, 40, FILL),
        (GCL, 44, 40, OUTLINE),
        (FLUID, 33, 40, FLUID_FILL),
        (FLUID, 30, 30, OUTLINE),
        (NFL, 17, 79, FILL),  # the picture's border
        (NFL, 17, 12, FILL),  # the last annotated column
    ]:
        assert layer[row, column].tolist() == [*colours[id], alpha], (id, row, column)


def test_outlines_are_thicker_in_large_scans():
    ids = np.zeros((4 * LINE, 4 * LINE), np.uint8)
    ids[1000:] = 1
    assert outlines(ids)[:, 0].nonzero()[0].tolist() == list(range(996, 1004))


def test_one_class_alone(mask):
    layer = mask_layer(mask, NAMES, only="fluid")
    assert np.array_equal(layer[..., 3] > 0, mask == FLUID)
    background = mask_layer(mask, NAMES, only="above retina")
    assert np.array_equal(background[..., 3] > 0, mask == 0)
    with pytest.raises(ValueError, match="'drusen', expected one of above retina, NFL"):
        mask_layer(mask, NAMES, only="drusen")


@pytest.mark.parametrize("bad", [np.full((4, 4), 10), np.zeros((4, 4, 3), int), np.zeros((4, 4))])
def test_bad_masks_are_refused(bad):
    for draw in (mask_layer, label_png, lambda m, n: disagreement_layer(m, m, n)):
        with pytest.raises(ValueError, match="the mask: "):
            draw(bad, NAMES)


def test_overlay_is_what_an_image_library_makes_of_the_layer(scan, mask):
    under = Image.fromarray(grey(scan)).convert("RGBA")
    blended = Image.alpha_composite(under, Image.fromarray(mask_layer(mask, NAMES))).convert("RGB")
    picture = mask_overlay(scan, mask, NAMES, 1.0)
    assert np.abs(np.asarray(blended, int) - picture).max() <= 1
    assert picture.dtype == np.uint8


def test_overlay_shows_the_scan_where_there_is_no_tissue(scan, mask):
    base = np.repeat(grey(scan)[..., None], 3, axis=2)
    assert np.array_equal(mask_overlay(scan, mask, NAMES, 0), base)
    picture, clear = mask_overlay(scan, mask, NAMES), np.isin(mask, [0, BELOW, UNKNOWN])
    assert np.array_equal(picture[clear], base[clear])
    assert (picture != base).any(2)[~clear].mean() > 0.9
    alone = mask_overlay(scan, mask, NAMES, only="fluid")
    assert np.array_equal((alone != base).any(2) & (mask != FLUID), np.zeros_like(clear))


def test_overlay_refuses_what_does_not_fit(scan, mask):
    with pytest.raises(ValueError, match="expected the same"):
        mask_overlay(scan[1:], mask, NAMES)
    with pytest.raises(ValueError, match="expected 0 to 1"):
        mask_overlay(scan, mask, NAMES, 2)


def test_every_kind_of_disagreement_has_its_colour():
    truth = np.array([[NFL, FLUID, GCL, GCL, UNKNOWN, FLUID, NFL, 0]], np.uint8)
    mask = np.array([[NFL, GCL, FLUID, NFL, FLUID, UNKNOWN, UNKNOWN, 0]], np.uint8)
    layer = disagreement_layer(mask, truth, NAMES)[0]
    expected = [None, MISSED_FLUID, EXTRA_FLUID, OTHER_CLASS, NOT_ANNOTATED, MISSED_FLUID, OTHER_CLASS, None]
    for pixel, colour in zip(layer.tolist(), expected, strict=True):
        assert pixel[:3] == list(colour or (0, 0, 0))
        assert (pixel[3] == 0) == (colour is None)
    assert layer[4, 3] == DIM
    with pytest.raises(ValueError, match="expected the same"):
        disagreement_layer(mask, truth[:, 1:], NAMES)


def test_another_kind_of_fluid_is_neither_missed_nor_extra():
    names = ("background", "IRF", "SRF")
    layer = disagreement_layer(np.array([[1]]), np.array([[2]]), names)
    assert layer[0, 0, :3].tolist() == list(OTHER_CLASS)


def test_key_speaks_of_fluid_where_there_can_be_any():
    assert [colour for _, colour in disagreement_key(NAMES)] == [MISSED_FLUID, EXTRA_FLUID, OTHER_CLASS, NOT_ANNOTATED]
    assert [colour for _, colour in disagreement_key(NAMES[:-1])] == [OTHER_CLASS, NOT_ANNOTATED]


def test_index_png_keeps_the_ids_and_shows_the_colours(mask):
    data = label_png(mask, NAMES)
    assert np.array_equal(read_mask(data, mask.shape, NAMES), mask)
    image = Image.open(io.BytesIO(data))
    assert image.mode == "P"
    shown = np.asarray(image.convert("RGB"))
    assert np.array_equal(shown[mask != UNKNOWN], class_colours(NAMES)[mask[mask != UNKNOWN]])
    assert not shown[mask == UNKNOWN].any()


@pytest.mark.parametrize("count", [2, 16, 17, 254])
def test_index_png_round_trips_for_any_number_of_classes(count):
    names = [f"layer {i}" for i in range(count)]
    mask = np.append(np.arange(count, dtype=np.uint8), np.uint8(UNKNOWN))[None].repeat(40, 0).repeat(20, 1)
    assert np.array_equal(read_mask(label_png(mask, names), mask.shape, names), mask)


def test_inputs_are_left_alone(scan, mask):
    before = scan.copy(), mask.copy()
    mask_overlay(scan, mask, NAMES)
    disagreement_layer(mask, mask, NAMES)
    label_png(mask, NAMES)
    assert np.array_equal(scan, before[0])
    assert np.array_equal(mask, before[1])


def test_seven_layers_have_the_documented_colours():
    assert ["#{:02X}{:02X}{:02X}".format(*c) for c in class_colours(NAMES)[1:8]] == list(LAYERS)
