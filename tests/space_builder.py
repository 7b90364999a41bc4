"""The Hub's part in a Space, played on this machine: it builds the Space, and starts it."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from hub_server import HubServer
from huggingface_hub import SpaceCard

from benchmarks.running_app import free_port, serving

SPACE_ID = "owner/octhub"

PRELOAD = """
import sys
from huggingface_hub import hf_hub_download
repo_id, files, revision = sys.argv[1:]
for name in files.split(","):
    hf_hub_download(repo_id, name, revision=revision)
"""


class Space:
    """A Space's home folder: an environment of its own, the Hub cache and the app.

    Attributes:
        python: the environment's interpreter.
        app: the folder of the Space's files.
        env: the Space's variables, without those that the Hub sets.
    """

    def __init__(self, home: Path):
        self.home, self.app = home, home / "app"
        self.python = home / "venv" / "bin" / "python"
        foreign = ("OCTHUB_", "GRADIO_", "SPACE", "HF_", "HUGGING", "PYTHON", "XDG_", "VIRTUAL_ENV")
        ours = {k: v for k, v in os.environ.items() if not k.startswith(foreign) and not k.lower().endswith("_proxy")}
        self.env = ours | {"HOME": str(home)}

    def build(self, files: Mapping[str, bytes], hub: HubServer) -> None:
        """In the Hub's order: requirements.txt, then preload_from_hub, then the files."""
        subprocess.run([sys.executable, "-m", "venv", self.home / "venv"], check=True)
        self.app.mkdir()
        (self.app / "requirements.txt").write_bytes(files["requirements.txt"])
        self.install("-r", str(self.app / "requirements.txt"))
        cache = hub.environment(self.home / ".cache" / "huggingface", token=False)
        for line in SpaceCard(files["README.md"].decode()).data.preload_from_hub:
            subprocess.run([self.python, "-c", PRELOAD, *line.split()], cwd=self.home, env=cache, check=True)
        for name, content in files.items():
            path = self.app / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    def install(self, *what: str) -> None:
        """Uncompiled: most of it is never imported."""
        pip = [self.python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-compile"]
        subprocess.run([*pip, *what], cwd=self.home, check=True)

    @contextmanager
    def running(self, program: str = "app.py", **env: str) -> Iterator[str]:
        """The Space, started as the Hub does: its URL on loopback."""
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        log = self.home / "log"
        given = {"SYSTEM": "spaces", "SPACE_ID": SPACE_ID, "SPACE_HOST": f"{SPACE_ID.replace('/', '-')}.hf.space"}
        given |= {"GRADIO_SERVER_NAME": "0.0.0.0", "GRADIO_SERVER_PORT": str(port), "GRADIO_NUM_PORTS": "1"}
        given |= {"GRADIO_SSR_MODE": "true", "GRADIO_ANALYTICS_ENABLED": "false", "PYTHONUNBUFFERED": "1"}
        with serving([str(self.python), program], url, self.app, {**self.env, **given, **env}, log, patience=400):
            yield url
