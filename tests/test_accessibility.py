"""Every tab, as axe-core judges it: no violation of WCAG 2.2 A or AA, and no best practice missed, that is serious."""

import json

import pytest
import test_app
from app_fixtures import upload

PARTS = {
    "classify": "#classify-viewer",
    "segment": "#segment-viewer",
    "many": "#many-status",
    "about": "#about-page",
}
"""What each tab surely has."""

SERIOUS = {"serious", "critical"}


def open_tab(page, tab: str, scans) -> None:
    """Bring a tab into the state in which it has most to show."""
    page.locator(PARTS[tab]).wait_for()
    if tab == "classify":
        test_app.pick(page, 2)
        page.locator("#classify-label").wait_for()
        page.locator("#classify-heat").get_by_text("of the heat").wait_for()
    elif tab == "segment":
        page.locator(".examples:visible button.thumbnail-item").nth(2).click()
        page.locator("#segment-scores").get_by_text("mIoU").wait_for()
        page.locator("#segment-profile svg").first.wait_for()
    elif tab == "many":
        page.locator(".many-files input[type=file]").set_input_files([scans["scan.png"], scans["broken.png"]])
        page.locator(".many-files .file-preview").get_by_text("broken").wait_for()
        page.get_by_role("button", name="Run", exact=True).click()
        page.locator("#many-status h2", has_text="2 scans, 1 could not be read").wait_for()
        page.get_by_role("button", name="Run", exact=True).wait_for()
        page.wait_for_timeout(500)  # the button's colours fade in


def violations(page) -> list[str]:
    """What axe-core finds, one line a rule, with the elements."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [
        f"{v['impact']} {v['id']}: {v['help']}; {json.dumps([n['target'] for n in v['nodes'][:5]])}"
        for v in found
        if v["impact"] in SERIOUS
    ]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("tab", ["classify", "segment", "many", "about"])
def test_no_serious_violation(visit, scans, tab, dark):
    page = visit(dark=dark, query=f"/?tab={tab}")
    open_tab(page, tab, scans)
    for width in (1440, 390):
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_timeout(300)  # Gradio lays the tabs out anew
        assert violations(page) == [], f"{width} px"


def test_what_is_wrong_is_read_out(visit, scans):
    page = visit()
    upload(page, scans["broken.png"])
    page.locator("#classify-viewer [role=alert]").wait_for()
    assert violations(page) == []
