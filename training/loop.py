"""The training loop that every model shares: accelerate, EMA, exact resume."""

import json
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration, broadcast, set_seed
from timm.optim import create_optimizer_v2
from timm.utils import ModelEmaV3
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, OneCycleLR
from torch.utils.data import DataLoader
from tqdm import tqdm

from octhub.whole_files import write_whole
from training.states import RunError, clear_leftovers, last_state, load_state, save_state

OPTIMIZERS = ("adamw", "adam", "rmsprop", "sgd")
SCHEDULES = ("onecycle", "cosine", "constant")

IDENTITY, HISTORY = "run.json", "history.json"
"""In the run's folder: what the run was started with, and the figures of its epochs."""


@dataclass(frozen=True)
class FitOptions:
    """How to train.

    Attributes:
        out: folder for states, history.json and the best weights.
        epochs: passes over the training data.
        optimizer, lr, weight_decay, schedule: of OPTIMIZERS and SCHEDULES; lr is the peak of the schedule.
        ema: decay of the exponential moving average of the weights, a step, reached by a warm-up from 0; the
            average is what is validated and kept.
        clip: largest norm of the gradient.
        seed: of weights, order, augmentation and dropout.
        resume: continue from the last whole state in `out`.
    """

    out: Path
    epochs: int = 60
    optimizer: str = "adamw"
    lr: float = 2e-3
    weight_decay: float = 0.05
    schedule: str = "onecycle"
    ema: float = 0.998
    clip: float = 1.0
    seed: int = 0
    resume: bool = False


class Task(Protocol):
    """What is particular to a model: its data and what is good."""

    train_loader: DataLoader

    def start_epoch(self, epoch: int) -> None:
        """Called in every process before an epoch's first batch."""

    def loss(self, model: nn.Module, batch) -> tuple[torch.Tensor, float]:
        """The loss of a batch, and the accuracy to show on the progress bar."""

    def validate(self, model: nn.Module, accelerator: Accelerator) -> dict[str, float]:
        """Figures on the validation split; "score" is the one to choose by, the higher the better."""


@dataclass
class Progress:
    """Where a run stands.

    Attributes:
        epoch: how many are over.
        best: the highest validation score.
        best_epoch: which epoch had it; 0 before there is one.
        history: an epoch's figures each.
    """

    epoch: int = 0
    best: float = float("-inf")
    best_epoch: int = 0
    history: list[dict[str, float]] = field(default_factory=list)


def make_accelerator(*, bf16: bool = False, cpu: bool = False, seed: int = 0) -> Accelerator:
    """One process or many, CPU or GPU, as `accelerate launch` or the machine says.

    The sampler is seeded by epoch, so that a resumed run sees the scans in the order it would have seen.
    """
    return Accelerator(
        mixed_precision="bf16" if bf16 else "no",
        cpu=cpu,
        dataloader_config=DataLoaderConfiguration(use_seedable_sampler=True, data_seed=seed),
    )


def fit(
    model: nn.Module,
    task: Task,
    options: FitOptions,
    accelerator: Accelerator,
    keep: Callable[[nn.Module], None],
    identity: dict | None = None,
) -> Progress:
    """Train; call `keep` with the averaged model in the main process whenever the validation score is the best yet.

    A state is written whole after each epoch, then renamed; killed at any point, the run continues from the
    last one, on a CPU with the same number of processes to the same weights as an uninterrupted run. What is kept
    follows the state, and is kept again when that is resumed, so that it is never of an epoch that no state knows.
    `out` must be a folder that all machines share.

    Args:
        keep: replaces what it kept before, whole or not at all.
        identity: whatever else makes this run what it is (recipe, digests of the data); a run resumes only itself.

    Raises:
        RunError: `out` holds another run, or nothing to resume, or a state that is damaged or can't be written.
        OSError: something else can't be written.
        FloatingPointError: the loss is not finite.
    """
    optimizer = create_optimizer_v2(
        model, opt=options.optimizer, lr=options.lr, weight_decay=options.weight_decay, momentum=0.9
    )
    model = model.to(accelerator.device)
    ema = ModelEmaV3(model, decay=options.ema, use_warmup=True, device=accelerator.device)
    model, optimizer, loader = accelerator.prepare(model, optimizer, task.train_loader)
    schedule = make_schedule(optimizer, options, len(loader))
    identity = {
        **{k: v for k, v in vars(options).items() if k not in ("out", "resume")},
        "batches": len(loader),
        "processes": accelerator.num_processes,
        **(identity or {}),
    }
    progress = _begin(options, identity, accelerator, schedule, ema)
    if accelerator.is_main_process and progress.epoch:
        _record(options.out, progress, ema, keep)
    accelerator.wait_for_everyone()

    while progress.epoch < options.epochs:
        epoch = progress.epoch
        started = time.perf_counter()
        # Dropout and mixup repeat on resume, and differ by process
        entropy = np.random.SeedSequence((options.seed, epoch, accelerator.process_index))
        set_seed(int(entropy.generate_state(1)[0]))
        loader.set_epoch(epoch)
        task.start_epoch(epoch)
        name = f"epoch {epoch + 1}/{options.epochs}"
        bar = tqdm(loader, name, disable=not accelerator.is_main_process, leave=False)
        done = epoch * len(loader)
        loss, accuracy = _train_epoch(model, task, bar, optimizer, schedule, ema, done, options, accelerator)
        seconds = time.perf_counter() - started
        broadcast(list(ema.module.buffers()))  # each process's batch norms saw batches of their own
        figures = task.validate(ema.module.eval(), accelerator)
        row = {
            "epoch": epoch + 1,
            "lr": schedule.get_last_lr()[0],
            "loss": loss,
            "accuracy": accuracy,
            "seconds": round(seconds, 2),
            **{f"val_{k}": v for k, v in figures.items()},
        }
        accelerator.print(
            " ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()), flush=True
        )
        progress.history.append(row)
        progress.epoch += 1
        if row["val_score"] > progress.best:
            progress.best, progress.best_epoch = row["val_score"], progress.epoch
        accelerator.wait_for_everyone()
        save_state(accelerator, options.out, ema.module, {**vars(progress), "schedule": schedule.state_dict()})
        if accelerator.is_main_process:
            _record(options.out, progress, ema, keep)
        accelerator.wait_for_everyone()
    return progress


