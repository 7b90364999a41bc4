"""Scans become inputs that look alike whatever the export, and maps find their way back."""

import numpy as np
import pytest
import torch

from octhub import ServingConfig
from octhub.preprocess import (
    Box,
    classes_to_scan,
    preprocess,
    retina_box,
    retina_row,
    to_scan,
)
from octhub.tissue import JPEG_BLOCK, Tissue

SERVING = ServingConfig(("a", "b"), (64, 128), (0.25,), (0.5,))


def synthetic(height=400, width=300, row=120, seed=0):
    """A dark noisy scan with a bright band of 30 rows around `row`."""
    scan = np.random.default_rng(seed).uniform(0, 0.1, (height, width)).astype(np.float32)
    scan[row - 15 : row + 15] += 0.6
    return scan


def test_retina_is_found_and_the_band_stays_inside():
    scan = synthetic()
    assert retina_row(scan) == pytest.approx(119.5, abs=2)
    assert retina_box(scan.shape, 119.5, 2) == Box(44, 0, 150, 300)
    assert retina_box(scan.shape, 3, 2) == Box(0, 0, 150, 300)
    assert retina_box(scan.shape, 399, 2) == Box(250, 0, 150, 300)


def test_wide_scans_are_taken_whole():
    assert retina_box((100, 500), 20, 2) == Box(0, 0, 100, 500)


def test_black_scan_has_a_middle():
    assert retina_row(np.zeros((101, 50), np.float32)) == 50


def test_white_margins_are_blanked_and_nothing_else():
    scan = synthetic()
    scan[200, 100] = 1  # a bright spot inside stays
    with_margin = scan.copy()
    with_margin[-40:] = 1
    rows, columns = np.indices(scan.shape)
    with_margin[rows < 30 - columns] = 1  # a corner
    out = Tissue.of(with_margin).image
    assert out.max() == 1
    assert out[200, 100] == 1
    assert (out[-40:] == 0).all()
    assert (out[rows < 30 - columns] == 0).all()
    untouched = (rows < 350) & (rows > 45)
    assert (out[untouched] == scan[untouched]).all()


def test_scan_without_margin_is_returned_as_it_is():
    scan = synthetic()
    assert Tissue.of(scan).seen is None
    assert np.shares_memory(Tissue.of(scan).image, scan)


def test_margin_does_not_change_the_input():
    scan = synthetic(height=400)
    padded = np.concatenate([scan, np.ones((100, 300), np.float32)])
    a, b = preprocess(scan, SERVING)[0], preprocess(padded, SERVING)[0]
    assert (a - b).abs().max() < 0.05


def test_blanked_columns_at_the_sides_are_left_out():
    scan = synthetic()
    framed = np.concatenate([np.ones((400, 60), np.float32), scan, np.ones((400, 40), np.float32)], axis=1)
    framed[:, 100] = 0  # a black column inside stays
    image, box = preprocess(framed, SERVING)
    assert 60 <= box.left <= 60 + 2 * JPEG_BLOCK
    assert box.left + box.width >= 360 - 2 * JPEG_BLOCK
    assert box.left + box.width <= 360
    assert image[:, :, [0, -1]].max() > 0
    heat = to_scan(torch.ones(4, 8), box, framed.shape)
    assert heat[:, : box.left].max() == heat[:, box.left + box.width :].max() == 0


def test_black_level_and_gain_do_not_change_the_input():
    scan = synthetic()
    a, b = preprocess(scan, SERVING)[0], preprocess(scan * 0.4 + 0.2, SERVING)[0]
    assert (a - b).abs().max() < 1e-4


@pytest.mark.parametrize("shape", [(32, 32), (33, 700), (700, 33), (496, 512)])
def test_shape_range_and_normalisation(shape):
    image, box = preprocess(np.random.default_rng(0).random(shape, np.float32), SERVING)
    assert image.shape == (1, 64, 128)
    assert image.dtype == torch.float32
    assert image.min() >= (0 - 0.25) / 0.5
    assert image.max() <= (1 - 0.25) / 0.5 + 1e-6
    assert box.top >= 0
    assert box.top + box.height <= shape[0]
    assert box.width == shape[1]


def test_flat_scan_gives_a_finite_input():
    assert preprocess(np.full((100, 100), 0.5, np.float32), SERVING)[0].isfinite().all()


def test_three_channels_repeat_the_grey():
    serving = ServingConfig(("a",), (64, 64), (0.0, 0.5, 0.0), (1.0, 1.0, 2.0))
    image, _ = preprocess(synthetic(), serving)
    torch.testing.assert_close(image[1], image[0] - 0.5)
    torch.testing.assert_close(image[2], image[0] / 2)


def test_map_goes_back_to_where_it_came_from():
    heat = to_scan(torch.ones(4, 8), Box(100, 0, 150, 300), (400, 300))
    assert heat.shape == (400, 300)
    assert heat.dtype == np.float32
    assert (heat[100:250] == 1).all()
    assert heat[:100].max() == heat[250:].max() == 0


def test_whole_framing_shows_all_but_the_black_sides():
    scan = np.full((100, 300), 0.5, np.float32)
    scan[:, :40] = 0
    scan[30:50, 100:200] = 1
    image, box = preprocess(scan, ServingConfig(("a", "b"), (50, 130), framing="whole"))
    assert image.shape == (1, 50, 130)
    assert box == Box(0, 40, 100, 260)


def test_classes_go_back_to_where_they_came_from():
    """Enlarged logits put the border between two classes where the pixels' values say, at the scan's own size."""
    logits = torch.zeros(3, 4, 4)
    logits[1, :, :2], logits[2, :, 2:] = 1, 1
    mask = classes_to_scan(logits, Box(2, 10, 8, 16), (12, 40), outside=255)
    assert mask.dtype == np.uint8
    assert (mask[2:10, 10:18] == 1).all()
    assert (mask[2:10, 18:26] == 2).all()
    mask[2:10, 10:26] = 255
    assert (mask == 255).all()


def test_classes_are_those_of_the_enlarged_argmax():
    logits = torch.randn(6, 31, 17, generator=torch.Generator().manual_seed(0))
    mask = classes_to_scan(logits, Box(0, 0, 90, 61), (90, 61), outside=255)
    whole = torch.nn.functional.interpolate(logits[None], (90, 61), mode="bilinear", align_corners=False)[0]
    assert (mask == whole.argmax(0).numpy()).mean() > 0.9999


def test_margins_do_not_squeeze_a_device_with_a_grey_black():
    """Blanked margins of more than a tenth of the scan would otherwise set the window's black to 0."""
    rng = np.random.default_rng(0)
    scan = rng.uniform(0.2, 0.5, (200, 200)).astype(np.float32)
    plain = preprocess(scan, ServingConfig(("a", "b"), (100, 100), framing="whole"))[0]
    scan[:40] = 1
    image = preprocess(scan, ServingConfig(("a", "b"), (100, 100), framing="whole"))[0]
    torch.testing.assert_close(image[:, 40:], plain[:, 40:], atol=0.03, rtol=0)


def test_plain_framing_leaves_the_image_as_it_is():
    scan = np.zeros((100, 300), np.float32)
    scan[20:60, 50:100] = 1
    image, box = preprocess(scan, ServingConfig(("a", "b"), (100, 300), framing="plain"))
    assert box == Box(0, 0, 100, 300)
    assert np.array_equal(image[0].numpy(), scan)
