"""What the training commands share: arguments, and errors as messages."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from octhub.hub import CheckpointError
from octhub.scan import ScanError
from training.loop import OPTIMIZERS, SCHEDULES, FitOptions
from training.samples import DataError
from training.states import RunError

NOT_RECIPE = {"data", "extra", "out", "resume", "workers", "cpu"}
"""Arguments that don't decide the result, or are recorded elsewhere; training.json keeps the others."""


def recorded(args: argparse.Namespace) -> dict:
    """The arguments that make the recipe, sorted by name; of paths, only the last part: the rest is a machine's."""
    kept = {k: v for k, v in sorted(vars(args).items()) if k not in NOT_RECIPE}
    return {k: v.name if isinstance(v, Path) else v for k, v in kept.items()}


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


def optimisation_arguments(group, *, epochs: int, batch_size: int, lr: float, weight_decay: float, ema: float) -> None:
    """How long and by what steps to train; the keywords are the defaults."""
    group.add_argument("--epochs", type=positive, default=epochs)
    group.add_argument("--batch-size", type=positive, default=batch_size, help="a process")
    group.add_argument("--optimizer", choices=OPTIMIZERS, default="adamw")
    group.add_argument("--lr", type=float, default=lr)
    group.add_argument("--weight-decay", type=float, default=weight_decay)
    group.add_argument("--schedule", choices=SCHEDULES, default="onecycle")
    group.add_argument("--ema", type=float, default=ema, help="decay of the averaged weights")


def run_arguments(group) -> None:
    """Where, by which seed and on what to run."""
    group.add_argument("--out", type=Path, required=True)
    group.add_argument("--seed", type=natural, default=0)
    group.add_argument("--resume", action="store_true", help="continue from the last state in --out")
    group.add_argument("--half", action="store_true", help="store the weights in half precision: half the file")
    group.add_argument("--bf16", action="store_true", help="bfloat16 autocast")
    group.add_argument("--channels-last", action=argparse.BooleanOptionalAction, default=True)
    group.add_argument("--workers", type=int, default=2, help="processes that load data")
    group.add_argument("--cpu", action="store_true", help="stay on the CPU")


def fit_options(args: argparse.Namespace) -> FitOptions:
    """The options of the loop from parsed arguments."""
    return FitOptions(
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


def exit_status(command: Callable[[argparse.Namespace], None], args: argparse.Namespace) -> int:
    """Run a command: 0, or 2 with a message for what a user can mend."""
    try:
        command(args)
    except (DataError, ScanError, CheckpointError, RunError, FloatingPointError) as e:
        print(f"error: {e}", file=sys.stderr)
        return 2
    except OSError as e:  # a full disk, above all
        print(f"error: {e.filename}: {e.strerror}" if e.filename else f"error: {e}", file=sys.stderr)
        return 2
    return 0
