"""Find a running Gradio app by its address, and wait for it: a Space that sleeps or is built takes minutes."""

import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gradio_client import Client

SPACE_ID = re.compile(r"(?:https://huggingface\.co/spaces/)?([\w.-]+/[\w.-]+)/?", re.ASCII)
"""A Space's id, or its page on the Hub, whose address is what a browser shows."""

BROKEN = {"NO_APP_FILE", "CONFIG_ERROR", "BUILD_ERROR", "RUNTIME_ERROR", "PAUSED", "DELETING"}
"""Stages of a Space that no waiting helps (see huggingface_hub.SpaceStage)."""

WAKE_SECONDS = 300.0
"""How long to wait for an app unless told otherwise."""

REPLY_SECONDS = 60.0
"""How long an app may be silent within a request; while it works, Gradio sends a sign of life every 15 seconds."""

PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 15.0
"""Before the second attempt, doubled each time, and at most."""


class RemoteError(ValueError):
    """An app that can't be reached or used; the message names its address."""


class NotYet(Exception):
    """Why an app doesn't answer, where it may a little later."""


@contextmanager
def connect(address: str, timeout: float, tell: Callable[[str], None] = print) -> Iterator["Client"]:
    """A client of the app at an address. What it downloads lies in a folder that goes with it.

    The Hugging Face token, if there is one, is sent to a Space that refuses to answer without it: gradio_client
    would send it to any address, and whoever owns a Space could read it there.

    Args:
        address: "http(s)://…" or the "owner/name" of a Space.
        timeout: seconds until the app must have answered.
        tell: is told what the wait is for, before each further attempt.

    Raises:
        RemoteError: no address, nothing that answers in time, no Gradio app, or no gradio_client.
    """
    try:
        import gradio_client  # noqa: F401 - it isn't needed by those who verify no running app
    except ImportError as e:
        raise RemoteError(f"{address}: asking an app needs gradio_client: pip install gradio_client") from e
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # else gradio_client reports the address to its makers
    with tempfile.TemporaryDirectory(prefix="octhub-", ignore_cleanup_errors=True) as folder:
        yield _wait(address, timeout, tell, folder)  # it ends with its last reference; its close() takes a second more


def _wait(address: str, timeout: float, tell: Callable[[str], None], folder: str) -> "Client":
    started, pause = time.monotonic(), PAUSE_SECONDS
    while True:
        left = timeout - (time.monotonic() - started)
        try:
            return _client(address, min(max(left, 1.0), REPLY_SECONDS), folder)
        except NotYet as e:
            left = timeout - (time.monotonic() - started)
            if left <= 0:
                raise RemoteError(f"{address}: no answer within {timeout:g} s: {e}") from e
            tell(f"waiting for {address}, {timeout - left:.0f} of {timeout:g} s: {e}")
        time.sleep(min(pause, left))
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


def _client(address: str, timeout: float, folder: str) -> "Client":
    """One attempt. Raises NotYet or RemoteError."""
    from gradio_client import Client

    url = _url(address)
    is_space = url.scheme == "https" and url.host.endswith(".hf.space")
    token = False
    try:
        _check_config(address, url, timeout, token, is_space)
    except RemoteError:
        if not is_space:
            raise
        token = None  # a private Space, perhaps: the one that `hf auth login` or HF_TOKEN has left
        _check_config(address, url, timeout, token, is_space)
    try:
        return Client(
            str(url),
            token=token,
            verbose=False,
            download_files=folder,
            analytics_enabled=False,
            httpx_kwargs={"timeout": REPLY_SECONDS},
        )
    except (ValueError, KeyError, TypeError) as e:
        raise RemoteError(f"{address}: {_text(e)}") from e
    except Exception as e:  # the network's, or that there are too many requests
        raise NotYet(_text(e)) from e


def _check_config(address: str, url, timeout: float, token: bool | None, is_space: bool) -> None:
    """Whether a Gradio app answers. gradio_client's own errors don't tell an app that still starts from none.

    What Hugging Face serves in the place of a Space that starts is no app either, so it is waited for.
    """
    import httpx
    from huggingface_hub.utils import build_hf_headers

    try:
        reply = httpx.get(url.join("config"), headers=build_hf_headers(token=token), timeout=timeout)
    except httpx.TransportError as e:
        raise NotYet(_text(e)) from e
    if reply.status_code >= 500 or reply.status_code == 429:
        raise NotYet(f"HTTP {reply.status_code}")
    try:
        config = reply.json()
    except ValueError:
        config = None
    if reply.is_success and isinstance(config, dict) and "dependencies" in config:
        return
    if is_space and reply.status_code not in {401, 403, 404}:
        raise NotYet(f"HTTP {reply.status_code} without a Gradio app")
    hint = ", or a private one that needs `hf auth login`" if is_space else ""
    raise RemoteError(f"{address}: HTTP {reply.status_code} without a Gradio app, expected octhub's{hint}")


def _url(address: str):
    """The app's httpx.URL, with a slash at its end. Raises NotYet or RemoteError."""
    import httpx

    space = SPACE_ID.fullmatch(address)
    text = _host(space[1]) if space else address
    try:
        url = httpx.URL(text if text.endswith("/") else f"{text}/")
    except httpx.InvalidURL:
        url = httpx.URL()
    if url.scheme not in {"http", "https"} or not url.host:
        raise RemoteError(f"{address}: no address of an app, expected http://…, https://… or a Space's owner/name")
    return url


def _host(space_id: str) -> str:
    """The address that a Space is served at. Raises NotYet or RemoteError."""
    from huggingface_hub import space_info
    from huggingface_hub.errors import HFValidationError, HTTPError, OfflineModeIsEnabled, RepositoryNotFoundError

    try:
        space = space_info(space_id)
    except (RepositoryNotFoundError, HFValidationError) as e:
        raise RemoteError(f"{space_id}: no such Space, or a private one that needs `hf auth login`") from e
    except OfflineModeIsEnabled as e:
        raise RemoteError(f"{space_id}: a Space, and HF_HUB_OFFLINE forbids to ask the Hub where it is") from e
    except (HTTPError, OSError) as e:
        raise NotYet(_text(e)) from e
    stage = space.runtime.stage if space.runtime else None
    if stage in BROKEN:
        raise RemoteError(f"{space_id}: the Space is in stage {stage}, expected RUNNING")
    if not space.host:
        raise NotYet(f"stage {stage}, without an address")
    return space.host


def _text(error: Exception) -> str:
    """An error in one line, with its kind where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[-1]
