"""The page "Use via API or MCP", as a visitor finds it at the foot of the demo."""

import pytest
from playwright.sync_api import expect


@pytest.mark.parametrize("width", [1440, 390])
def test_it_lists_every_endpoint_with_what_it_takes(visit, root, width):
    page = visit(width=width)
    page.get_by_role("button", name="Use via API").click()
    for endpoint in ("/classify", "/segment", "/many", "/about"):
        expect(page.get_by_text(endpoint, exact=True).first).to_be_visible()
    expect(page.get_by_text("One B-scan: a PNG, JPEG, TIFF, BMP or WebP file").first).to_be_attached()
    expect(page.get_by_text("not a medical device").first).to_be_attached()
    shots = root / "screenshots"
    shots.mkdir(exist_ok=True)
    page.screenshot(path=shots / f"api-{width}.png")
