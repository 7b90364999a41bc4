"""Thickness along the scan, as figures, CSV and a plot."""

import csv
import io
import re

import numpy as np
import pytest

from octhub.mask import UNKNOWN
from octhub.mask_render import class_colours
from octhub.measure import Scale
from octhub.profile_plot import MAX_COLUMNS, RETINA, path, profile_csv, profile_html, profiles, ticks

NAMES = ("above retina", "NFL", "a <b>, c", "below retina", "fluid")
U = UNKNOWN
MASK = np.array(
    [
        [0, 0, 1, U, 0],
        [1, 1, 1, U, 2],
        [1, 2, 4, U, 2],
        [3, 2, 2, U, 3],
    ],
    np.uint8,
)


def test_too_wide_a_scan_has_no_plot():
    assert "<svg" in profile_html(np.zeros((2, MAX_COLUMNS), np.uint8), NAMES)
    html = profile_html(np.zeros((2, MAX_COLUMNS + 1), np.uint8), NAMES)
    assert "A scan of 10,001 columns is too wide for a plot, expected at most 10,000." in html
    assert len(html) < 500


@pytest.mark.parametrize("side", [1e-3, 1e4])
def test_extreme_scales(side):
    assert "<svg" in profile_html(MASK, NAMES, Scale(side, side))


def test_by_hand():
    found = profiles(MASK, NAMES)
    assert list(found) == [RETINA, "NFL", "a <b>, c", "fluid"]
    lines = {name: line.tolist() for name, line in found.items()}
    nan = pytest.approx(np.nan, nan_ok=True)
    assert lines["NFL"] == [2, 1, 2, nan, 0]
    assert lines["a <b>, c"] == [0, 2, 1, nan, 2]
    assert lines["fluid"] == [0, 0, 1, nan, 0]
    assert lines[RETINA] == [2, 3, 4, nan, 2]


def test_csv_has_one_row_per_column():
    rows = list(csv.DictReader(io.StringIO(profile_csv(MASK, NAMES))))
    assert list(rows[0]) == ["column", f"{RETINA}_px", "NFL_px", "a <b>, c_px", "fluid_px"]
    assert [row["column"] for row in rows] == list("01234")
    assert [row[f"{RETINA}_px"] for row in rows] == ["2", "3", "4", "", "2"]
    rows = list(csv.DictReader(io.StringIO(profile_csv(MASK, NAMES, Scale(3.87, 11.5)))))
    assert [row["NFL_um"] for row in rows] == ["7.74", "3.87", "7.74", "", "0"]
    assert [row["x_mm"] for row in rows] == ["0", "0.0115", "0.023", "0.0345", "0.046"]
    assert rows[1]["NFL_px"] == "1"


def test_a_path_goes_through_every_column_and_breaks_where_nothing_is_known():
    assert path(np.array([2.0, 3, np.nan, 1, 4])) == "M0.5,-2L1.5,-3M3.5,-1L4.5,-4"
    assert path(np.array([2.0, 2, 2, 2, 5, 5])) == "M0.5,-2L3.5,-2L4.5,-5L5.5,-5"  # a level needs its ends only
    assert path(np.array([np.nan, np.nan])) == ""


@pytest.mark.parametrize("most", [0.3, 1, 7.3, 9.5, 92, 100, 340, 768, 12345])
def test_ticks_are_round_and_few(most):
    found = ticks(most)
    assert found[0] == 0
    assert most / 2.5 <= found[-1] <= most
    assert 2 <= len(found) <= 6
    digits = f"{found[1]:e}"[0]
    assert digits in "125"
    assert np.allclose(np.diff(found), found[1])


def test_plot_has_each_class_in_its_colour():
    html = profile_html(MASK, NAMES, stem='x"y')
    assert 'download="x&quot;y-profile.csv"' in html
    assert "<b>" not in re.sub(r"a &lt;b&gt;, c", "", html)
    lines = dict(re.findall(r'<g data-class=(\d) stroke="(rgb[^"]+)">', html))
    colours = class_colours(NAMES)
    assert lines == {str(id): "rgb({} {} {})".format(*colours[id]) for id in (1, 2, 4)}
    figures = re.findall(r'<dd data-rest="([^"]+)">', html)
    assert figures == ["2.8", "1.7", "1.7", "1.0"]  # means where present, as in the table of areas
    assert "Retina, px" in html
    assert 'class="expert"' not in html


def test_scale_and_expert():
    truth = np.where(MASK == 4, 2, MASK)
    html = profile_html(MASK, NAMES, Scale(4, 11.5), truth=truth)
    assert "Retina, µm" in html
    assert 'data-axial="4"' in html
    assert 'data-lateral="11.5"' in html
    assert re.findall(r'<dd data-rest="([^"]+)">', html)[0] == "11.0"
    assert html.count('class="expert"') == 4  # the whole retina and three classes


def test_the_experts_line_is_within_its_axes():
    mask = np.zeros((80, 40), np.uint8)
    mask[10:15], mask[15:] = 1, 3
    truth = np.zeros_like(mask)
    truth[10:70], truth[70:] = 1, 3
    plots = re.findall(
        r'viewBox="0 (\S+) 40 .*?class="expert" d="([^"]*)"', profile_html(mask, NAMES, truth=truth), re.S
    )
    assert len(plots) == 2
    for top, line in plots:
        assert {float(y) for y in re.findall(r",(\S+?)(?=L|$)", line)} == {-60}
        assert float(top) < -60


def test_a_class_that_is_nowhere_has_no_line():
    html = profile_html(np.where(MASK == 4, 2, MASK), NAMES)
    assert "<g data-class=4" not in html
    assert '<dd data-rest="–">' in html


def test_nothing_known_is_no_error():
    html = profile_html(np.full((4, 5), U, np.uint8), NAMES)
    assert html.count('<dd data-rest="–">') == 4
