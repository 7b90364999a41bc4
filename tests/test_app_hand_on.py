"""A scan that was added in one of the demo's tabs is one click from the other."""

import pytest
import test_app
import test_app_segment
from app_fixtures import upload

OUTLINE, CLASSIFY = "Outline this scan’s layers", "Classify this scan"


@pytest.mark.parametrize("width", [1440, 390])
def test_from_classify_to_segment_and_back(visit, scans, classifier, segmenter, width):
    from playwright.sync_api import expect

    page = visit(width=width)
    assert not page.get_by_role("button", name=OUTLINE).is_visible()
    upload(page, scans["deep.png"])
    test_app.assert_shows(page, scans["deep.png"], classifier)
    page.get_by_role("button", name=OUTLINE).click()
    expect(page.get_by_role("tab", name="Segment")).to_have_attribute("aria-selected", "true")
    test_app_segment.assert_shows(page, scans["deep.png"], segmenter(scans["deep.png"]))

    upload(page, scans["scan.png"])
    test_app_segment.assert_shows(page, scans["scan.png"], segmenter(scans["scan.png"]))
    page.get_by_role("button", name=CLASSIFY).click()
    expect(page.get_by_role("tab", name="Classify")).to_have_attribute("aria-selected", "true")
    test_app.assert_shows(page, scans["scan.png"], classifier)


def test_a_scan_that_cannot_be_used_goes_nowhere(visit, scans, classifier):
    from playwright.sync_api import expect

    page = visit()
    upload(page, scans["scan.png"])
    test_app.assert_shows(page, scans["scan.png"], classifier)
    upload(page, scans["broken.png"])
    page.locator("#classify-viewer [role=alert]").wait_for()
    expect(page.get_by_role("button", name=OUTLINE)).to_be_hidden()
