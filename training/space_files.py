"""Every file of the Gradio Space, made from the repository.

The app, what it imports and reads, the examples and the licence; README.md with the Space's settings, and models.json,
which pins the checkpoints. The checkpoints themselves aren't among them: the Space's builder fetches them from the Hub.
"""

import ast
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

from octhub.pins import PINS
from training.space_card import APP, PinnedModel, space_card

ROOT = Path(__file__).resolve().parent.parent

WHOLE = ("examples", "LICENSE", "requirements.txt")
"""What is shipped beside the app and what it imports: files, and folders with all that they hold."""


def space_files(
    classifier: PinnedModel, segmenter: PinnedModel, root: Path = ROOT, *, space_id: str | None = None
) -> dict[str, bytes]:
    """Path in the Space → content.

    Args:
        root: a clone of the repository. Only what git has is shipped.
        space_id: the Space's "owner/name", for README.md's example of a call.

    Raises:
        ValueError: README.md's front matter doesn't fit a Space.
    """
    known = tracked(root)
    needed = app_files(root, known) | {path for path in known if path.split("/")[0] in WHOLE}
    files = {path: (root / path).read_bytes() for path in sorted(needed)}
    card = space_card(classifier, segmenter, root, space_id)
    pins = {"classifier": classifier.source, "segmenter": segmenter.source}
    return {**files, "README.md": str(card).encode(), PINS: json.dumps(pins, indent=2).encode() + b"\n"}


def tracked(root: Path) -> set[str]:
    """The files of a clone that git has: what merely lies about, such as somebody's scan, is nobody else's."""
    command = ["git", "ls-files", "-z", "--cached"]
    listed = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout
    return {path for path in listed.split("\0") if path and (root / path).is_file() and not (root / path).is_symlink()}


def app_files(root: Path, known: set[str]) -> set[str]:
    """app.py, the modules beside it that it imports, the files that one of these names, and whole packages."""
    found, ahead = set(), [APP]
    while ahead:
        path = ahead.pop()
        if path in found:
            continue
        found.add(path)
        if "/" in path or not path.endswith(".py"):
            continue
        tree = ast.parse((root / path).read_bytes(), path)
        for name in imports(tree):
            ahead += (p for p in known if p == f"{name}.py" or p.startswith(f"{name}/"))
        ahead += known & set(file_names(tree))
    return found


def imports(tree: ast.AST) -> Iterator[str]:
    """The top-level names of all that a module imports, in functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module.partition(".")[0]


def file_names(tree: ast.AST) -> Iterator[str]:
    """A module's strings that may name a file; without a dot they are words, such as "test"."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and "." in node.value:
            yield node.value
