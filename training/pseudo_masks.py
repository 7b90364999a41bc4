"""Label scans with trained segmenters, to train the next on: `python -m training.pseudo_masks CHECKPOINT … --out DIR`.

Few scans are annotated, and many are not. A new network that learns, under augmentation, what the mean of its teachers
answered on them sees more eyes than theirs (Xie et al. 2020, "Self-training with Noisy Student"). What the teachers are
unsure of counts as not annotated. The folder is one for `training.train_unet --extra`.

Where people have annotated one class alone, such as the fluid of scans whose layers nobody traced, `--annotated` makes
theirs the last word on it, and the teachers add the rest.
"""

import argparse
import shutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from octhub.mask import UNKNOWN, read_mask
from octhub.predict import served_logits
from octhub.preprocess import classes_to_scan, preprocess, to_scan
from octhub.scan import read_scan
from octhub.sources import find_scans
from octhub.unet import UNet
from training.arguments import exit_status
from training.masked_scans import CLASSES, split_column
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


@dataclass(frozen=True)
class Annotated:
    """One class that people have annotated in index masks of their own ids.

    Attributes:
        folder: of the masks, each named as its scan.
        class_name: what it is called here.
        ids: what it is there.
    """

    folder: Path
    class_name: str
    ids: tuple[int, ...]

    def of(self, scan: Path, shape: tuple[int, int]) -> np.ndarray:
        """Where the class is in a scan: (H, W) bool, all False where nobody found any.

        Raises:
            MaskError: there is no mask of the scan's size.
        """
        return np.isin(read_mask(self.folder / f"{scan.stem}.png", shape), self.ids)


def with_annotation(mask: np.ndarray, annotated: np.ndarray, class_id: int) -> np.ndarray:
    """Give people the last word on one class; where the teachers alone see it, nothing is known.

    Args:
        mask: (H, W) uint8, the teachers'.
        annotated: (H, W) bool, the people's.
    """
    doubtful = (mask == class_id) & ~annotated
    return np.select([annotated, doubtful], [np.uint8(class_id), np.uint8(UNKNOWN)], mask)


def write(
    models: Sequence[UNet], scans: Iterable[Path], out: Path, confidence: float, annotated: Annotated | None = None
) -> int:
    """Copy the scans into out/images and write their masks into out/masks; how many.

    With an annotated class, scans are left out in which nobody found it: what the teachers make of them adds nothing.

    Raises:
        DataError: two scans of one name.
        MaskError: an annotated mask is missing, or doesn't fit.
    """
    for name in ("images", "masks"):
        (out / name).mkdir(parents=True, exist_ok=True)
    count = 0
    for scan in tqdm(list(scans), "label", unit="scan"):
        place = f"{scan.stem}_pseudo"  # what stands before the underscore is the subject
        if (out / "masks" / f"{place}.png").exists():
            raise DataError(f"{scan}: {out} has a scan of this name already, expected a new folder and other names")
        pixels = read_scan(scan)
        theirs = None if annotated is None else annotated.of(scan, pixels.shape)
        if theirs is not None and not theirs.any():
            continue
        mask = pseudo_mask(models, pixels, confidence)
        if theirs is not None:
            mask = with_annotation(mask, theirs, models[0].serving.class_names.index(annotated.class_name))
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
    parser.add_argument("--table", type=Path, help="CSV (columns image, split): only scans of split=train")
    parser.add_argument("--annotated", type=Path, metavar="MASKS", help="folder of index masks of these scans, and")
    parser.add_argument(
        "--annotated-class",
        type=class_and_ids,
        metavar="CLASS=ID,ID",
        help="the class that they annotate, and its ids there; other scans are left out",
    )
    return exit_status(label, parser.parse_args(argv))


def class_and_ids(text: str) -> tuple[str, tuple[int, ...]]:
    """CLASS=ID,ID, for argparse."""
    name, _, ids = text.rpartition("=")
    if not name:
        raise argparse.ArgumentTypeError(f"{text!r}, expected CLASS=ID,ID")
    return name, tuple(map(int, ids.split(",")))


def label(args: argparse.Namespace) -> None:
    """The whole command."""
    models = [UNet.from_pretrained(c).to(memory_format=torch.channels_last) for c in args.checkpoints]
    if len({m.serving.class_names for m in models}) > 1:
        raise DataError("the checkpoints have different classes")
    if bool(args.annotated) != bool(args.annotated_class):
        raise DataError("--annotated and --annotated-class go together")
    annotated = None
    if args.annotated:
        name, ids = args.annotated_class
        if name not in models[0].serving.class_names:
            raise DataError(f"class {name!r}, expected one of {', '.join(models[0].serving.class_names)}")
        annotated = Annotated(args.annotated, name, ids)
    count = write(models, scans_to_label(args), args.out, args.confidence, annotated)
    print(f"{count} scans labelled in {args.out}")


def scans_to_label(args: argparse.Namespace) -> list[Path]:
    """The scans that the arguments name; of those that a table puts into other splits, none."""
    scans = list(find_scans(args.scans))
    if args.table:
        kept = split_column(args.table, "train")
        scans = [s for s in scans if s.stem in kept]
    return scans


if __name__ == "__main__":
    sys.exit(main())
