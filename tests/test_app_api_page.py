"""The page "Use via API or MCP", as a visitor finds it at the foot of the demo."""

import pytest
from playwright.sync_api import expect


@pytest.mark.parametrize("width", [1440, 390])
def test_it_lists_every_endpoint_with_what_it_takes(visit, root, width):
    page = visit(width=width)
    page.get_by_role("button", name="Use via API").click()
    told = page.locator(".api-docs")
    expect(told).to_contain_text("4 MCP Tools")
    told.get_by_text("Python", exact=True).click()
    for text in (
        "/classify",
        "/segment",
        "/many",
        "/about",
        "a PNG, JPEG, TIFF, BMP or WebP file",
        "not a medical device",
    ):
        expect(told).to_contain_text(text)
    shots = root / "screenshots"
    shots.mkdir(exist_ok=True)
    page.screenshot(path=shots / f"api-{width}.png")
