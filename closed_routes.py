"""What Gradio's server offers, and this app doesn't need, is closed.

Gradio (6.31) fetches any public address for whoever asks for it as a file, hands back (and with ffmpeg, converts)
whatever is sent to it as a screen recording, and writes a visitor's session to the disk as a link, for good.
"""

import re

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

CLOSED = re.compile(
    r"""/+gradio_api/+(?: file [=/] \s* https?:      # an address, fetched by the server
                    | proxy=                         # likewise, of other Spaces
                    | deep_link                      # a session's state, written to the disk
                    | process_recording              # a video, through ffmpeg
                    | component_server | custom_component | stream/ | run-history | (?:undo-)? vibe-
                    )
      | /+monitoring(?!/summary$)                    # who asked what; the summary, which the API's page shows, is empty
    """,
    re.VERBOSE | re.IGNORECASE,
)
"""Paths that are answered as if there were nothing."""


class ClosedRoutes:
    """An ASGI middleware."""

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        closed = scope["type"] == "http" and CLOSED.match(scope["path"])
        await (PlainTextResponse("Not Found", 404) if closed else self.app)(scope, receive, send)
