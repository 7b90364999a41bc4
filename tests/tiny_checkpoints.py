"""Small untrained checkpoints with all that a training and an evaluation write, for the tests of cards and audits."""

import json
from pathlib import Path

import torch
from synthetic_masks import CLASS_NAMES as LAYERS

from octhub import OctNet, ServingConfig, UNet
from training import evaluate, evaluate_unet
from training.classify_task import counts
from training.masked_scans import by_subject, image_digests, masked_digest, masked_scans
from training.samples import CLASS_NAMES, digest
from training.split import training_splits

RUN = {"octhub": "0.1.0", "torch": "2.9.0", "hardware": "1 × cpu process", "seconds": 12.3}


def tiny_octnet(folder: Path, data: Path) -> Path:
    """An OctNet "trained" on `data`, in OCT2017's layout, and measured on its test scans."""
    torch.manual_seed(0)
    layout = {"channels": (4, 4, 4, 4, 4, 8), "hidden": (8, 8), "num_classes": 4}
    OctNet(**layout, serving=ServingConfig(CLASS_NAMES, (64, 128))).save_pretrained(folder)
    splits = training_splits(data, val_fraction=0.25)
    sides = {"train": splits.train, "val": splits.val}
    recipe = {"epochs": 2, "val_fraction": 0.25, "use_val": False, "seed": 0}
    recipe |= {"label_smoothing": 0.05, "optimizer": "adamw", "lr": 0.002}
    record = {"architecture": "OctNet", **RUN, "recipe": recipe, "data": data.name, "extra": [], "left_out": 0}
    record |= {side: {"counts": counts(those), "sha256": digest(those)} for side, those in sides.items()}
    record["val"]["metrics"] = {"accuracy": 0.25}
    write(folder, {**record, "best_epoch": 2})
    assert evaluate.main([str(folder), "--data", str(data), "--device", "cpu"]) == 0
    return folder


def tiny_unet(folder: Path, scans: Path, **record: object) -> Path:
    """A UNet "trained" on all but S04's `scans`, and measured on these; `record` is added to training.json."""
    torch.manual_seed(0)
    layout = {"num_classes": len(LAYERS), "encoder": "resnet10t", "decoder_channels": (16, 8, 8, 8, 8)}
    UNet(**layout, serving=ServingConfig(LAYERS, (64, 96), framing="whole")).save_pretrained(folder)
    train, test = by_subject(masked_scans(scans), ["S04"])
    sides = {
        side: {
            "scans": len(those),
            "subjects": sorted({s.subject for s in those}),
            "sha256": masked_digest(those),
            "images": image_digests(those),
        }
        for side, those in (("train", train), ("test", test))
    }
    recipe = {"epochs": 2, "crops": 8, "crop": [64, 64], "balance": 0.5, "optimizer": "adamw", "lr": 0.001}
    recipe |= {"encoder": "random", "seed": 0}
    about = {"architecture": "UNet", **RUN, "before": [], "recipe": recipe, "data": scans.name, "extra": []}
    write(folder, {**about, **sides, **record})
    assert evaluate_unet.main([str(folder), "--data", str(scans), "--test", "S04", "--device", "cpu"]) == 0
    return folder


def write(folder: Path, record: dict) -> None:
    (folder / "training.json").write_text(json.dumps(record))
