"""models.json, which pins what the app serves; a Space has one, the repository none."""

import json
from pathlib import Path

from octhub.hub import CheckpointError

PINS = "models.json"
"""The file's name. It holds one checkpoint for each of MODELS, named as for `from_pretrained`."""

MODELS = ("classifier", "segmenter")


def read_pins(folder: Path) -> dict[str, str]:
    """Model → checkpoint, as `folder`/models.json says; empty where there is no such file.

    Raises:
        CheckpointError: the file isn't as expected.
    """
    path = folder / PINS
    try:
        pins = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as e:
        raise CheckpointError(f"{path}: not JSON: {e}") from e
    if not isinstance(pins, dict) or sorted(pins) != sorted(MODELS):
        found = ", ".join(pins) if isinstance(pins, dict) else f"a {type(pins).__name__}"
        raise CheckpointError(f"{path}: found {found or 'nothing'}, expected {' and '.join(MODELS)}")
    for model, checkpoint in pins.items():
        if not isinstance(checkpoint, str) or not checkpoint:
            raise CheckpointError(f"{path}: {model} is {checkpoint!r}, expected 'owner/name@revision'")
    return pins
