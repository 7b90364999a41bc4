"""Train OctNet: `python -m training.train_octnet --data OCT2017_FOLDER --out runs/octnet`.

The same command runs on a laptop's CPU, on one GPU, and under `accelerate launch` on many.
"""

import argparse
import json
import platform
import sys
from dataclasses import replace
from pathlib import Path

import torch
from tqdm import tqdm

from octhub import __version__
from octhub.metrics import classification_metrics
from octhub.octnet import OctNet
from octhub.serving import ServingConfig
from training.audit import patients_crossing
from training.calibrate import fit_temperature
from training.classify_task import ClassifyTask, counts, predict
from training.dataset import ScanDataset, normalisation
from training.loop import OPTIMIZERS, SCHEDULES, FitOptions, fit, make_accelerator
from training.plots import plot_confusion, plot_history
from training.samples import CLASS_NAMES, EXTRAS, DataError, Sample, digest, oct2017
from training.split import hold_out

NOT_RECIPE = {"data", "extra", "out", "resume", "no_cache", "workers", "cpu"}
"""Arguments that don't decide the result, or are recorded elsewhere; training.json keeps the others."""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m training.train_octnet", description=__doc__.splitlines()[0])
    data = parser.add_argument_group("data")
    data.add_argument(
        "--data", type=Path, required=True, help="folder in OCT2017's layout: train/CLASS/CLASS-PATIENT-N.jpeg"
    )
    data.add_argument(
        "--extra", type=Path, nargs="*", default=[], help=f"more labelled scans: folders named {', '.join(EXTRAS)}"
    )
    data.add_argument(
        "--val-fraction",
        type=float,
        default=0.12,
        help="share of patients held out, unless --data has val/ and --use-val",
    )
    data.add_argument("--use-val", action="store_true", help="validate on the release's own val/ folder")
    data.add_argument("--size", type=int, nargs=2, default=(160, 320), metavar=("HEIGHT", "WIDTH"))
    data.add_argument("--no-cache", action="store_true", help="don't keep decoded scans in memory (0.3 MB each)")
    recipe = parser.add_argument_group("recipe")
    recipe.add_argument("--epochs", type=int, default=60)
    recipe.add_argument("--batch-size", type=int, default=32, help="a process")
    recipe.add_argument("--optimizer", choices=OPTIMIZERS, default="adamw")
    recipe.add_argument("--lr", type=float, default=2e-3)
    recipe.add_argument("--weight-decay", type=float, default=0.05)
    recipe.add_argument("--schedule", choices=SCHEDULES, default="onecycle")
    recipe.add_argument("--ema", type=float, default=0.998, help="decay of the averaged weights")
    recipe.add_argument("--label-smoothing", type=float, default=0.05)
    recipe.add_argument("--mixup", type=float, default=0.2, help="alpha of mixup; 0 for none")
    recipe.add_argument("--balance", type=float, default=1.0, help="power of the inverse class counts in the loss")
    recipe.add_argument("--augment", type=float, default=1.0, help="strength of the augmentation; 0 for none")
    recipe.add_argument("--dropout", type=float, default=0.5)
    recipe.add_argument("--seed", type=int, default=0)
    run = parser.add_argument_group("run")
    run.add_argument("--out", type=Path, required=True)
    run.add_argument("--resume", action="store_true", help="continue from the last state in --out")
    run.add_argument("--bf16", action="store_true", help="bfloat16 autocast")
    run.add_argument("--channels-last", action=argparse.BooleanOptionalAction, default=True)
    run.add_argument("--workers", type=int, default=2, help="processes that load data")
    run.add_argument("--cpu", action="store_true", help="stay on the CPU")
    return parser.parse_args(argv)


