"""The real app in a process of its own, on loopback, and its API over HTTP."""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
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
    """

    url: str
    started: float
    served: float
    log: Path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


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
    with tempfile.TemporaryDirectory(prefix="octhub-", ignore_cleanup_errors=True) as folder:
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("OCTHUB_", "GRADIO_", "SPACE_"))}
        clean |= {"HF_HUB_OFFLINE": "1", "GRADIO_TEMP_DIR": f"{folder}/uploads", "PYTHONUNBUFFERED": "1"}
        clean |= {"OMP_NUM_THREADS": str(threads)} if threads else {}
        log = Path(folder) / "log"
        with log.open("w") as out:
            started = time.time()
            process = subprocess.Popen(
                [sys.executable, *command, "--port", str(port)],
                cwd=ROOT,
                env={**clean, **(env or {})},
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        try:
            url = f"http://127.0.0.1:{port}"
            served = _await(url, process, log)
            yield RunningApp(url, started, served, log)
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _await(url: str, process: subprocess.Popen, log: Path) -> float:
    """When the page was first served."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the app ended:\n{log.read_text()[-2000:]}")
        try:
            if httpx.get(url, timeout=5, trust_env=False).is_success:
                return time.time()
        except httpx.TransportError:
            time.sleep(0.02)
    raise RuntimeError(f"the app served no page within {PATIENCE:g} s:\n{log.read_text()[-2000:]}")


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
