"""Train OctNet: `python -m training.train_octnet --data OCT2017_FOLDER --out runs/octnet`.

The same command runs on a laptop's CPU, on one GPU, and under `accelerate launch` on many.
"""

import argparse
import json
import platform
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import torch
from tqdm import tqdm

from octhub import __version__
from octhub.hub import CheckpointError
from octhub.metrics import classification_metrics
from octhub.octnet import OctNet
from octhub.scan import ScanError
from octhub.serving import ServingConfig
from training.calibrate import fit_temperature
from training.classify_task import ClassifyTask, counts
from training.dataset import ScanDataset, normalisation
from training.loop import OPTIMIZERS, SCHEDULES, FitOptions, RunError, fit, make_accelerator
from training.plots import plot_confusion, plot_history
from training.samples import CLASS_NAMES, EXTRAS, DataError, digest
from training.split import training_splits

NOT_RECIPE = {"data", "extra", "out", "resume", "workers", "cpu"}
"""Arguments that don't decide the result, or are recorded elsewhere; training.json keeps the others."""


def natural(text: str) -> int:
    """An integer from 0, for argparse."""
    if (value := int(text)) < 0:
        raise argparse.ArgumentTypeError(f"{value}, expected 0 or more")
    return value


def positive(text: str) -> int:
    """An integer from 1, for argparse."""
    if (value := natural(text)) == 0:
        raise argparse.ArgumentTypeError("0, expected 1 or more")
    return value


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
        default=0.1,
        help="share of scans held out, by patient, unless --data has val/ and --use-val",
    )
    data.add_argument("--use-val", action="store_true", help="validate on the release's own val/ folder")
    data.add_argument("--size", type=int, nargs=2, default=(160, 320), metavar=("HEIGHT", "WIDTH"))
    recipe = parser.add_argument_group("recipe")
    recipe.add_argument("--epochs", type=positive, default=75)
    recipe.add_argument("--batch-size", type=positive, default=32, help="a process")
    recipe.add_argument("--optimizer", choices=OPTIMIZERS, default="adamw")
    recipe.add_argument("--lr", type=float, default=2e-3)
    recipe.add_argument("--weight-decay", type=float, default=0.05)
    recipe.add_argument("--schedule", choices=SCHEDULES, default="onecycle")
    recipe.add_argument("--ema", type=float, default=0.997, help="decay of the averaged weights")
    recipe.add_argument("--label-smoothing", type=float, default=0.05)
    recipe.add_argument("--mixup", type=float, default=0.0, help="alpha of mixup; 0 for none")
    recipe.add_argument("--balance", type=float, default=1.0, help="power of the inverse class counts in the loss")
    recipe.add_argument("--augment", type=float, default=1.0, help="strength of the augmentation; 0 for none")
    recipe.add_argument("--dropout", type=float, default=0.5)
    recipe.add_argument("--seed", type=natural, default=0)
    run = parser.add_argument_group("run")
    run.add_argument("--out", type=Path, required=True)
    run.add_argument("--resume", action="store_true", help="continue from the last state in --out")
    run.add_argument("--half", action="store_true", help="store the weights in half precision: half the file")
    run.add_argument("--bf16", action="store_true", help="bfloat16 autocast")
    run.add_argument("--channels-last", action=argparse.BooleanOptionalAction, default=True)
    run.add_argument("--workers", type=int, default=2, help="processes that load data")
    run.add_argument("--cpu", action="store_true", help="stay on the CPU")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    try:
        train_and_save(args)
    except (DataError, ScanError, CheckpointError, RunError, FloatingPointError) as e:
        print(f"error: {e}", file=sys.stderr)
        return 2
    return 0


def train_and_save(args: argparse.Namespace) -> None:
    """The whole run: read, train, calibrate, and write checkpoint, record and pictures under args.out."""
    splits = training_splits(
        args.data, args.extra, val_fraction=args.val_fraction, use_val=args.use_val, seed=args.seed
    )
    accelerator = make_accelerator(bf16=args.bf16, cpu=args.cpu, seed=args.seed)
    accelerator.print(f"train {counts(splits.train)}, val {counts(splits.val)}")
    if splits.left_out:
        accelerator.print(f"left out {splits.left_out} training scans that leak from test or validation")
    args.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(args.seed)
    serving = ServingConfig(CLASS_NAMES, tuple(args.size))
    mean, std = normalisation(splits.train, serving)
    serving = replace(serving, mean=(mean,), std=(std,))
    model = OctNet(num_classes=len(CLASS_NAMES), dropout=args.dropout, serving=serving)
    if args.channels_last:
        model = model.to(memory_format=torch.channels_last)
    train_set = ScanDataset(splits.train, serving, strength=args.augment, seed=args.seed)
    val_set = ScanDataset(splits.val, serving)
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
    recipe = {k: v for k, v in sorted(vars(args).items()) if k not in NOT_RECIPE}
    data = {"train": digest(splits.train), "val": digest(splits.val)}
    progress = fit(
        model,
        task,
        options,
        accelerator,
        keep=lambda best: replace_checkpoint(best, checkpoint),
        identity={**recipe, **data},
    )

    best = OctNet.from_pretrained(checkpoint, map_location=str(accelerator.device))
    dtype = torch.float16 if args.half else None
    best = best.to(dtype or torch.float32).float()  # what is measured is what is stored
    logits, targets = task.predict_val(best, accelerator)
    if accelerator.is_main_process:
        best.set_serving(replace(serving, temperature=fit_temperature(logits, targets)))
        replace_checkpoint(best, checkpoint, dtype)
        val_metrics = report(args.out, best.serving, progress.history, logits, targets)
        record = {
            "architecture": "OctNet",
            "octhub": __version__,
            "torch": torch.__version__,
            "hardware": f"{accelerator.num_processes} × {device_name(accelerator.device)}",
            "seconds": round(sum(row["seconds"] for row in progress.history), 1),
            "recipe": recipe,
            "left_out": splits.left_out,
            "extra": [p.name for p in args.extra],
            "train": {"counts": counts(splits.train), "sha256": data["train"]},
            "val": {"counts": counts(splits.val), "sha256": data["val"], "metrics": val_metrics},
            "best_epoch": max(progress.history, key=lambda row: row["val_score"])["epoch"],
        }
        (checkpoint / "training.json").write_text(json.dumps(record, indent=2) + "\n")
        print(f"saved in {checkpoint}")
    accelerator.end_training()


def replace_checkpoint(model: OctNet, folder: Path, dtype: torch.dtype | None = None) -> None:
    """Save a model where another may be, whole or not at all; the other's card and figures go with it."""
    partial = folder.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    model.save_pretrained(partial, dtype=dtype)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def device_name(device: torch.device) -> str:
    """What a process runs on, as a card should name it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} process ({platform.machine()}, {torch.get_num_threads()} threads)"


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
