"""What a checkpoint answers to a made-up B-scan, recorded when it is made: `python -m training.golden CHECKPOINT`.

Whoever publishes it, elsewhere or later, can so tell that weights, configuration and code still belong together.
"""

import argparse
import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

from octhub import CheckpointError, UNet, __version__
from octhub.architectures import load
from octhub.predict import served_logits
from octhub.preprocess import preprocess
from octhub.whole_files import write_whole
from training.arguments import exit_status

GOLDEN = "golden.json"
"""In a checkpoint's folder."""

TOLERANCE = 0.01
"""How far a logit may be off: other processors and releases of torch add in another order, by 1e-4 or so; a
percentile or a resizing that is done differently moves them by more."""

GRID = 8
"""Of a segmenter's logits, those of GRID×GRID pixels are kept."""


def made_up_scan() -> np.ndarray:
    """(496, 768) uint8: bright, curved, speckled layers over a dark ground, by whole numbers alone, so that it has the
    same bytes everywhere."""
    y, x = np.mgrid[:496, :768].astype(np.int64)
    depth = y - 180 - (x - 384) ** 2 // 2500
    layers = np.array([24, 150, 96, 120, 80, 104, 60, 190, 210, 40])
    brightness = layers[np.where(depth < 0, 0, np.clip(depth // 18 + 1, 1, len(layers) - 1))]
    speckle = (x * 73856093 ^ y * 19349663) // 32 % 41
    hole = (x - 300) ** 2 + 4 * (y - 250) ** 2 < 1600
    return np.where(hole, 20, brightness + speckle - 20).clip(0, 255).astype(np.uint8)


def outputs(model: nn.Module) -> np.ndarray:
    """A served model's logits for the made-up scan: (C,) of a classifier, temperature and all; (C, GRID, GRID) of a
    segmenter."""
    input, _ = preprocess(made_up_scan().astype(np.float32) / 255, model.serving)
    if isinstance(model, UNet):
        logits = served_logits(model, input, model.serving)
        rows, columns = (torch.linspace(0, n - 1, GRID + 2).round().long()[1:-1] for n in logits.shape[1:])
        return logits[:, rows][:, :, columns].numpy()
    with torch.inference_mode():
        return (model(input[None])[0] / model.serving.temperature).numpy()


def record(checkpoint: Path) -> None:
    """Write what a checkpoint's model answers into its folder.

    Raises:
        CheckpointError: it can't be loaded, or isn't served.
    """
    model = load(Path(checkpoint))
    if model.serving is None:
        raise CheckpointError(f"{checkpoint}: no serving configuration")
    golden = {
        "octhub": __version__,
        "torch": torch.__version__,
        "scan": _digest(),
        "tolerance": TOLERANCE,
        "logits": np.round(outputs(model), 4).tolist(),
    }
    write_whole(Path(checkpoint) / GOLDEN, json.dumps(golden) + "\n")


def problems(checkpoint: Path) -> list[str]:
    """What keeps a checkpoint from answering as it did when it was made; nothing if it does.

    Raises:
        CheckpointError: it can't be loaded.
    """
    path, model = Path(checkpoint) / GOLDEN, load(Path(checkpoint))
    if model.serving is None:
        return ["config.json: no serving configuration, so nobody could run it on a scan"]
    try:
        golden = json.loads(path.read_text(encoding="utf-8"))
        expected, tolerance = np.array(golden["logits"], dtype=np.float64), float(golden["tolerance"])
    except OSError:
        return [f"no {GOLDEN}; `python -m training.golden` records it, from a checkpoint that is known to be good"]
    except (ValueError, KeyError, TypeError) as e:
        return [f"{GOLDEN} can't be read: {type(e).__name__} {e}"]
    if golden.get("scan") != _digest():
        return [f"{GOLDEN} was recorded on another scan than the one that is made up now"]
    return _difference(outputs(model), expected, tolerance)


def _difference(found: np.ndarray, expected: np.ndarray, tolerance: float) -> list[str]:
    if found.shape != expected.shape:
        return [f"{GOLDEN} holds logits of shape {expected.shape}, the model gives {found.shape}"]
    off = float(np.abs(found - expected).max())
    if not off <= tolerance:
        return [f"the model's logits differ from {GOLDEN}'s by up to {off:.4g}, expected at most {tolerance}"]
    return []


def _digest() -> str:
    return hashlib.sha256(made_up_scan().tobytes()).hexdigest()


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.golden", description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    return exit_status(record_and_tell, parser.parse_args(argv))


def record_and_tell(args: argparse.Namespace) -> None:
    """The whole command."""
    record(args.checkpoint)
    print(f"recorded in {args.checkpoint / GOLDEN}")


if __name__ == "__main__":
    sys.exit(main())
