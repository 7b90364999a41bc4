"""Train UNet on scans with masks: `python -m training.train_unet --data FOLDER --out runs/unet`.

FOLDER holds images/, masks/ (index images of the same names; 255 for what nobody annotated) and classes.txt (one name a
line, in the order of the ids): of the retina, or of any other organ.
"""

import argparse
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from octhub import __version__
from octhub.serving import ServingConfig
from octhub.unet import UNet
from training.arguments import exit_status, fit_options, optimisation_arguments, positive, recorded, run_arguments
from training.checkpoint_folder import replace_checkpoint
from training.class_offset import with_offset
from training.encoder_start import IMAGENET, encoder_start
from training.loop import device_name, fit, make_accelerator
from training.mask_dataset import MaskDataset
from training.masked_scans import (
    CLASSES,
    SUBJECT,
    MaskedScan,
    annotated,
    by_subject,
    draw_subjects,
    image_digests,
    masked_digest,
    masked_scans,
    read_classes,
    split_column,
)
from training.plots import plot_history
from training.samples import DataError, sha256
from training.segment_task import SegmentTask
from training.stages import read_training, stages_before


def data_arguments(data) -> None:
    """Which scans, which masks, who is kept for testing; compare asks the same."""
    data.add_argument("--data", type=Path, required=True, help="folder of images/ and masks/")
    data.add_argument("--masks", default="masks", help="its folder of masks (%(default)s)")
    data.add_argument("--second-masks", help="its folder of another grader's masks")
    data.add_argument("--second-share", type=float, default=0.0, help="share of crops that the other grader labels")
    data.add_argument("--classes", type=Path, help=f"file of class names (by default {CLASSES} in --data)")
    data.add_argument("--subject", default=SUBJECT, help="regular expression: its first group is a file's subject")
    data.add_argument("--test", nargs="*", default=[], metavar="SUBJECT", help="subjects kept for testing")
    data.add_argument("--table", type=Path, help="CSV (columns image, split) whose split=test scans are kept, too")
    data.add_argument("--extra", type=Path, nargs="*", default=[], help="more such folders, to train on alone")
    data.add_argument("--extra-test", nargs="*", default=[], metavar="SUBJECT", help="their subjects kept for testing")
    data.add_argument(
        "--extra-unknown",
        nargs="*",
        default=[],
        metavar="CLASS",
        help="classes that they draw by another convention: there, these and what is near count as not annotated",
    )
    data.add_argument("--extra-share", type=float, default=0.3, help="their share of the crops")


def recipe_arguments(recipe) -> None:
    """How to train; compare asks the same."""
    optimisation_arguments(recipe, epochs=40, batch_size=8, lr=1e-3, weight_decay=0.01, ema=0.995)
    recipe.add_argument("--crops", type=positive, default=300, help="crops an epoch")
    recipe.add_argument("--size", type=positive, nargs=2, default=(496, 384), metavar=("HEIGHT", "WIDTH"))
    recipe.add_argument("--crop", type=positive, nargs=2, default=(256, 256), metavar=("HEIGHT", "WIDTH"))
    recipe.add_argument(
        "--framing",
        choices=("whole", "plain"),
        default="whole",
        help="whole: B-scans, whose white margins and black sides are set aside; plain: any other image, as it is",
    )
    recipe.add_argument("--encoder", default=IMAGENET, help="imagenet, random, or training.pretrain_encoder's file")
    recipe.add_argument("--backbone", default="resnet34", help="timm model that encodes (%(default)s)")
    recipe.add_argument("--balance", type=float, default=0.5, help="power of the inverse class shares in the loss")
    recipe.add_argument(
        "--mirror",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="left and right are alike: flip while training, and serve the mean of an image's and its mirror's answer",
    )
    recipe.add_argument("--augment", type=float, default=1.0, help="strength of the augmentation; 0 for none")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m training.train_unet", description=__doc__.splitlines()[0])
    data = parser.add_argument_group("data")
    data_arguments(data)
    data.add_argument("--val", nargs="*", default=[], metavar="SUBJECT", help="subjects to validate on")
    data.add_argument("--val-fraction", type=float, default=0.0, help="or a share of the subjects to validate on")
    recipe_arguments(parser.add_argument_group("recipe"))
    parser.add_argument("--start", type=Path, help="checkpoint folder of a UNet of the same classes to go on from")
    parser.add_argument(
        "--offset",
        type=class_and_offset,
        nargs="*",
        default=[],
        metavar="CLASS=NUMBER",
        help="add to a class's logits in the end; training.class_offset measures what",
    )
    run_arguments(parser.add_argument_group("run"))
    return parser.parse_args(argv)


