"""What the server remembers of its visitors, and for how long.

Gradio (6.31) keeps, for each of 10,000 sessions, a copy of the page's whole configuration with what was last shown,
which is the visitor's scan. Only Gradio's deep links read it, by writing it to the disk; octhub has links of its own.
So a session here holds states alone, and is forgotten when it has been idle for a while.
"""

import asyncio
import logging
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import gradio.route_utils
import gradio.routes
import gradio.state_holder

import tabs

VISITS = 1000
"""Sessions that are remembered at most, 50 to 100 kB each; beyond that, the one that has been idle longest goes."""


STRAY = re.compile(r"tmp\w{8}|[0-9a-f]{32,64}")
"""How Gradio calls an upload while it comes in, and the folder of a file."""


class Nothing(dict):
    """A mapping that seems to hold whatever is asked for, and keeps nothing."""

    def __contains__(self, key: object) -> bool:
        return True

    def __missing__(self, key: object) -> dict:
        return {}

    def __setitem__(self, key: object, value: object) -> None:
        pass


class Visit(gradio.state_holder.SessionState):
    """A session without the page's configuration: a tenth of the memory, and of the time that it takes to begin one."""

    def __init__(self, blocks):
        super().__init__(SimpleNamespace(default_config=blocks.default_config, blocks={}))
        self.config_values = Nothing()


def install() -> None:
    """Make Gradio's sessions these: it has no other way to choose them."""
    gradio.state_holder.SessionState = gradio.route_utils.SessionState = Visit


@asynccontextmanager
async def forgetful(app) -> AsyncIterator[None]:
    """The server's lifespan, during which it forgets visitors KEEP_SECONDS after their last event."""
    task = asyncio.create_task(_forget_on_schedule(app))
    try:
        yield
    finally:
        task.cancel()


async def _forget_on_schedule(app) -> None:
    while True:
        await asyncio.sleep(tabs.SWEEP_SECONDS)
        for step in (
            lambda: forget(app.state_holder, tabs.KEEP_SECONDS),
            app.get_blocks()._queue.tidy,
            lambda: forget_progress(gradio.routes.file_upload_statuses),
            lambda: sweep(Path(app.uploaded_file_dir), tabs.KEEP_SECONDS),  # here, where uploads get their folders, too
        ):
            try:
                step()
            except Exception:  # what fails once must not end the forgetting
                logging.getLogger(__name__).exception("octhub could not forget")


def forget(holder, age: float) -> None:
    """Drop the sessions of a gradio.state_holder.StateHolder that were idle for more than `age` seconds."""
    before = datetime.now() - timedelta(seconds=age)
    for session in [s for s, used in holder.time_last_used.items() if used < before]:
        holder.session_data.pop(session, None)
        holder.time_last_used.pop(session, None)


def forget_progress(uploads) -> None:
    """Drop from a gradio.route_utils.FileUploadProgress what is over: it keeps a little of every upload for good."""
    for upload in list(uploads._signals):
        status = uploads._statuses.get(upload)
        if status is None or status.is_done:
            uploads._statuses.pop(upload, None)
            uploads._signals.pop(upload, None)


def sweep(folder: Path, age: float) -> None:
    """Delete what Gradio leaves among the uploads and doesn't sweep, if nothing was written to it for `age` seconds:
    uploads that broke off or came without a usable name, an empty file for each file that an event was given, and
    folders whose files are gone, which are named after their content."""
    before = time.time() - age
    for path in folder.iterdir() if folder.is_dir() else ():
        with suppress(OSError):  # a folder that isn't empty; what somebody else has just deleted
            if STRAY.fullmatch(path.name) and path.lstat().st_mtime < before:
                path.rmdir() if path.is_dir() else path.unlink()
