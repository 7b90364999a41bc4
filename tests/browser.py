"""A real browser for tests, and a record of what its pages must not do."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

SWITCHES = "no-sandbox disable-gpu disable-quic no-first-run disable-background-networking disable-component-update"
ARGS = [f"--{switch}" for switch in (*SWITCHES.split(), "disable-sync")]


def missing(what: str):
    """Fail in CI, where everything has to run; elsewhere skip."""
    (pytest.fail if os.environ.get("CI") else pytest.skip)(f"{what}: the page can't be tested in a browser")


@contextmanager
def chromium() -> Iterator:
    """A headless Chromium, as playwright's Browser: the system's one, else playwright's own."""
    try:
        from playwright.sync_api import Error, expect, sync_playwright
    except ImportError:
        missing("the Python package playwright is not installed")
    expect.set_options(timeout=30_000)  # a busy machine takes its time
    names = ("chromium", "chromium-browser", "google-chrome")
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(
                executable_path=next(filter(None, map(shutil.which, names)), None), args=ARGS
            )
        except Error as e:
            missing(f"no Chromium starts ({str(e).splitlines()[0]})")
        yield browser
        browser.close()


class Watch:
    """Records a page's requests and whatever must not happen on it.

    Attributes:
        requests: "METHOD URL" of every request to a server.
        problems: console errors, uncaught exceptions, failed requests, requests that leave the origin.
    """

    def __init__(self, page, origin: str):
        self.requests: list[str] = []
        self.problems: list[str] = []
        self._origin = origin
        page.on("request", self._request)
        page.on("response", lambda r: r.status >= 400 and self.problems.append(f"HTTP {r.status}: {r.url[:200]}"))
        page.on("pageerror", lambda e: self.problems.append(f"exception: {e}"))
        page.on("console", self._console)

    def _request(self, request):
        if request.url.startswith(("data:", "blob:")):
            return
        self.requests.append(f"{request.method} {request.url}")
        if not request.url.startswith(self._origin):
            self.problems.append(f"leaves the origin: {request.url[:200]}")

    def _console(self, message):
        if message.type == "error":  # Gradio warns of its own accord
            self.problems.append(f"console: {message.text[:300]}")
