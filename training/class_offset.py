"""How readily to answer a class: `python -m training.class_offset CHECKPOINT --class fluid --data FOLDER --val …`.

A weighted loss and Dice both make a rare class likelier than it is, and so outline too much of it. This prints what
adding a number to the class's logits would do to validation subjects' scans, whose subjects the checkpoint must not
have been trained on; `training.train_unet --offset fluid=-1` then does it.
"""

import argparse
import json
import sys
from pathlib import Path

import torch
from tqdm import tqdm

from octhub.hub import CheckpointError
from octhub.mask import UNKNOWN, read_mask
from octhub.metrics import SegmentationScore, confusion_matrix
from octhub.preprocess import classes_to_scan, preprocess
from octhub.scan import ScanError, read_scan
from octhub.unet import UNet
from training.masked_scans import SUBJECT, MaskedScan, by_subject, masked_scans
from training.samples import DataError

OFFSETS = (0.0, -0.5, -1.0, -1.5, -2.0, -3.0)


def add_offset(model: UNet, class_name: str, offset: float) -> None:
    """Add a number to one class's logits, in place: the finest score is the last to be added, so its bias takes it.

    Raises:
        DataError: the model has no such class.
    """
    names = model.serving.class_names
    if class_name not in names:
        raise DataError(f"class {class_name!r}, expected one of {', '.join(names)}")
    with torch.no_grad():
        model.decoder[-1].score.bias[names.index(class_name)] += offset


def sweep(model: UNet, class_name: str, scans: list[MaskedScan]) -> dict[float, SegmentationScore]:
    """The pooled score of the scans by offset."""
    names = model.serving.class_names
    if class_name not in names:
        raise DataError(f"class {class_name!r}, expected one of {', '.join(names)}")
    wanted, pooled = names.index(class_name), {}
    for scan in tqdm(scans, "offsets", unit="scan", leave=False):
        pixels = read_scan(scan.image)
        truth = read_mask(scan.mask, pixels.shape, names)
        image, box = preprocess(pixels, model.serving)
        with torch.inference_mode():
            logits = model(image[None])[0]
        for offset in OFFSETS:
            shifted = logits.clone()
            shifted[wanted] += offset
            answer = classes_to_scan(shifted, box, pixels.shape, UNKNOWN)
            score = SegmentationScore(confusion_matrix(answer, truth, len(names)), names)
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
    args = parser.parse_args(argv)
    try:
        record = args.checkpoint / "training.json"
        trained = json.loads(record.read_text())["train"]["subjects"] if record.is_file() else []
        if leaked := sorted(set(trained) & set(args.val)):
            raise DataError(
                f"{args.checkpoint}: trained on {', '.join(leaked)}, expected other subjects to validate on"
            )
        _, scans = by_subject(masked_scans(args.data, masks=args.masks, subject=args.subject), args.val)
        model = UNet.from_pretrained(args.checkpoint)
        for offset, score in sweep(model, args.class_name, scans).items():
            print(f"{offset:+.1f}: mIoU {score.miou:.4f}, IoU of {args.class_name} {score.iou[args.class_name]:.4f}")
    except (DataError, CheckpointError, ScanError) as e:
        print(f"error: {e}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
