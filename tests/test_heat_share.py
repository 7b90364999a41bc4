"""How much of a heatmap lies within the retina."""

import numpy as np
import pytest

from octhub.heat_share import heat_inside, share_html
from octhub.mask import UNKNOWN

NAMES = ("above retina", "NFL", "fluid", "below retina")
MASK = np.array([[0, 0, 0, UNKNOWN], [1, 2, 2, UNKNOWN], [3, 3, 3, UNKNOWN]], np.uint8)


def test_by_hand():
    heat = np.array([[1, 0, 0, 9], [2, 0.5, 0.5, 9], [0, 0, 1, 9]], np.float32)
    assert heat_inside(heat, MASK, NAMES) == pytest.approx(3 / 5)  # what lies where nothing is known counts nowhere
    assert heat_inside(heat * 1e-6, MASK, NAMES) == pytest.approx(3 / 5)
    assert heat_inside((heat * 28).astype(np.uint8), MASK, NAMES) == pytest.approx(3 / 5)


def test_all_and_nothing():
    assert heat_inside((MASK == 2).astype(float), MASK, NAMES) == 1
    assert heat_inside((MASK == 3).astype(float), MASK, NAMES) == 0


@pytest.mark.parametrize("heat", [np.zeros(MASK.shape), (MASK == UNKNOWN).astype(float)])
def test_no_heat_has_no_share(heat):
    assert np.isnan(heat_inside(heat, MASK, NAMES))


def test_shapes_that_differ_are_refused():
    with pytest.raises(ValueError, match=r"heatmap of shape \(2, 4\) and mask of shape \(3, 4\)"):
        heat_inside(np.zeros((2, 4)), MASK, NAMES)


def test_html():
    assert "<b>82%</b> of the heat lies within the retina" in share_html(0.818)
    assert "<b>…</b>" in share_html(None)
    assert share_html(float("nan")) == ""
