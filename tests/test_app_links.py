"""Links into the demo open a tab, with an example on show."""

import sys
from types import SimpleNamespace

import pytest
import test_app
from app_fixtures import upload
from playwright.sync_api import expect

from octhub.gallery import load


@pytest.fixture(scope="module")
def examples(root):
    return {e.path.stem: e for e in load(root / "examples")}


def test_to_an_example_of_the_first_tab(visit, examples, classifier):
    page = visit(query="/?tab=classify&example=cnv-2")
    test_app.assert_shows(page, examples["cnv-2"].path, classifier)
    assert "graded CNV in the data set, unseen · OCT2017" in page.locator("#classify-viewer").inner_text()


def test_to_an_example_with_its_mask(visit):
    page = visit(query="/?tab=segment&example=healthy-1", width=390)
    expect(page.get_by_role("tab", name="Segment")).to_have_attribute("aria-selected", "true")
    page.locator("#segment-viewer figcaption b", has_text="healthy-1.png").wait_for()
    expect(page.locator("#segment-scores")).to_contain_text("mIoU")


def test_a_link_is_copied_and_leads_back(visit, scans, browser, server):
    browser.grant_permissions(["clipboard-read", "clipboard-write"], origin=server.url)
    page = visit()
    test_app.pick(page, 1)
    page.get_by_role("button", name="Copy link").click()
    page.get_by_role("button", name="Link copied").wait_for()
    link = page.evaluate("navigator.clipboard.readText()")
    assert link == page.url == f"{server.url}/?tab=classify&example=cnv-2"
    upload(page, scans["scan.png"])
    page.locator("#classify-viewer figcaption b", has_text="scan.png").wait_for()
    expect(page.get_by_role("button", name="Copy link")).to_have_count(0)
    assert page.url == f"{server.url}/"  # it doesn't lead to what is on show now


@pytest.mark.parametrize(("name", "tab"), [("segment", "Segment"), ("many", "Many scans"), ("about", "About")])
def test_to_a_tab_alone(visit, name, tab):
    page = visit(query=f"/?tab={name}")
    expect(page.get_by_role("tab", name=tab)).to_have_attribute("aria-selected", "true")


def test_to_what_is_not_there(visit):
    page = visit(query="/?tab=classify&example=<b>nobody</b>")
    page.get_by_text("“<b>nobody</b>”, which isn't among these").wait_for()
    page.locator("#classify-viewer").get_by_text("No scan yet").wait_for()


def test_a_plain_visit_asks_the_server_for_nothing(visit):
    page = visit()
    page.wait_for_timeout(500)
    assert not [r for r in page.watch.requests if "/queue/join" in r]


@pytest.mark.parametrize("tab", ["classify", "segment"])
def test_an_example_is_answered_once(app, classifier, segmenter, root, tab, monkeypatch):
    """The answers to examples are remembered for as long as the page is served, with its models."""
    runs = []
    for model in (classifier, segmenter):
        call = type(model).__call__
        monkeypatch.setattr(
            type(model), "__call__", lambda self, *a, call=call, **k: runs.append(1) or call(self, *a, **k)
        )
    for _ in range(2):  # a page with other models remembers nothing of these
        runs.clear()
        demo = app().build_demo(classifier, segmenter)
        fn = [f.fn for f in demo.fns.values() if getattr(f.fn, "__name__", "") == "add_example"][tab == "segment"]
        seen, case = sys.modules["classify_desk"].Seen(), sys.modules["segment_case"].Case()
        inputs = ["likeliest", seen] if tab == "classify" else [case, "", ""]
        for _ in range(2):
            fn(*inputs, SimpleNamespace(index=0))
        assert len(runs) == 1