def load_splits(args: argparse.Namespace) -> tuple[list[Sample], list[Sample], int]:
    """(training samples, validation samples, how many were left out of both).

    No patient is on two sides: scans of the test split's patients are left out of training and validation (the
    official release has such patients), and validation patients' scans out of training.

    Raises:
        DataError: bad layout, unknown extra, or nothing left to train on.
    """
    train = oct2017(args.data, "train")
    for folder in args.extra:
        if folder.name not in EXTRAS:
            raise DataError(f"{folder}: unknown extra set, expected a folder named {', '.join(EXTRAS)}")
    test = oct2017(args.data, "test") if (args.data / "test").is_dir() else []
    tested = {s.patient for s in test}
    found = len(train)
    train = [s for s in train if s.patient not in tested]
    if args.use_val:
        val = [s for s in oct2017(args.data, "val") if s.patient not in tested]
    else:
        train, val = hold_out(train, args.val_fraction, args.seed)
    barred = tested | {s.patient for s in val}
    train = [s for s in train if s.patient not in barred]
    left_out = found - len(train) - (0 if args.use_val else len(val))
    for folder in args.extra:
        train += [s for s in EXTRAS[folder.name](folder) if s.patient not in barred]
    if not train or not val:
        raise DataError(
            f"{args.data}: {len(train)} training and {len(val)} validation scans are left, expected some of each"
        )
    if crossing := patients_crossing({"train": train, "val": val, "test": test}):
        raise DataError(f"{args.data}: {len(crossing)} patients are in more than one split, expected none")
    return train, val, left_out


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    try:
        train, val, left_out = load_splits(args)
    except DataError as e:
        print(f"error: {e}", file=sys.stderr)
        return 2
    accelerator = make_accelerator(bf16=args.bf16, cpu=args.cpu, seed=args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(args.seed)
    serving = ServingConfig(CLASS_NAMES, tuple(args.size))
    mean, std = normalisation(train, serving)
    serving = replace(serving, mean=(mean,), std=(std,))
    model = OctNet(num_classes=len(CLASS_NAMES), dropout=args.dropout, serving=serving)
    if args.channels_last:
        model = model.to(memory_format=torch.channels_last)
    train_set = ScanDataset(train, serving, strength=args.augment, seed=args.seed, cache=not args.no_cache)
    val_set = ScanDataset(val, serving, cache=not args.no_cache)
    for dataset in (train_set, val_set):
        dataset.warm(
            lambda indices: tqdm(indices, "reading scans", disable=not accelerator.is_main_process, leave=False)
        )
    task = ClassifyTask(
        train_set,
        val_set,
        batch_size=args.batch_size,
        workers=args.workers,
        label_smoothing=args.label_smoothing,
        mixup=args.mixup,
        balance=args.balance,
        channels_last=args.channels_last,
    )
    accelerator.print(f"train {counts(train)}, val {counts(val)}")
    if left_out:
        accelerator.print(f"left out {left_out} training scans of patients who are in test or validation, too")
    options = FitOptions(
        args.out,
        args.epochs,
        args.optimizer,
        args.lr,
        args.weight_decay,
        args.schedule,
        args.ema,
        seed=args.seed,
        resume=args.resume,
    )
    checkpoint = args.out / "checkpoint"
    try:
        progress = fit(model, task, options, accelerator, keep=lambda best: best.save_pretrained(checkpoint))
    except (FileExistsError, FloatingPointError) as e:
        print(f"error: {e}", file=sys.stderr)
        return 2

    best = OctNet.from_pretrained(checkpoint, map_location=str(accelerator.device))
    logits, targets = predict(best, task.val_loader, accelerator)
    if accelerator.is_main_process:
        best.set_serving(replace(serving, temperature=fit_temperature(logits, targets)))
        best.save_pretrained(checkpoint)
        val_metrics = report(args.out, best.serving, progress.history, logits, targets)
        record = {
            "architecture": "OctNet",
            "octhub": __version__,
            "torch": torch.__version__,
            "hardware": f"{accelerator.num_processes} {accelerator.device.type} process(es), {platform.machine()}",
            "seconds": round(sum(row["seconds"] for row in progress.history), 1),
            "recipe": {k: v for k, v in sorted(vars(args).items()) if k not in NOT_RECIPE},
            "left_out": left_out,
            "extra": [p.name for p in args.extra],
            "train": {"counts": counts(train), "sha256": digest(train)},
            "val": {"counts": counts(val), "sha256": digest(val), "metrics": val_metrics},
            "best_epoch": max(progress.history, key=lambda row: row["val_score"])["epoch"],
        }
        (checkpoint / "training.json").write_text(json.dumps(record, indent=2) + "\n")
        print(f"saved in {checkpoint}")
    accelerator.end_training()
    return 0


def report(
    out: Path, serving: ServingConfig, history: list[dict[str, float]], logits: torch.Tensor, targets: torch.Tensor
) -> dict:
    """Draw the curves and the validation's confusion matrix; print and return the validation's metrics."""
    metrics = classification_metrics((logits / serving.temperature).softmax(1), targets, serving.class_names)
    plot_history(history, out / "curves.png")
    plot_confusion(metrics["confusion_matrix"], serving.class_names, out / "confusion-val.png", "validation")
    print(f"validation accuracy {metrics['accuracy']:.4f}, temperature {serving.temperature}")
    return metrics


if __name__ == "__main__":
    sys.exit(main())