def class_and_offset(text: str) -> tuple[str, float]:
    """CLASS=NUMBER, for argparse."""
    name, _, number = text.rpartition("=")
    if not name:
        raise argparse.ArgumentTypeError(f"{text!r}, expected CLASS=NUMBER")
    return name, float(number)


def main(argv: list[str] | None = None) -> int:
    return exit_status(train_and_save, parse_args(argv))


@dataclass(frozen=True)
class MaskedSplits:
    """The scans of each side, and the names of the classes."""

    train: list[MaskedScan]
    val: list[MaskedScan]
    test: list[MaskedScan]
    extra: list[MaskedScan]
    second: list[MaskedScan]
    class_names: tuple[str, ...]
    extra_unknown: tuple[str, ...] = ()


def read_splits(args: argparse.Namespace) -> MaskedSplits:
    """Read the folders that the arguments name, and split them by subject."""
    names = read_classes(args.classes or args.data / CLASSES)
    scans = masked_scans(args.data, masks=args.masks, subject=args.subject)
    kept = split_column(args.table, "test") if args.table else set()
    if args.table and not any(s.image.stem in kept for s in scans):
        raise DataError(f"{args.table}: puts none of the {len(scans)} scans into the split 'test'")
    kept_subjects = {s.subject for s in scans if s.image.stem in kept} | set(args.test)
    rest, test = by_subject(scans, kept_subjects)
    train, val = by_subject(rest, args.val or draw_subjects(rest, args.val_fraction, args.seed))
    second = []
    if args.second_masks and args.second_share:
        second = masked_scans(args.data, masks=args.second_masks, subject=args.subject)
    extra, _ = by_subject([s for folder in args.extra for s in extra_scans(folder, names)], args.extra_test)
    if unknown := set(args.extra_unknown) - set(names):
        raise DataError(f"--extra-unknown {', '.join(sorted(unknown))}: expected a class of {', '.join(names)}")
    train, val, test, extra = (annotated(side) for side in (train, val, test, extra))
    second = [s for s in second if s.image in {t.image for t in train}]
    return MaskedSplits(train, val, test, extra, second, names, tuple(args.extra_unknown))


def extra_scans(folder: Path, class_names: tuple[str, ...]) -> list[MaskedScan]:
    """The scans of a folder that is added to another; if it lists its classes, they have to be the same."""
    listed = folder / CLASSES
    if listed.is_file() and (theirs := read_classes(listed)) != class_names:
        raise DataError(f"{listed}: classes {', '.join(theirs)}, expected {', '.join(class_names)}")
    return masked_scans(folder)


def make_dataset(args: argparse.Namespace, splits: MaskedSplits) -> MaskDataset:
    """The training crops; their `serving` is how a model of them is served."""
    dataset = MaskDataset(
        splits.train,
        ServingConfig(splits.class_names, tuple(args.size), framing=args.framing, mirror=args.mirror),
        crops=args.crops,
        crop=tuple(args.crop),
        extra=splits.extra,
        extra_unknown=splits.extra_unknown,
        extra_share=args.extra_share,
        second_masks=splits.second,
        second_share=args.second_share,
        strength=args.augment,
        seed=args.seed,
    )
    pixels = torch.stack([image for image, _ in dataset.main])
    mean, std = round(pixels.mean().item(), 3), round(pixels.std().item(), 3)
    dataset.serving = replace(dataset.serving, mean=(mean,), std=(std,))
    return dataset


