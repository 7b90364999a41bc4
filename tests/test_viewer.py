"""The viewers' HTML: what the browser gets; test_app_viewer.py tries it there."""

import re

import numpy as np
import pytest

from octhub.mask_viewer import legend_html, mask_viewer_html
from octhub.viewer import COMPARE, heat_key, message_html, viewer_html

NAMES = ("above retina", "NFL", "fluid")
NAME = '<i>"x".png'
SCAN = np.zeros((4, 6), np.float32)
MASK = np.array([[0, 0, 0, 1, 1, 255]] * 4, np.uint8)


def viewers() -> dict[str, str]:
    layer = np.zeros((4, 6, 4), np.uint8)
    return {
        "heat": viewer_html(SCAN, layer, about="heat", name=NAME, note="<u>", key=heat_key("<s>", True)),
        "mask": mask_viewer_html(SCAN, MASK, NAMES, name=NAME, note="<u>", truth=MASK),
    }


@pytest.mark.parametrize("kind", viewers())
def test_both_compare_in_three_ways(kind):
    html = viewers()[kind]
    assert re.findall(r'data-mode="(\w+)"', html) == list(COMPARE)
    assert html.count('type="range"') == 1
    assert 'role="group" aria-label="Compare"' in html
    assert "--w: 6; --h: 4" in html
    assert html.count('<img class="scan"') == 1


@pytest.mark.parametrize("kind", viewers())
def test_what_a_visitor_brings_is_escaped(kind):
    html = viewers()[kind]
    assert not re.search(r'<(s|u|i)>|"x"', html)


def test_every_range_and_toggle_has_a_name():
    html = viewers()["mask"]
    for tag in re.findall(r"<input[^>]*>", html):
        assert "aria-label=" in tag


def test_heat_key_says_relative_to_what():
    key = heat_key("DME", True)
    assert "less" in key
    assert "more evidence for DME" in key
    assert "Relative to the strongest place" in key
    assert heat_key("DME", False) == "No evidence for DME found"


def test_tissue_has_an_eye_and_the_rest_does_not():
    html = legend_html(NAMES, MASK)
    assert re.findall(r'data-class="(\d)"', html) == ["0", "1", "2"]
    assert re.findall(r'data-toggle="(\d)"', html) == ["1", "2"]
    assert 'aria-label="NFL, 40.0% of the scan"' in html
    assert 'aria-label="fluid, not found"' in html
    assert "disabled" not in html


def test_a_legend_before_its_scan_only_holds_the_place():
    html = legend_html(NAMES)
    assert html.count("disabled") == len(re.findall("<button|<input", html))


def test_message():
    assert "figcaption" not in message_html("<b>", "<i>")
    html = message_html("<u>", "<i>", "alert", "<p>foot</p>")
    assert "<u>" not in html
    assert "<i>" not in html
    assert 'role="alert"' in html
    assert "<p>foot</p></figcaption>" in html
    assert "data-mode" in html
