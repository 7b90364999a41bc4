"""A process that loads from a HubServer and publishes to it, as a user's would: huggingface_hub reads its endpoint at
import."""

import contextlib
import hashlib
import importlib
import io
import json
import subprocess
import sys
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent

QUICK = {"HF_HUB_DOWNLOAD_TIMEOUT": "1", "HF_HUB_ETAG_TIMEOUT": "1"}
"""For HubClient's environment, so that a stalled Hub is given up soon."""


def fingerprint(model: torch.nn.Module) -> str:
    """sha256 of a model's logits for fixed noise: equal to the bit or not at all."""
    x = torch.randn(1, 1, 96, 160, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        return hashlib.sha256(model(x).numpy().tobytes()).hexdigest()


class HubClient:
    """Does one thing after another in one process; a context manager.

    Args:
        env: HubServer.environment(…), which holds the cache; more variables may be added.
    """

    def __init__(self, env: dict[str, str]):
        paths = f"{ROOT}:{ROOT / 'tests'}"
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            env=env | {"PYTHONPATH": paths, "PYTHONWARNINGS": "ignore"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> "HubClient":
        return self

    def __exit__(self, *exception) -> None:
        self._process.stdin.close()
        self._process.wait(timeout=60)

    def load(self, architecture: str, source: str, **kwargs) -> dict:
        """{"fingerprint": …} of the loaded model, or {"error": …}: a CheckpointError's message; any other is fatal."""
        return self._ask("load", architecture, source, kwargs)

    def served(self, architecture: str, source: str) -> dict:
        """{"facts", "records" (their names) and "absent"} of octhub.served.Served."""
        return self._ask("served", architecture, source)

    def run(self, module: str, *argv: str) -> subprocess.CompletedProcess:
        """`python -m module argv…`, without starting a new process."""
        return subprocess.CompletedProcess(argv, **self._ask("run", module, argv))

    def _ask(self, *request) -> dict:
        print(json.dumps(request), file=self._process.stdin, flush=True)
        return json.loads(self._process.stdout.readline())


def _load(architecture: str, source: str, kwargs: dict) -> dict:
    import octhub

    try:
        return {"fingerprint": fingerprint(getattr(octhub, architecture).from_pretrained(source, **kwargs))}
    except octhub.CheckpointError as e:
        return {"error": str(e)}


def _served(architecture: str, source: str) -> dict:
    import octhub
    from octhub.served import served

    found = served(getattr(octhub, architecture).from_pretrained(source))
    return {"facts": found.facts(), "page": found.page, "records": sorted(found.records), "absent": dict(found.absent)}


def _run(module: str, argv: list[str]) -> dict:
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        try:
            status = importlib.import_module(module).main(argv)
        except SystemExit as e:  # argparse
            status = e.code
    return {"returncode": status, "stdout": out.getvalue(), "stderr": err.getvalue()}


def main() -> None:
    for line in sys.stdin:
        what, *arguments = json.loads(line)
        print(json.dumps({"load": _load, "served": _served, "run": _run}[what](*arguments)), flush=True)


if __name__ == "__main__":
    main()
