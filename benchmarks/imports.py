"""What a Python command imports, and how long that takes."""

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

HEAVY = (
    "torch",
    "torchvision",
    "timm",
    "pytorch_grad_cam",
    "sklearn",
    "scipy",
    "matplotlib",
    "pandas",
    "cv2",
    "sympy",
    "gradio",
    "mcp",
    "huggingface_hub",
    "safetensors",
    "PIL",
    "numpy",
)
"""Packages whose import is felt."""

LINE = re.compile(r"import time:\s*(\d+) \|\s*(\d+) \|(\s*)(\S+)")
"""Of `python -X importtime`: microseconds of its own, with what it imports, depth, name."""

TELL = "import sys as _s, json as _j; print('LOADED', _j.dumps(sorted({m.split('.')[0] for m in _s.modules})))"


def python(*arguments: str) -> None:
    """Run Python in the repository's folder, to its end.

    Raises:
        subprocess.CalledProcessError: it failed; what it said is in the message.
    """
    subprocess.run([sys.executable, *arguments], cwd=ROOT, check=True, capture_output=True)


def loaded(code: str) -> dict[str, float]:
    """The packages of HEAVY that a program loads, and seconds that each takes to import by its own modules alone.

    Args:
        code: of the program.
    """
    command = [sys.executable, "-X", "importtime", "-c", f"{code}\n{TELL}"]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    names = json.loads(done.stdout.rpartition("LOADED ")[2])
    own = own_seconds(done.stderr.splitlines())
    return {name: own.get(name, 0.0) for name in HEAVY if name in names}


def own_seconds(lines: Sequence[str]) -> dict[str, float]:
    """Seconds by top-level package, of what `python -X importtime` printed."""
    found: dict[str, float] = {}
    for line in lines:
        if match := LINE.match(line):
            package = match[4].split(".")[0]
            found[package] = found.get(package, 0.0) + int(match[1]) / 1e6
    return found