def _begin(options: FitOptions, identity: dict, accelerator: Accelerator, schedule, ema: ModelEmaV3) -> Progress:
    """Take up the last state if the run is to be resumed, else write down what it is. Raises RunError."""
    state = last_state(options.out)
    if state and not options.resume:
        raise RunError(f"{options.out}: holds the state of an earlier run; resume it, or choose another folder")
    if options.resume and not state:
        begun = (options.out / IDENTITY).is_file()
        why = "the run there was stopped in its first epoch: start it again, without --resume" if begun else ""
        raise RunError(f"{options.out}: no state to resume, {why or 'expected a folder state-…'}")
    progress = Progress()
    if state:
        check_identity(options.out, identity, whole=True)
        stored = load_state(accelerator, state, ema.module)
        schedule.load_state_dict(stored.pop("schedule"))
        progress = Progress(**stored)
        accelerator.print(f"resumed after epoch {progress.epoch} from {state}")
    if accelerator.is_main_process:
        clear_leftovers(options.out)
        if not state:
            write_whole(options.out / IDENTITY, json.dumps(identity, indent=1))
    return progress


def _record(out: Path, progress: Progress, ema: ModelEmaV3, keep: Callable[[nn.Module], None]) -> None:
    """What follows a state, after it was written and again after it was read: then the run may have been killed before
    all of it was done."""
    write_whole(out / HISTORY, json.dumps(progress.history, indent=1))
    if progress.best_epoch == progress.epoch:
        keep(ema.module)


def _train_epoch(
    model: nn.Module,
    task: Task,
    bar: tqdm,
    optimizer,
    schedule,
    ema: ModelEmaV3,
    step: int,
    options: FitOptions,
    accelerator: Accelerator,
) -> tuple[float, float]:
    """One pass over the batches; the main process's mean loss and accuracy. `step` counts the batches before."""
    model.train()
    losses, accuracies = [], []
    for batch in bar:
        step += 1
        with accelerator.autocast():
            loss, accuracy = task.loss(model, batch)
        if not torch.isfinite(loss):
            raise FloatingPointError(f"the loss is {loss.item()} at step {step}: lower the learning rate")
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(model.parameters(), options.clip)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        ema.update(accelerator.unwrap_model(model), step)
        losses.append(loss.item())
        accuracies.append(accuracy)
        bar.set_postfix(loss=f"{sum(losses[-20:]) / len(losses[-20:]):.3f}", accuracy=f"{accuracy:.3f}")
    return sum(losses) / len(losses), sum(accuracies) / len(accuracies)


def check_identity(out: Path, identity: dict, *, whole: bool = False) -> None:
    """Refuse to go on with what would be another run.

    Args:
        identity: what this run is started with.
        whole: what the folder holds must say nothing more.

    Raises:
        RunError: the folder's run was started with something else; the message says with what.
    """
    path = out / IDENTITY
    before = json.loads(path.read_text()) if path.is_file() else {}
    now = json.loads(json.dumps(identity))  # tuples become lists
    keys = sorted(before | now) if whole else sorted(now)
    changed = [f"{k} {before.get(k)}, now {now.get(k)}" for k in keys if before.get(k) != now.get(k)]
    if changed:
        raise RunError(f"{out}: holds another run: {'; '.join(changed)}")


def device_name(device: torch.device) -> str:
    """What a process runs on, as a card should name it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} process ({platform.machine()}, {torch.get_num_threads()} threads)"


def make_schedule(optimizer, options: FitOptions, steps_per_epoch: int):
    """The learning rate's course, stepped after every batch."""
    steps = options.epochs * steps_per_epoch
    warm_up = min(0.9, max(0.1, 1.5 / steps))  # share of the steps; it has to take more than one
    inner = getattr(optimizer, "optimizer", optimizer)  # accelerate's wrapper would step once a process
    if options.schedule == "onecycle":
        return OneCycleLR(inner, options.lr, total_steps=steps, pct_start=warm_up, cycle_momentum=False)
    if options.schedule == "cosine":
        return CosineAnnealingLR(inner, steps)
    return LambdaLR(inner, lambda step: 1.0)