def continue_from(model: UNet, checkpoint: Path) -> str:
    """Give a model another's weights; what to call this start, and what the other's encoder started from.

    Raises:
        CheckpointError: no such checkpoint.
        DataError: its classes or its layout are others.
    """
    other = UNet.from_pretrained(checkpoint)
    names = model.serving.class_names
    if other.serving is None or other.serving.class_names != names:
        raise DataError(f"{checkpoint}: a checkpoint of other classes, expected {', '.join(names)}")
    try:
        model.load_state_dict(other.state_dict())
    except RuntimeError as e:
        raise DataError(f"{checkpoint}: a checkpoint of another layout: {str(e).splitlines()[-1].strip()}") from e
    before = read_training(checkpoint)["recipe"]["encoder"]
    return f"{before}, then a first training (sha256 {sha256(checkpoint / 'model.safetensors')[:16]})"


def train_and_save(args: argparse.Namespace) -> None:
    """The whole run: read, train, and write checkpoint, record and curves under args.out."""
    splits = read_splits(args)
    accelerator = make_accelerator(bf16=args.bf16, cpu=args.cpu, seed=args.seed)
    sides = {"train": splits.train, "val": splits.val, "test": splits.test, "extra": splits.extra}
    for side, scans in sides.items():
        accelerator.print(f"{side}: {len(scans)} scans of {len({s.subject for s in scans})} subjects")
    if unknown := [name for name, _ in args.offset if name not in splits.class_names]:
        raise DataError(f"--offset {', '.join(unknown)}: expected a class of {', '.join(splits.class_names)}")
    args.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(args.seed)
    dataset = make_dataset(args, splits)
    try:
        model = UNet(num_classes=len(splits.class_names), encoder=args.backbone, serving=dataset.serving)
    except ValueError as e:
        raise DataError(f"--backbone: {e}") from e
    if args.start:
        start = continue_from(model, args.start)
        accelerator.print(f"start: {start}")
    else:
        tensors, start = encoder_start(args.encoder, args.backbone, model.in_chans)
        accelerator.print(f"encoder start: {start}")
        if tensors:
            model.load_encoder(tensors)
    before = stages_before(args.start or args.encoder)
    if args.channels_last:
        model = model.to(memory_format=torch.channels_last)
    task = SegmentTask(dataset, splits.val, batch_size=args.batch_size, workers=args.workers, balance=args.balance)
    checkpoint, best_so_far = args.out / "checkpoint", args.out / "best"
    recipe = recorded(args) | {"encoder": start}
    data = {side: masked_digest(scans) for side, scans in sides.items() if scans}
    progress = fit(
        model,
        task,
        fit_options(args),
        accelerator,
        keep=lambda best: replace_checkpoint(best, best_so_far),
        identity={**recipe, **data},
    )
    if accelerator.is_main_process:
        best, serving = UNet.from_pretrained(best_so_far), task.serving
        for name, offset in args.offset:
            serving = with_offset(serving, name, offset)
        best.set_serving(serving)
        plot_history(progress.history, args.out / "curves.png")
        chosen = max(progress.history, key=lambda row: row["val_score"])
        record = {
            "architecture": "UNet",
            "octhub": __version__,
            "torch": torch.__version__,
            "hardware": f"{accelerator.num_processes} × {device_name(accelerator.device)}",
            "seconds": round(sum(row["seconds"] for row in progress.history), 1),
            "before": before,
            "recipe": recipe,
            "data": args.data.resolve().name,
            "extra": [p.name for p in args.extra],
            **{
                "extra_scans" if side == "extra" else side: {
                    "scans": len(scans),
                    "subjects": sorted({s.subject for s in scans}),
                    "sha256": data[side],
                    "images": image_digests(scans),
                }
                for side, scans in sides.items()
                if scans
            },
            "chosen": {k: v for k, v in chosen.items() if k == "epoch" or (splits.val and k.startswith("val_"))},
        }
        replace_checkpoint(best, checkpoint, torch.float16 if args.half else None, record)
        print(f"saved in {checkpoint}")
    accelerator.end_training()


if __name__ == "__main__":
    sys.exit(main())
