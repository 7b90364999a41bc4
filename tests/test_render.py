"""Overlays and legends."""

import numpy as np
import pytest
from PIL import Image

from octhub.render import grey, heat_layer, legend, overlay, palette


@pytest.fixture
def scan():
    return np.random.default_rng(0).random((48, 64), np.float32)


@pytest.fixture
def heatmap():
    return np.tile(np.linspace(0, 1, 64, dtype=np.float32), (48, 1))


def test_palette_rises_evenly_in_lightness():
    table = palette()
    assert table.shape == (256, 3)
    assert table.dtype == np.uint8
    lightness = np.asarray(Image.fromarray(table[None]).convert("LAB"))[0, :, 0].astype(int)
    steps = np.diff(lightness[::16])
    assert steps.min() > 0
    assert steps.max() < 3 * steps.mean()


def test_grey_gives_8_bit_scans_back_bit_for_bit():
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert np.array_equal(grey(levels.astype(np.float32) / 255), levels)


def test_overlay_at_opacity_0_is_the_scan_bit_for_bit(scan, heatmap):
    picture = overlay(scan, heatmap, 0)
    assert picture.shape == (48, 64, 3)
    assert picture.dtype == np.uint8
    assert np.array_equal(picture, np.repeat(grey(scan)[..., None], 3, axis=2))


def test_overlay_shows_the_scan_where_cold_and_the_colour_where_hot(scan, heatmap):
    picture = overlay(scan, heatmap, 1.0)
    assert np.array_equal(picture[:, 0], np.repeat(grey(scan)[:, :1], 3, axis=1))
    assert np.array_equal(picture[:, -1], np.tile(palette()[-1], (48, 1)))


def test_overlay_moves_with_opacity(scan, heatmap):
    base = grey(scan)[..., None].astype(int)
    distances = [np.abs(overlay(scan, heatmap, o).astype(int) - base).mean() for o in (0, 0.25, 0.5, 1)]
    assert distances == sorted(distances)
    assert distances[0] == 0
    assert distances[-1] > 10


def test_overlay_is_what_an_image_library_makes_of_the_layer(scan, heatmap):
    under = Image.fromarray(grey(scan)).convert("RGBA")
    blended = Image.alpha_composite(under, Image.fromarray(heat_layer(heatmap))).convert("RGB")
    assert np.abs(np.asarray(blended, int) - overlay(scan, heatmap, 1.0)).max() <= 1


def test_overlay_leaves_its_inputs_alone(scan, heatmap):
    before = scan.copy(), heatmap.copy()
    overlay(scan, heatmap, 0.7)
    assert np.array_equal(scan, before[0])
    assert np.array_equal(heatmap, before[1])


@pytest.mark.parametrize("opacity", [-0.1, 1.1, float("nan")])
def test_overlay_refuses_an_opacity_out_of_range(scan, heatmap, opacity):
    with pytest.raises(ValueError, match="expected 0 to 1"):
        overlay(scan, heatmap, opacity)


def test_overlay_refuses_shapes_that_differ(scan, heatmap):
    with pytest.raises(ValueError, match="expected the same"):
        overlay(scan, heatmap[:, 1:], 0.5)


def test_legend_runs_from_black_to_the_hottest_colour():
    bar = legend(128, 4)
    assert bar.shape == (4, 128, 3)
    assert not bar[:, 0].any()
    assert np.array_equal(bar[0, -1], palette()[-1])
