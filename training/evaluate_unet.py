"""Measure a segmenter: `python -m training.evaluate_unet checkpoints/unet-duke-dme --data FOLDER --test SUBJECT …`.

Every scan goes through octhub.Segmenter, the same door as a user's, and is scored at its own size. The figures are
written to the checkpoint's metrics.json, from which its card is rendered anew.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from octhub.hub import CheckpointError
from octhub.mask import read_mask
from octhub.metrics import SegmentationScore, segmentation_metrics
from octhub.predict import Segmenter
from octhub.scan import ScanError
from training.card import write_card
from training.evaluate import record
from training.figures import shown
from training.masked_scans import (
    SUBJECT,
    MaskedScan,
    annotated,
    by_subject,
    check_unseen,
    image_digests,
    masked_digest,
    masked_scans,
    split_column,
)
from training.samples import DataError
from training.stages import read_training


def evaluate(
    answer: Callable[[MaskedScan], np.ndarray], scans: Sequence[MaskedScan], class_names: Sequence[str]
) -> dict:
    """Metrics of `answer`, which gives a scan's (H, W) class ids, against the scans' masks."""
    scores: dict[str, list[SegmentationScore]] = {}
    for scan in tqdm(scans, "evaluate", unit="scan", leave=False):
        ids = answer(scan)
        truth = read_mask(scan.mask, ids.shape, class_names)
        scores.setdefault(scan.subject, []).append(SegmentationScore.of(ids, truth, class_names))
    return segmentation_metrics(scores)


def second_grader(second: Sequence[MaskedScan], class_names: Sequence[str]) -> Callable[[MaskedScan], np.ndarray]:
    """An `answer` for evaluate: what another grader drew."""
    masks = {s.image: s.mask for s in second}
    return lambda scan: read_mask(masks[scan.image], class_names=class_names)


def print_figures(figures: dict, human: dict | None = None) -> None:
    """One line of totals and one for each class; beside them another grader's IoU."""
    print(
        f"mIoU {shown(figures['miou'])}, pixel accuracy {shown(figures['pixel_accuracy'])} "
        f"of {figures['n']} scans of {len(figures['per_subject'])} subjects"
    )
    for name, row in figures["per_class"].items():
        line = f"  {name:14} IoU {shown(row['iou'])} Dice {shown(row['dice'])}"
        print(line + (f" (other grader: IoU {shown(human['per_class'][name]['iou'])})" if human else ""))
    for subject, row in figures["per_subject"].items():
        print(f"  {subject:14} mIoU {shown(row['miou'])} pixel accuracy {shown(row['pixel_accuracy'])}")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.evaluate_unet", description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="folder of images/ and masks/")
    parser.add_argument("--masks", default="masks", help="its folder of masks (%(default)s)")
    parser.add_argument("--second-masks", help="its folder of another grader's masks: the human line")
    parser.add_argument("--subject", default=SUBJECT, help="regular expression: its first group is a file's subject")
    parser.add_argument("--test", nargs="*", metavar="SUBJECT", help="the subjects to measure on")
    parser.add_argument("--table", type=Path, help="or a CSV (columns image, split) whose split=test scans to take")
    parser.add_argument("--name", help="the evaluation's key in metrics.json (by default the folder's name)")
    parser.add_argument("--title", help="the data's name on the card (by default the folder's name)")
    parser.add_argument("--device")
    args = parser.parse_args(argv)
    if not args.test and not args.table:
        parser.error("nothing to measure: give --test or --table")
    args.name, args.title = args.name or args.data.resolve().name, args.title or args.data.resolve().name
    try:
        training = read_training(args.checkpoint)
        folder = {"subject": args.subject}
        scans = masked_scans(args.data, masks=args.masks, **folder)
        if args.table:
            kept = split_column(args.table, "test")
            scans = [s for s in scans if s.image.stem in kept]
        if args.test:
            _, scans = by_subject(scans, args.test)
        scans = annotated(scans)
        if not scans:
            raise DataError(f"{args.data}: no annotated scans to measure on")
        check_unseen(scans, training)
        segmenter = Segmenter.from_pretrained(args.checkpoint, device=args.device)
        names = segmenter.class_names
        figures = evaluate(lambda scan: segmenter(scan.image).mask, scans, names)
        human = None
        if args.second_masks:
            second = masked_scans(args.data, masks=args.second_masks, **folder)
            human = evaluate(second_grader(second, names), scans, names)
    except (DataError, CheckpointError, ScanError) as e:
        print(f"error: {e}", file=sys.stderr)
        return 2
    split = f"subject{'s' * (len(args.test) > 1)} {', '.join(args.test)}" if args.test else "test"
    about = {"data": args.title, "split": split, "split_sha256": masked_digest(scans)}
    record(args.checkpoint, args.name, {**about, **figures, "human": human, "images": image_digests(scans)})
    print_figures(figures, human)
    write_card(args.checkpoint)
    return 0


if __name__ == "__main__":
    sys.exit(main())
