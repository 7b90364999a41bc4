"""What the server takes in: how long a question may be, and how much disk everybody's uploads get.

Gradio (6.31) limits the size of an uploaded file. It limits neither how many files there are, nor how long any other
request is, and an upload that breaks off stays on the disk for good.
"""

import asyncio
import re
import time
from collections import Counter

from gradio.route_utils import MultiPartException
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tabs import KEEP_SECONDS, SWEEP_SECONDS

UPLOAD, MCP = re.compile(r"/+gradio_api/+upload/*"), re.compile(r"/+gradio_api/+mcp\b")
"""Paths of uploads, and of assistants; /gradio_api/call/upload is a question."""

QUESTION = 5_000_000
"""Bytes of a request that uploads nothing. The longest of the page's names 500 files; MCP has a limit of 4 MiB."""

FORM = 2_000_000_000
"""Bytes of one upload, however many files it has: as many as the scans of a ZIP may have (octhub.archive)."""

UPLOADS = 8_000_000_000
"""Bytes of uploads on the disk at a time: of all that arrive within HELD seconds."""

EACH = 65_536
"""What an upload counts for beside its bytes: a small file takes a block and an entry, too."""

STALLED = 60
"""Seconds without a byte after which an upload is given up."""

HELD = 2 * KEEP_SECONDS + SWEEP_SECONDS
"""Seconds for which a byte may be on the disk: an upload may take as long as it is kept afterwards."""

TOO_MUCH = "maximum allowed size"
"""Words by which Gradio knows that an upload was too much (413), not damaged (400)."""

FULL = f"The server holds as many uploads as it can ({TOO_MUCH}). They are deleted soon: please try again in an hour."

TOO_LARGE = f"An upload of more than {FORM / 1e9:g} GB ({TOO_MUCH}), expected fewer files at a time."

TOO_LONG = f"A question of more than {QUESTION / 1e6:g} MB, expected a file to be uploaded by POST to /upload."


class Door:
    """ASGI middleware that counts what comes in."""

    def __init__(self, app: ASGIApp):
        self.app = app
        self._arrived: Counter[int] = Counter()  # bytes of uploads, by the minute

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            return await self.app(scope, receive, send)
        said = Headers(scope=scope).get("content-length", "")
        length = int(said) if said.isdecimal() else 0  # without it, the body comes in chunks
        upload, assistant = UPLOAD.fullmatch(scope["path"]), MCP.match(scope["path"])
        problem = ""
        if length > (FORM if upload else QUESTION):
            problem = TOO_LARGE if upload else TOO_LONG
        elif (upload or assistant) and self.held() + length + EACH > UPLOADS:
            problem = FULL
        if problem:
            return await PlainTextResponse(problem, 413)(scope, receive, send)
        if assistant:  # its scan becomes a file
            self._arrived[_minute()] += (length or QUESTION) + EACH
        return await self.app(scope, self._uploaded(receive) if upload else _asked(receive), send)

    def held(self) -> int:
        """Bytes that may be on the disk."""
        oldest = _minute() - HELD // 60 - 1
        for minute in [m for m in self._arrived if m < oldest]:
            del self._arrived[minute]
        return self._arrived.total()

    def _uploaded(self, receive: Receive) -> Receive:
        """A body that ends with a MultiPartException if it must: then Gradio deletes what it has written of it."""
        begun, whole, length = time.monotonic(), False, 0
        self._arrived[_minute()] += EACH

        async def receive_some() -> Message:
            nonlocal whole, length
            if whole:
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), STALLED)
            except asyncio.TimeoutError as e:
                raise MultiPartException(f"nothing came for {STALLED} seconds") from e
            length += len(message.get("body", b""))
            self._arrived[_minute()] += len(message.get("body", b""))
            if length > FORM:
                raise MultiPartException(TOO_LARGE)
            if message["type"] == "http.disconnect":
                raise MultiPartException("the upload broke off")
            if self.held() > UPLOADS:
                raise MultiPartException(FULL)
            if time.monotonic() - begun > KEEP_SECONDS:
                raise MultiPartException(f"not there after {KEEP_SECONDS // 60} minutes")
            whole = not message.get("more_body", False)
            return message

        return receive_some


def _minute() -> int:
    return int(time.monotonic() // 60)


def _asked(receive: Receive) -> Receive:
    """A body that isn't too long."""
    length = 0

    async def receive_some() -> Message:
        nonlocal length
        message = await receive()
        length += len(message.get("body", b""))
        if length > QUESTION:
            raise HTTPException(413, TOO_LONG)
        return message

    return receive_some
