"""The real app in a process of its own, on loopback, and its API over HTTP."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).resolve().parent.parent

PATIENCE = 180.0
"""Seconds until a page must be served, or an answer be there."""


@dataclass(frozen=True)
class RunningApp:
    """An app that serves.

    Attributes:
        url: its address.
        started, served: when the process was started and when it first served a page, by time.time().
        log: what it prints.
        pid: of its process.
    """

    url: str
    started: float
    served: float
    log: Path
    pid: int


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def clean_environment(uploads: Path) -> dict[str, str]:
    """This process's, without what would change the app, without a Hub, and with a place for the app's uploads."""
    ours = {k: v for k, v in os.environ.items() if not k.startswith(("OCTHUB_", "GRADIO_", "SPACE_"))}
    return ours | {"HF_HUB_OFFLINE": "1", "GRADIO_TEMP_DIR": str(uploads), "PYTHONUNBUFFERED": "1"}


@contextmanager
def serving(
    command: Sequence[str], url: str, cwd: Path, env: Mapping[str, str], log: Path, patience: float = PATIENCE
) -> Iterator[subprocess.Popen]:
    """A server's process, from its first answer at `url`, within `patience` seconds, to the end of the context.

    Raises:
        RuntimeError: it ended, or served nothing in time.
    """
    with log.open("w") as out:
        options = {"stdout": out, "stderr": subprocess.STDOUT, "start_new_session": True}
        process = subprocess.Popen(command, cwd=cwd, env=env, **options)
    try:
        _await(url, process, log, patience)
        yield process
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(20)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # its forks, which outlive it on ZeroGPU
        process.wait()


def _await(url: str, process: subprocess.Popen, log: Path, patience: float) -> None:
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the app ended:\n{log.read_text()[-2000:]}")
        try:
            if httpx.get(url, timeout=5, trust_env=False).is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.02)
    raise RuntimeError(f"the app did not answer within {patience:g} seconds:\n{log.read_text()[-2000:]}")


@contextmanager
def running_app(
    command: Sequence[str] = ("app.py",), threads: int | None = None, env: Mapping[str, str] | None = None
) -> Iterator[RunningApp]:
    """Start the app with the committed checkpoints and without a Hub; it ends with the context, as do its uploads.

    Args:
        command: what Python runs.
        threads: of each model; by default what PyTorch thinks best.
        env: more of its environment.

    Raises:
        RuntimeError: it ended, or served nothing in time.
    """
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory(prefix="octhub-", ignore_cleanup_errors=True) as folder:
        around = clean_environment(Path(folder, "uploads")) | ({"OMP_NUM_THREADS": str(threads)} if threads else {})
        log, started = Path(folder, "log"), time.time()
        with serving([sys.executable, *command, "--port", str(port)], url, ROOT, {**around, **(env or {})}, log) as app:
            yield RunningApp(url, started, time.time(), log, app.pid)


class Api:
    """An app's API, asked with as little around it as can be: the server's time, not a client's."""

    def __init__(self, url: str):
        self.client = httpx.Client(base_url=f"{url}/gradio_api", timeout=PATIENCE, trust_env=False)

    def upload(self, path: Path) -> dict[str, Any]:
        """Send a file; what stands for it in a question."""
        reply = self.client.post("/upload", files={"files": (path.name, path.read_bytes())})
        return {"path": reply.raise_for_status().json()[0], "meta": {"_type": "gradio.FileData"}}

    def ask(self, endpoint: str, *data: Any) -> list[Any]:
        """An endpoint's answer: JSON, and where its files are.

        Raises:
            RuntimeError: it gave none.
        """
        event = self.client.post(f"/call/{endpoint}", json={"data": data}).raise_for_status().json()["event_id"]
        kind = ""
        with self.client.stream("GET", f"/call/{endpoint}/{event}") as reply:
            for line in reply.iter_lines():
                field, _, value = line.partition(": ")
                if field == "event":
                    kind = value
                elif field == "data" and kind == "complete":
                    return json.loads(value)
                elif field == "data" and kind == "error":
                    raise RuntimeError(f"/{endpoint}: {value}")
        raise RuntimeError(f"/{endpoint}: the stream ended without an answer")

    def download(self, answer: list[Any]) -> int:
        """Fetch all files of an answer; their bytes."""
        files = [part["path"] for part in answer if isinstance(part, dict) and "path" in part]
        return sum(len(self.client.get(f"/file={path}").raise_for_status().content) for path in files)
