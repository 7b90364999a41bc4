"""What came before a training: an encoder's pretraining, an earlier training. A record names them and their cost.

Weights are told by the first 16 digits of their file's sha256, as the recipe's `encoder` names them.
"""

import json
import re
from pathlib import Path

from training.encoder_start import IMAGENET, RANDOM, RECORD
from training.samples import DataError, sha256

WEIGHTS = re.compile(r"sha256 ([0-9a-f]{16})")
"""In a recipe's `encoder`: weights that the training went on from, or that those went on from."""

TRAINED_ON = ("data", "extra", "train", "val", "extra_scans")
"""Of an earlier training's record: whose scans it saw."""


def read_training(checkpoint: Path) -> dict:
    """A checkpoint's training.json.

    Raises:
        DataError: there is none.
    """
    path = checkpoint / "training.json"
    if not path.is_file():
        raise DataError(f"{checkpoint}: no training.json, expected a checkpoint that octhub's training wrote")
    return json.loads(path.read_text(encoding="utf-8"))


def stages_before(source: str | Path) -> list[dict]:
    """The stages that end in a checkpoint's folder or an encoder's file, first to last; none for a name such as
    imagenet.

    Returns:
        dicts of what, sha256, seconds and hardware (both None if nothing tells them), and what is known of the scans.

    Raises:
        DataError: a folder without training.json.
    """
    path = Path(source)
    if path.is_dir():
        training = read_training(path)
        own = {"what": "an earlier training", "sha256": sha256(path / "model.safetensors")[:16]}
        own |= {key: training[key] for key in ("seconds", "hardware", *TRAINED_ON) if key in training}
        return [*recorded_stages(training), own]
    if not path.is_file():
        return []
    record = path.with_name(RECORD)
    known = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {}
    stage = {"what": "pretraining of the encoder", "sha256": sha256(path)[:16], "seconds": None, "hardware": None}
    return [stage | known]


def recorded_stages(training: dict) -> list[dict]:
    """What a training.json says about the stages before it; where it says nothing, but there were some, one stage that
    nothing is known of."""
    if "before" in training:
        return training["before"]
    start = started_from(training)
    if start.split(":")[0] in (IMAGENET, RANDOM):  # "random: ImageNet's weights can't be downloaded …", too
        return []
    return [{"what": f"what this went on from: {start}", "sha256": None, "seconds": None, "hardware": None}]


def started_from(training: dict) -> str:
    """What a training's encoder started from; a classifier starts at random."""
    return training["recipe"].get("encoder", RANDOM)
