"""What Gradio's server offers, and this app doesn't need, is closed; and what comes in has a limit.

Gradio (6.31) fetches any public address for whoever asks for it as a file, hands back (and with ffmpeg, converts)
whatever is sent to it as a screen recording, and writes a visitor's session to the disk as a link, for good. It holds
each uploaded file to a size, but not a request of a thousand of them, and reads JSON whole, however long.
"""

import re

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

CLOSED = re.compile(
    r"""/+gradio_api/+(?: file [=/] \s* https?:      # an address, fetched by the server
                    | proxy=                         # likewise, of other Spaces
                    | deep_link                      # a session's state, written to the disk
                    | process_recording              # a video, through ffmpeg
                    | component_server | custom_component | stream/ | run-history | (?:undo-)? vibe-
                    )""",
    re.VERBOSE | re.IGNORECASE,
)
"""Paths that are answered as if there were nothing."""

UPLOAD = "/gradio_api/upload"
"""Where files come in: a form, each of whose files Gradio holds to `max_file_size`."""

MAX_UPLOAD = 2_000_000_000
"""Bytes of such a form: as many as the scans of a ZIP may have (octhub.archive)."""

MAX_BODY = 8_000_000
"""Bytes of any other request: twice the 4 MiB that assistants may send, which have their scans in the text."""


class ClosedRoutes:
    """An ASGI middleware. What is too long is answered with 413, by what it claims before a byte is read."""

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path, claimed = scope["path"], dict(scope["headers"]).get(b"content-length")
        upload = path.rstrip("/") == UPLOAD
        limit = MAX_UPLOAD if upload else MAX_BODY
        refusal = None
        if CLOSED.match(path):
            refusal = PlainTextResponse("Not Found", 404)
        elif claimed is not None and int(claimed) > limit:  # the server takes nothing but digits
            refusal = PlainTextResponse(f"more than {limit / 1e6:g} MB", 413)
        elif upload and claimed is None and scope["method"] == "POST":  # to stop amid a form would leave its files
            refusal = PlainTextResponse("expected a Content-Length", 411)
        if refusal is not None:
            await refusal(scope, receive, send)
        elif claimed is None:
            await self._counting(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _counting(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Give up a body of unknown length once it is too long: to the app it looks as if its sender had gone."""
        read = 0

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            return message if read <= MAX_BODY else {"type": "http.disconnect"}

        await self.app(scope, counted, send)
