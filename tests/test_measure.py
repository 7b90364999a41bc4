"""What a mask measures, on masks small enough to count."""

import json
from dataclasses import asdict
from math import inf, nan

import numpy as np
import pytest

from octhub.mask import UNKNOWN
from octhub.measure import Scale, measure, thickness_profile

NAMES = ("above", "layer", "fluid", "absent")
U = UNKNOWN
MASK = np.array(
    [
        [U, 0, 0, 0, 2, U],
        [U, 1, 1, 2, 0, U],
        [U, 1, 0, 1, 0, U],
        [U, 0, 2, 0, 1, U],
        [U, 2, 0, 0, 1, U],
    ],
    np.uint8,
)
# layer, by column: 2, 1, 1, 2; fluid: 1 each, two pools that touch at corners only


@pytest.mark.parametrize("kind", [np.uint8, np.int64])
def test_pixels_by_hand(kind):
    above, layer, fluid, absent = measure(kind(MASK), NAMES)
    assert (layer.name, layer.pixels, layer.share) == ("layer", 6, 6 / 20)
    assert (layer.columns, layer.thickness_px_mean, layer.thickness_px_max) == (4, 6 / 4, 2)
    assert layer.regions == 1  # corners connect
    assert (fluid.pixels, fluid.columns, fluid.thickness_px_mean, fluid.regions) == (4, 4, 1, 2)
    assert (above.pixels, above.share, above.thickness_px_max) == (10, 1 / 2, 3)
    assert absent.name == "absent"
    assert (absent.pixels, absent.share, absent.regions, absent.columns) == (0, 0, 0, 0)
    assert (absent.thickness_px_mean, absent.thickness_px_max) == (None, None)


def test_without_a_scale_nothing_is_guessed():
    for found in measure(MASK, NAMES):
        assert (found.area_mm2, found.thickness_um_mean, found.thickness_um_max) == (None, None, None)


def test_scale():
    _, layer, _, absent = measure(MASK, NAMES, Scale(axial=4, lateral=10))
    assert layer.area_mm2 == pytest.approx(6 * 4 * 10 * 1e-6)
    assert (layer.thickness_um_mean, layer.thickness_um_max) == (6, 8)
    assert (absent.area_mm2, absent.thickness_um_mean, absent.thickness_um_max) == (0, None, None)


def test_shares_sum_to_1_and_unknown_has_none():
    assert sum(found.share for found in measure(MASK, NAMES)) == pytest.approx(1)
    dark = measure(np.full((3, 4), U), NAMES)
    assert [(found.pixels, found.share, found.regions) for found in dark] == [(0, None, 0)] * 4


def test_a_column_sums_the_pieces_in_it():
    pools = np.zeros((9, 5), np.uint8)
    pools[1:3, 1:4] = pools[5:8, 2] = 1
    (_, fluid) = measure(pools, ("rest", "fluid"))
    assert (fluid.regions, fluid.columns, fluid.thickness_px_max, fluid.thickness_px_mean) == (2, 3, 5, 3)


def test_thickness_profile():
    profile = thickness_profile(MASK, 1)
    assert profile.tolist() == [0, 2, 1, 1, 2, 0]
    assert np.issubdtype(profile.dtype, np.integer)
    assert thickness_profile(MASK, 3).tolist() == [0] * 6


def test_ready_for_json():
    rows = [asdict(found) for found in measure(MASK, NAMES, Scale(3.87, 11.5))]
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (MASK[0], r"the mask: an array of shape \(6,\), expected \(H, W\)"),
        (np.where(MASK == 1, 7, MASK), r"the mask: id 7 without a class, expected 0 to 3 \(above … absent\) or 255"),
        (MASK / 2, "values of type float64"),
    ],
)
def test_bad_masks_are_refused(mask, message):
    with pytest.raises(ValueError, match=message):
        measure(mask, NAMES)


@pytest.mark.parametrize("sides", [(0, 1), (1, 0), (-3.87, 11.5), (nan, 1), (1, inf), (1e-4, 1), (1, 1e5)])
def test_a_pixel_has_a_size(sides):
    with pytest.raises(ValueError, match=r"a pixel of .* × .* µm, expected numbers from 0.001 to 10000"):
        Scale(*sides)
