"""Is a checkpoint's folder fit to be published?"""

import json
import re
from pathlib import Path

from huggingface_hub import ModelCard
from PIL import Image
from safetensors import SafetensorError, safe_open

from octhub.hub import CheckpointError
from training import card_check, golden

NEEDED = ("README.md", "config.json", "golden.json", "metrics.json", "model.safetensors", "training.json")

SUFFIXES = (".json", ".md", ".png", ".safetensors")
"""What a checkpoint may hold; above all no pickle, which runs code when it is opened."""

LOCAL_PATH = re.compile(
    r"""file://\S+
    | (?<![\w./~-]) (?: ~ | / (?: home | root | Users | mnt | media | tmp | var | opt | srv | data | work | workspace
                                 | content | private | scratch ) ) / [\w.-]+
    | \b[A-Za-z]:\\[\w.\\-]+""",
    re.VERBOSE,
)
"""A path of somebody's machine; https://host/home/… is none, nor is owner/name."""


def problems(checkpoint: Path) -> list[str]:
    """Everything that speaks against publishing a checkpoint, in words; nothing if it is fit."""
    checkpoint = Path(checkpoint)
    if not checkpoint.is_dir():
        return [f"{checkpoint}: no such folder"]
    found = [f"no {name}" for name in NEEDED if not (checkpoint / name).is_file()]
    for path in sorted(checkpoint.iterdir()):
        if path.is_symlink() or not path.is_file():
            found.append(f"{path.name}: expected plain files only")
        elif path.suffix not in SUFFIXES or path.name.startswith("."):
            found.append(f"{path.name}: expected only {', '.join(SUFFIXES)} (and no pickle)")
        else:
            found += [f"{path.name}: holds a path of this machine, {m!r}" for m in sorted(set(local_paths(path)))]
    if found:
        return found
    try:
        return golden.problems(checkpoint) + _card_problems(checkpoint)
    except CheckpointError as e:
        return [str(e)]


def _card_problems(checkpoint: Path) -> list[str]:
    readme = checkpoint / "README.md"
    text = readme.read_text(encoding="utf-8")
    found = card_check.problems(text, checkpoint) + card_check.stale(text, checkpoint)
    try:
        if not ModelCard.load(readme).data.license:
            found.append("README.md: no license in its front matter")
    except ValueError as e:
        found.append(f"README.md: {e}")
    return found


def local_paths(path: Path) -> list[str]:
    """Paths of somebody's machine in a file's text, or in what a picture or a weights file says about itself."""
    if path.suffix == ".safetensors":
        text = _metadata(path)
    elif path.suffix == ".png":
        with Image.open(path) as image:
            image.load()  # what follows the pixels is read with them
            text = "\n".join(v for v in image.info.values() if isinstance(v, str))
    else:
        text = path.read_text(encoding="utf-8", errors="replace")
    return [m.group() for m in LOCAL_PATH.finditer(text)]


def _metadata(path: Path) -> str:
    """The text beside the tensors in a safetensors file; none if it isn't whole, which loading will say."""
    try:
        with safe_open(path, "pt") as file:
            return json.dumps(file.metadata())
    except SafetensorError:
        return ""
