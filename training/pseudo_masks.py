"""Label scans with trained segmenters, to train the next on: `python -m training.pseudo_masks CHECKPOINT … --out DIR`.

Few scans are annotated, and many are not. A new network that learns, under augmentation, what the mean of its teachers
answered on them sees more eyes than theirs (Xie et al. 2020, "Self-training with Noisy Student"). What the teachers are
unsure of counts as not annotated. The folder is one for `training.train_unet --extra`.
"""

import argparse
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from octhub.mask import UNKNOWN
from octhub.predict import served_logits
from octhub.preprocess import classes_to_scan, preprocess, to_scan
from octhub.scan import read_scan
from octhub.sources import find_scans
from octhub.unet import UNet
from training.arguments import exit_status
from training.masked_scans import CLASSES
from training.samples import DataError


def pseudo_mask(models: Sequence[UNet], pixels: np.ndarray, confidence: float) -> np.ndarray:
    """(H, W) float scan → (H, W) uint8 ids of the likeliest classes in the mean of the models' probabilities; 255 where
    no class has more than `confidence`."""
    total = 0
    for model in models:
        input, box = preprocess(pixels, model.serving)
        total = total + served_logits(model, input, model.serving).softmax(0)
    mean = total / len(models)
    mask = classes_to_scan(mean, box, pixels.shape, UNKNOWN)
    sure = to_scan(mean.max(0).values, box, pixels.shape) > confidence
    return np.where(sure, mask, np.uint8(UNKNOWN))


def write(models: Sequence[UNet], scans: Iterable[Path], out: Path, confidence: float) -> int:
    """Copy the scans into out/images and write their masks into out/masks; how many.

    Raises:
        DataError: two scans of one name.
    """
    for name in ("images", "masks"):
        (out / name).mkdir(parents=True, exist_ok=True)
    count = 0
    for scan in tqdm(list(scans), "label", unit="scan"):
        place = f"{scan.stem}_pseudo"  # what stands before the underscore is the subject
        if (out / "masks" / f"{place}.png").exists():
            raise DataError(f"{scan}: {out} has a scan of this name already, expected a new folder and other names")
        mask = pseudo_mask(models, read_scan(scan), confidence)
        shutil.copyfile(scan, out / "images" / f"{place}{scan.suffix.lower()}")
        Image.fromarray(mask).save(out / "masks" / f"{place}.png")
        count += 1
    (out / CLASSES).write_text("\n".join(models[0].serving.class_names) + "\n")
    return count


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.pseudo_masks", description=__doc__.splitlines()[0])
    parser.add_argument("checkpoints", type=Path, nargs="+", help="the teachers, of the same classes")
    parser.add_argument("--scans", type=Path, nargs="+", required=True, help="files and folders of scans")
    parser.add_argument("--out", type=Path, required=True, help="folder to make")
    parser.add_argument("--confidence", type=float, default=0.5, help="leave out less sure pixels (%(default)s)")
    return exit_status(label, parser.parse_args(argv))


def label(args: argparse.Namespace) -> None:
    """The whole command."""
    models = [UNet.from_pretrained(c).to(memory_format=torch.channels_last) for c in args.checkpoints]
    if len({m.serving.class_names for m in models}) > 1:
        raise DataError("the checkpoints have different classes")
    print(f"{write(models, find_scans(args.scans), args.out, args.confidence)} scans labelled in {args.out}")


if __name__ == "__main__":
    sys.exit(main())
