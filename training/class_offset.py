"""How readily to answer a class: `python -m training.class_offset CHECKPOINT --class fluid --data FOLDER --val …`.

Dice makes a rare class likelier than it is, and so outlines too much of it (the class weights of the cross-entropy do,
too, but these are undone: see training.segment_task). This prints what adding a number to the class's logits would do
to validation scans, which must not have trained the checkpoint; `training.train_unet --offset fluid=-1` then does it.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import torch
from tqdm import tqdm

from octhub.mask import UNKNOWN, read_mask
from octhub.metrics import SegmentationScore
from octhub.predict import served_logits
from octhub.preprocess import classes_to_scan, preprocess
from octhub.scan import read_scan
from octhub.serving import ServingConfig
from octhub.unet import UNet
from training.arguments import exit_status
from training.masked_scans import SUBJECT, MaskedScan, annotated, by_subject, check_unseen, masked_scans
from training.samples import DataError
from training.stages import read_training

OFFSETS = (0.0, -0.5, -1.0, -1.5, -2.0, -3.0)


def with_offset(serving: ServingConfig, class_name: str, offset: float) -> ServingConfig:
    """A configuration that adds a number to one class's logits, on top of what it added before.

    Raises:
        DataError: no such class.
    """
    names = serving.class_names
    if class_name not in names:
        raise DataError(f"class {class_name!r}, expected one of {', '.join(names)}")
    offsets = list(serving.logit_offsets or [0.0] * len(names))
    offsets[names.index(class_name)] += offset
    return replace(serving, logit_offsets=tuple(offsets))


def sweep(model: UNet, class_name: str, scans: list[MaskedScan]) -> dict[float, SegmentationScore]:
    """The pooled score of the scans by offset."""
    names, pooled = model.serving.class_names, {}
    one = torch.tensor(with_offset(replace(model.serving, logit_offsets=()), class_name, 1).logit_offsets)[
        :, None, None
    ]
    for scan in tqdm(scans, "offsets", unit="scan", leave=False):
        pixels = read_scan(scan.image)
        truth = read_mask(scan.mask, pixels.shape, names)
        image, box = preprocess(pixels, model.serving)
        logits = served_logits(model, image, model.serving)
        for offset in OFFSETS:
            answer = classes_to_scan(logits + offset * one, box, pixels.shape, UNKNOWN)
            score = SegmentationScore.of(answer, truth, names)
            pooled[offset] = pooled[offset] + score if offset in pooled else score
    return pooled


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.class_offset", description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--class", dest="class_name", required=True)
    parser.add_argument("--data", type=Path, required=True, help="folder of images/ and masks/")
    parser.add_argument("--masks", default="masks", help="its folder of masks (%(default)s)")
    parser.add_argument("--subject", default=SUBJECT, help="regular expression: its first group is a file's subject")
    parser.add_argument("--val", nargs="+", required=True, metavar="SUBJECT", help="the subjects to validate on")
    return exit_status(measure_offsets, parser.parse_args(argv))


def measure_offsets(args: argparse.Namespace) -> None:
    """The whole command."""
    _, scans = by_subject(masked_scans(args.data, masks=args.masks, subject=args.subject), args.val)
    scans = annotated(scans)
    if not scans:
        raise DataError(f"{args.data}: no annotated scan of {', '.join(args.val)}")
    check_unseen(scans, read_training(args.checkpoint), validation=True)
    model = UNet.from_pretrained(args.checkpoint)
    for offset, score in sweep(model, args.class_name, scans).items():
        print(f"{offset:+.1f}: mIoU {score.miou:.4f}, IoU of {args.class_name} {score.iou[args.class_name]:.4f}")


if __name__ == "__main__":
    sys.exit(main())
