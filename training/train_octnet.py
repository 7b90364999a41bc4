"""Train OctNet: `python -m training.train_octnet --data OCT2017_FOLDER --out runs/octnet`.

The same command runs on a laptop's CPU, on one GPU, and under `accelerate launch` on many.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import torch

from octhub import __version__
from octhub.metrics import classification_metrics
from octhub.octnet import OctNet
from octhub.serving import ServingConfig
from training.arguments import exit_status, fit_options, optimisation_arguments, recorded, run_arguments
from training.calibrate import fit_temperature
from training.checkpoint_folder import replace_checkpoint
from training.classify_task import ClassifyTask, counts
from training.dataset import classification_sets
from training.loop import device_name, fit, make_accelerator
from training.plots import plot_confusion, plot_history
from training.samples import CLASS_NAMES, EXTRAS, digest
from training.split import training_splits


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
    optimisation_arguments(recipe, epochs=75, batch_size=32, lr=2e-3, weight_decay=0.05, ema=0.997)
    recipe.add_argument("--label-smoothing", type=float, default=0.05)
    recipe.add_argument("--mixup", type=float, default=0.0, help="alpha of mixup; 0 for none")
    recipe.add_argument("--balance", type=float, default=1.0, help="power of the inverse class counts in the loss")
    recipe.add_argument("--augment", type=float, default=1.0, help="strength of the augmentation; 0 for none")
    recipe.add_argument("--dropout", type=float, default=0.5)
    run_arguments(parser.add_argument_group("run"))
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    return exit_status(train_and_save, parse_args(argv))


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
    train_set, val_set = classification_sets(
        splits, args.size, strength=args.augment, seed=args.seed, quiet=not accelerator.is_main_process
    )
    serving = train_set.serving
    model = OctNet(num_classes=len(CLASS_NAMES), dropout=args.dropout, serving=serving)
    if args.channels_last:
        model = model.to(memory_format=torch.channels_last)
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
    options = fit_options(args)
    checkpoint, best_so_far = args.out / "checkpoint", args.out / "best"
    recipe = recorded(args)
    data = {"train": digest(splits.train), "val": digest(splits.val)}
    progress = fit(
        model,
        task,
        options,
        accelerator,
        keep=lambda best: replace_checkpoint(best, best_so_far),
        identity={**recipe, **data},
    )

    best = OctNet.from_pretrained(best_so_far, map_location=str(accelerator.device))
    dtype = torch.float16 if args.half else None
    best = best.to(dtype or torch.float32).float()  # what is measured is what is stored
    logits, targets = task.predict_val(best, accelerator)
    if accelerator.is_main_process:
        best.set_serving(replace(serving, temperature=fit_temperature(logits, targets)))
        val_metrics = report(args.out, best.serving, progress.history, logits, targets)
        record = {
            "architecture": "OctNet",
            "octhub": __version__,
            "torch": torch.__version__,
            "hardware": f"{accelerator.num_processes} × {device_name(accelerator.device)}",
            "seconds": round(sum(row["seconds"] for row in progress.history), 1),
            "recipe": recipe,
            "left_out": splits.left_out,
            "data": args.data.resolve().name,
            "extra": [p.name for p in args.extra],
            "train": {"counts": counts(splits.train), "sha256": data["train"]},
            "val": {"counts": counts(splits.val), "sha256": data["val"], "metrics": val_metrics},
            "best_epoch": max(progress.history, key=lambda row: row["val_score"])["epoch"],
        }
        replace_checkpoint(best, checkpoint, dtype, record)
        print(f"saved in {checkpoint}")
    accelerator.end_training()


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
