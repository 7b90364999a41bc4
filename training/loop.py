"""The training loop that every model shares: accelerate, EMA, exact resume."""

import json
import platform
import shutil
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

from octhub.hub import CheckpointMixin

OPTIMIZERS = ("adamw", "adam", "rmsprop", "sgd")
SCHEDULES = ("onecycle", "cosine", "constant")


IDENTITY = "run.json"
"""In the run's folder: what the run was started with."""


class RunError(ValueError):
    """A run that can't start or continue in its folder."""


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
    """Where a run stands; accelerate stores it with the rest of the state."""

    epoch: int = 0
    best: float = float("-inf")
    history: list[dict[str, float]] = field(default_factory=list)

    def state_dict(self) -> dict:
        return dict(vars(self))

    def load_state_dict(self, state: dict) -> None:
        vars(self).update(state)


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
    last one, on a CPU with the same number of processes to the same weights as an uninterrupted run. `out` must be a
    folder that all machines share.

    Args:
        identity: whatever else makes this run what it is (recipe, digests of the data); a run resumes only itself.

    Raises:
        RunError: `out` holds another run, or nothing to resume.
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
    progress = Progress()
    accelerator.register_for_checkpointing(ema, schedule, progress)
    state = last_state(options.out)
    if state and not options.resume:
        raise RunError(f"{options.out}: holds the state of an earlier run; resume it, or choose another folder")
    if options.resume and not state:
        raise RunError(f"{options.out}: no state to resume, expected a folder state-…")
    if state:
        check_identity(options.out, identity, whole=True)
        accelerator.load_state(str(state))
        accelerator.print(f"resumed after epoch {progress.epoch} from {state}")
    elif accelerator.is_main_process:
        (options.out / IDENTITY).write_text(json.dumps(identity, indent=1))

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
            progress.best = row["val_score"]
            if accelerator.is_main_process:
                keep(ema.module)
        accelerator.wait_for_everyone()
        _save_state(accelerator, options.out, progress)
    return progress


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


def last_state(out: Path) -> Path | None:
    """The newest whole state under `out`, or None."""
    return max((p for p in Path(out).glob("state-*") if p.suffix != ".tmp"), default=None)


def _save_state(accelerator: Accelerator, out: Path, progress: Progress) -> None:
    state = out / f"state-{progress.epoch:05d}"
    partial = state.with_suffix(".tmp")
    accelerator.save_state(str(partial))
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        (out / "history.json").write_text(json.dumps(progress.history, indent=1))
        partial.rename(state)
        for old in out.glob("state-*"):
            if old != state:
                shutil.rmtree(old)
    accelerator.wait_for_everyone()


def replace_checkpoint(model: CheckpointMixin, folder: Path, dtype: torch.dtype | None = None) -> None:
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
