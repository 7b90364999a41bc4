"""Train OctNet: `python -m training.train_octnet --data OCT2017_FOLDER --out runs/octnet`.

The same command runs on a laptop's CPU, on one GPU, and under `accelerate launch` on many.
"""

import argparse
import json
import platform
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import nn
from torch.utils.data import DataLoader
from torchvision.transforms import v2
from tqdm import tqdm

from octhub import __version__
from octhub.metrics import classification_metrics
from octhub.octnet import OctNet
from octhub.serving import ServingConfig
from training.audit import patients_crossing
from training.calibrate import fit_temperature
from training.dataset import ScanDataset
from training.loop import OPTIMIZERS, SCHEDULES, FitOptions, fit, make_accelerator
from training.plots import plot_confusion, plot_history
from training.samples import CLASS_NAMES, EXTRAS, DataError, Sample, digest, oct2017
from training.split import hold_out

MEAN, STD = 0.22, 0.20
"""Of the windowed intensities of OCT2017's training scans, measured with `--measure-normalisation`."""


class ClassifyTask:
    """Class-weighted cross-entropy with label smoothing and mixup."""

    def __init__(
        self,
        train: ScanDataset,
        val: ScanDataset,
        *,
        batch_size: int,
        workers: int,
        label_smoothing: float,
        mixup: float,
        balance: float,
        channels_last: bool,
    ):
        self.train, self.class_names = train, train.serving.class_names
        self.train_loader = DataLoader(train, batch_size, shuffle=True, drop_last=True, num_workers=workers)
        self.val_loader = DataLoader(val, batch_size)
        self.criterion = nn.CrossEntropyLoss(
            class_weights(train.samples, self.class_names, balance), label_smoothing=label_smoothing
        )
        self.mixup = v2.MixUp(alpha=mixup, num_classes=len(self.class_names)) if mixup else None
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format

    def start_epoch(self, epoch: int) -> None:
        self.train.epoch = epoch

    def loss(self, model: nn.Module, batch) -> tuple[torch.Tensor, float]:
        images, targets = batch
        mixed, soft = self.mixup(images, targets) if self.mixup else (images, targets)
        logits = model(mixed.to(memory_format=self.memory_format)).float()
        return self.criterion.to(logits.device)(logits, soft), (logits.argmax(1) == targets).float().mean().item()

    def validate(self, model: nn.Module, accelerator: Accelerator) -> dict[str, float]:
        logits, targets = predict(model, self.val_loader, accelerator)
        loss = nn.functional.cross_entropy(logits, targets).item()
        accuracy = (logits.argmax(1) == targets).float().mean().item()
        # Accuracy first; among equals the lower loss, which never outweighs one scan.
        return {"loss": loss, "accuracy": accuracy, "score": accuracy - min(loss, 10) / 10 / (2 * len(targets))}


def class_weights(samples: list[Sample], class_names: tuple[str, ...], power: float = 1.0) -> torch.Tensor:
    """(C,) weights of mean 1, each inverse to its class's count, to the `power` (1 balances fully, 0 not at all)."""
    counts = Counter(s.label for s in samples)
    weights = torch.tensor([1 / max(counts[c], 1) for c in class_names]) ** power
    return weights / weights.mean()


@torch.inference_mode()
def predict(model: nn.Module, loader: DataLoader, accelerator: Accelerator) -> tuple[torch.Tensor, torch.Tensor]:
    """(logits (N, C), targets (N,)) of a whole split in every process, float32 on the CPU."""
    loader = accelerator.prepare_data_loader(loader)
    rows = [accelerator.gather_for_metrics((model(images).float(), targets)) for images, targets in loader]
    return torch.cat([r[0] for r in rows]).cpu(), torch.cat([r[1] for r in rows]).cpu()


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


def load_splits(args: argparse.Namespace) -> tuple[list[Sample], list[Sample]]:
    """(train, validation) samples, no patient in both and none of the test split's in either.

    Raises:
        DataError: bad layout, unknown extra, or a patient on two sides.
    """
    train = oct2017(args.data, "train")
    if args.use_val:
        val = oct2017(args.data, "val")
    else:
        train, val = hold_out(train, args.val_fraction, args.seed)
    held = {s.patient for s in val}
    for folder in args.extra:
        if folder.name not in EXTRAS:
            raise DataError(f"{folder}: unknown extra set, expected a folder named {', '.join(EXTRAS)}")
        train = train + [s for s in EXTRAS[folder.name](folder) if s.patient not in held]
    splits = {"train": train, "val": val}
    if (args.data / "test").is_dir():
        splits["test"] = oct2017(args.data, "test")
    crossing = patients_crossing(splits)
    if crossing:
        names = ", ".join(sorted(crossing)[:5])
        raise DataError(f"{args.data}: {len(crossing)} patients are in more than one split ({names} …)")
    return train, val


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    try:
        train, val = load_splits(args)
    except DataError as e:
        print(f"error: {e}", file=sys.stderr)
        return 2
    started = time.perf_counter()
    accelerator = make_accelerator(bf16=args.bf16, cpu=args.cpu, seed=args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(args.seed)
    serving = ServingConfig(CLASS_NAMES, tuple(args.size), (MEAN,), (STD,))
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
        temperature = fit_temperature(logits, targets)
        best.set_serving(replace(serving, temperature=temperature))
        best.save_pretrained(checkpoint)
        metrics = classification_metrics((logits / temperature).softmax(1), targets, CLASS_NAMES)
        plot_history(progress.history, args.out / "curves.png")
        plot_confusion(metrics["confusion_matrix"], CLASS_NAMES, args.out / "confusion-val.png")
        record = {
            "architecture": "OctNet",
            "octhub": __version__,
            "torch": torch.__version__,
            "hardware": f"{accelerator.device.type}, {accelerator.num_processes} processes, {platform.machine()}",
            "seconds": round(sum(row["seconds"] for row in progress.history), 1),
            "wall_seconds_of_last_start": round(time.perf_counter() - started, 1),
            "recipe": {
                k: v
                for k, v in sorted(vars(args).items())
                if not isinstance(v, Path | list) and k not in ("resume", "workers")
            },
            "extra": [p.name for p in args.extra],
            "train": {"counts": counts(train), "sha256": digest(train)},
            "val": {"counts": counts(val), "sha256": digest(val), "metrics": metrics},
            "best_epoch": max(progress.history, key=lambda row: row["val_score"])["epoch"],
        }
        (checkpoint / "training.json").write_text(json.dumps(record, indent=2) + "\n")
        print(f"validation accuracy {metrics['accuracy']:.4f}, temperature {temperature:.3f}, saved in {checkpoint}")
    accelerator.end_training()
    return 0


def counts(samples: list[Sample]) -> dict[str, int]:
    """Scans a class."""
    found = Counter(s.label for s in samples)
    return {c: found[c] for c in CLASS_NAMES}


if __name__ == "__main__":
    sys.exit(main())
