"""Pretrain a U-Net's encoder on labelled scans: `python -m training.pretrain_encoder --data OCT2017_FOLDER --out …`.

For where ImageNet's weights can't be had, or to compare with them: the encoder learns to tell CNV, DME, drusen and
normal, and `encoder.safetensors` starts `training.train_unet --encoder`.
"""

import argparse
import json
import sys
from pathlib import Path

import timm
import torch

from octhub.whole_files import save_tensors, write_whole
from training.arguments import exit_status, fit_options, optimisation_arguments, recorded, run_arguments
from training.classify_task import ClassifyTask, counts
from training.dataset import classification_sets
from training.encoder_start import RECORD
from training.loop import device_name, fit, make_accelerator
from training.samples import CLASS_NAMES, EXTRAS, digest
from training.split import training_splits

FILE = "encoder.safetensors"
"""In the run's folder: the encoder's tensors, named as timm names them, without the classifier's last layer."""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m training.pretrain_encoder", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data", type=Path, required=True, help="folder in OCT2017's layout: train/CLASS/CLASS-PATIENT-N.jpeg"
    )
    parser.add_argument(
        "--extra", type=Path, nargs="*", default=[], help=f"more labelled scans: folders named {', '.join(EXTRAS)}"
    )
    parser.add_argument("--val-fraction", type=float, default=0.1, help="share of scans held out, by patient")
    parser.add_argument("--size", type=int, nargs=2, default=(160, 320), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--encoder", default="resnet34", help="name of a timm model")
    optimisation_arguments(parser, epochs=14, batch_size=32, lr=1e-3, weight_decay=0.05, ema=0.99)
    run_arguments(parser)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    return exit_status(pretrain, parse_args(argv))


def pretrain(args: argparse.Namespace) -> None:
    """Train the encoder under a linear classifier; write its tensors and a record under args.out."""
    splits = training_splits(args.data, args.extra, val_fraction=args.val_fraction, use_val=False, seed=args.seed)
    accelerator = make_accelerator(bf16=args.bf16, cpu=args.cpu, seed=args.seed)
    accelerator.print(f"train {counts(splits.train)}, val {counts(splits.val)}")
    args.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(args.seed)
    train_set, val_set = classification_sets(
        splits, args.size, strength=1, seed=args.seed, quiet=not accelerator.is_main_process
    )
    model = timm.create_model(args.encoder, in_chans=1, num_classes=len(CLASS_NAMES))
    if args.channels_last:
        model = model.to(memory_format=torch.channels_last)
    task = ClassifyTask(
        train_set,
        val_set,
        batch_size=args.batch_size,
        workers=args.workers,
        label_smoothing=0.05,
        mixup=0.0,
        balance=1.0,
        channels_last=args.channels_last,
    )
    data = {"train": digest(splits.train), "val": digest(splits.val)}
    progress = fit(
        model,
        task,
        fit_options(args),
        accelerator,
        keep=lambda best: save_encoder(best, args.out / FILE),
        identity={**recorded(args), **data},
    )
    if accelerator.is_main_process:
        best = max(progress.history, key=lambda row: row["val_score"])
        record = {
            "task": "the classes of OCT2017's scans",
            "encoder": args.encoder,
            "hardware": f"{accelerator.num_processes} × {device_name(accelerator.device)}",
            "seconds": round(sum(row["seconds"] for row in progress.history), 1),
            "epochs": args.epochs,
            "val_accuracy": best["val_accuracy"],
            "recipe": recorded(args),
            "data": args.data.resolve().name,
            "extra": [p.name for p in args.extra],
            **data,
        }
        write_whole(args.out / RECORD, json.dumps(record, indent=2) + "\n")
        print(f"saved in {args.out / FILE}")
    accelerator.end_training()


def save_encoder(model: torch.nn.Module, path: Path) -> None:
    """Store a timm classifier's tensors without its last layer."""
    head = tuple(f"{name}." for name, module in model.named_modules() if module is model.get_classifier())
    save_tensors(path, {k: v for k, v in model.state_dict().items() if not k.startswith(head)})


if __name__ == "__main__":
    sys.exit(main())
