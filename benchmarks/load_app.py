"""The app as a process of its own, on loopback, for as long as a benchmark asks it."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

PATIENCE = 180
"""Seconds until the app must answer: it loads its models first."""


@dataclass(frozen=True)
class Running:
    """An app's address, and its process if it is one of this machine."""

    url: str
    pid: int | None = None


@contextmanager
def started(options: Sequence[str], env: dict[str, str] | None = None) -> Iterator[Running]:
    """Start app.py with these options; nobody's environment but `env` changes what it does."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    ours = {k: v for k, v in os.environ.items() if not k.startswith(("OCTHUB_", "GRADIO_", "SPACE_"))}
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory() as home:
        log = Path(home) / "log"
        ours |= {"HF_HUB_OFFLINE": "1", "GRADIO_TEMP_DIR": str(Path(home) / "uploads"), **(env or {})}
        command = [sys.executable, str(ROOT / "app.py"), "--host", "127.0.0.1", "--port", str(port), *options]
        with log.open("w") as out:
            process = subprocess.Popen(command, env=ours, stdout=out, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            _await(url, process, log)
            yield Running(url, process.pid)
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(20)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _await(url: str, process: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=5).read()
            return
        except OSError:
            time.sleep(0.3)
    raise SystemExit(f"the app did not answer:\n{log.read_text()[-2000:]}")
