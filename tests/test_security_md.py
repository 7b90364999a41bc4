"""SECURITY.md promises what the code does."""

import re
from pathlib import Path

import pytest

from octhub import archive, batch, scan

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "SECURITY.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`([\w./]+/[\w.]+\.(?:py|yml))`", TEXT))))
def test_what_it_names_is_there(path):
    assert (ROOT / path).is_file()


def test_limits_are_the_codes(app):
    import sys

    app()
    door, many_run, tabs, room = (sys.modules[name] for name in ("door", "many_run", "tabs", "waiting_room"))
    assert f"{scan.MAX_BYTES / 1e6:g} MB and {scan.MAX_PIXELS / 1e6:g} megapixels" in TEXT
    assert len(scan.FORMATS) == 5
    large = f"{scan.MAX_BYTES / 1e6:g} MB a file, {door.FORM / 1e9:g} GB an upload"
    assert f"{large}, {door.QUESTION / 1e6:g} MB any other request" in TEXT
    run = f"{batch.MAX_SCANS} scans, {batch.MAX_ARCHIVES} ZIPs and {tabs.KEEP_SECONDS // 60} minutes a run"
    assert f"{run}, {many_run.MAX_RESULT / 1e9:g} GB of results" in TEXT
    assert door.FORM == archive.MAX_TOTAL
    assert f"{door.UPLOADS / 1e9:g} GB of uploads at a time" in TEXT
    scans, runs = (room.LINES[group["concurrency_id"]] for group in (tabs.MODEL, tabs.BATCH))
    shares = f"of which one page has {scans.share} and {runs.share} at most"
    assert f"lines of {scans.places} scans and {runs.places} runs, {shares}" in TEXT


def test_it_gives_no_address_that_might_not_exist():
    assert not re.search(r"[\w.]+@[\w.]+\.\w+|https?://", TEXT)


def test_links_lead_to_headings():
    anchors = {
        re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in re.findall(r"^#+ (.+)$", TEXT, re.MULTILINE)
    }
    assert {link for link in re.findall(r"\]\(#([^)]+)\)", TEXT)} <= anchors
