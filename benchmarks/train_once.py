"""One short training with the real loop, timed: `python -m benchmarks.train_once OctNet --data FOLDER`, which
benchmarks.training starts by `accelerate launch`, too. It prints a line of JSON.
"""

import argparse
import copy
import io
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict, dataclass
from itertools import count, cycle
from pathlib import Path
from typing import ClassVar

import torch
from torch import nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from octhub.octnet import OctNet
from octhub.unet import UNet
from training import dataset, loop, train_octnet, train_unet
from training.arguments import fit_options, natural, positive
from training.classify_task import ClassifyTask
from training.dataset import classification_sets
from training.loop import Task, fit, make_accelerator
from training.samples import CLASS_NAMES, oct2017
from training.segment_task import SegmentTask
from training.split import Splits

MODELS = ("OctNet", "UNet")

READY = "ready batches"


SKIPPED = 4
"""First batches of an epoch that aren't counted: workers start, and get as many batches ready before anybody asks for
them; and libraries prepare what they keep."""


@dataclass(frozen=True)
class Epoch:
    """What the counted batches of an epoch took in this process.

    Attributes:
        seconds: of all.
        waiting: of these, until the next batch was there.
        scans: in all processes.
    """

    seconds: float
    waiting: float
    scans: int

    @property
    def scans_a_second(self) -> float:
        return self.scans / self.seconds


@dataclass(frozen=True)
class Trainee:
    """A model, and what makes its training.

    Attributes:
        args: the training command's, with its defaults.
    """

    model: nn.Module
    task: Task
    args: argparse.Namespace


def octnet(data: Path, scans: int, batch_size: int, workers: int, from_disk: bool = False) -> Trainee:
    """OctNet as training.train_octnet trains it, on the first scans of a folder in OCT2017's layout.

    Args:
        from_disk: read and decode the scans every time, as for sets that are too large for the memory.
    """
    args = train_octnet.parse_args(["--data", str(data), "--out", "-", "--batch-size", str(batch_size)])
    samples = oct2017(data, "train")
    samples = sorted(samples, key=lambda s: (s.path.stem.split("-")[1:], s.label))[:scans]  # of all classes
    with changed(dataset, "MOST_CACHED", 0 if from_disk else dataset.MOST_CACHED):
        sets = classification_sets(
            Splits(samples, samples[:4], 0), args.size, strength=args.augment, seed=0, quiet=True
        )
    model = OctNet(num_classes=len(CLASS_NAMES), dropout=args.dropout, serving=sets[0].serving)
    task = ClassifyTask(
        *sets,
        batch_size=args.batch_size,
        workers=workers,
        label_smoothing=args.label_smoothing,
        mixup=args.mixup,
        balance=args.balance,
        channels_last=args.channels_last,
    )
    return Trainee(model.to(memory_format=task.memory_format), task, args)


def unet(data: Path, crops: int, batch_size: int, workers: int) -> Trainee:
    """UNet as training.train_unet trains it, from a random start."""
    size = ["--crops", str(crops), "--batch-size", str(batch_size)]
    args = train_unet.parse_args(["--data", str(data), "--out", "-", "--encoder", "random", *size])
    splits = train_unet.read_splits(args)
    crops_of = train_unet.make_dataset(args, splits)
    model = UNet(num_classes=len(splits.class_names), encoder=args.backbone, serving=crops_of.serving)
    task = SegmentTask(crops_of, [], batch_size=args.batch_size, workers=workers, balance=args.balance)
    return Trainee(model.to(memory_format=torch.channels_last), task, args)


def trainee(name: str, data: Path, scans: int, batch_size: int, workers: int, from_disk: bool = False) -> Trainee:
    """One of MODELS; see octnet for `from_disk`, which is nothing to a UNet."""
    if name == "OctNet":
        return octnet(data, scans, batch_size, workers, from_disk)
    return unet(data, scans, batch_size, workers)


def with_ready_batches(task: Task) -> Task:
    """The same task, whose batches lie in memory, whatever the loader asks for."""
    batches, there = cycle(list(task.train_loader)), copy.copy(task)
    there.train_loader = DataLoader(
        range(len(task.train_loader.dataset)),
        task.train_loader.batch_size,
        shuffle=True,
        drop_last=True,
        collate_fn=lambda indices: next(batches),
    )
    return there


class WaitingBar(tqdm):
    """The loop's progress bar, silent, which knows how long an epoch took and waited for its batches."""

    skipped: ClassVar[int] = SKIPPED
    last: ClassVar[tuple[float, float, int]]
    """Seconds and seconds of waiting in the last epoch, and its batches; all without the first `skipped`."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **{**kwargs, "disable": True})

    def __iter__(self) -> Iterator:
        batches, began, waiting = super().__iter__(), time.perf_counter(), 0.0
        for number in count():
            if number == self.skipped:
                began, waiting = time.perf_counter(), 0.0
            asked = time.perf_counter()
            batch = next(batches, None)
            waiting += time.perf_counter() - asked
            if batch is None:
                break
            yield batch
        type(self).last = (time.perf_counter() - began, waiting, number - self.skipped)


@contextmanager
def changed(owner: object, name: str, value: object) -> Iterator[None]:
    """A module's or class's name has another value within the context. Raises AttributeError: there is no such name."""
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


def train(trainee: Trainee, *, bf16: bool, cpu: bool, skipped: int = SKIPPED) -> Epoch:
    """Train for an epoch; what it took after the first batches."""
    accelerator = make_accelerator(bf16=bf16, cpu=cpu)
    with (
        tempfile.TemporaryDirectory(prefix="octhub-") as folder,
        changed(loop, "tqdm", WaitingBar),
        changed(loop, "save_state", lambda *state: None),  # hundreds of megabytes after the epoch, for nobody
        changed(WaitingBar, "skipped", skipped),
        redirect_stdout(io.StringIO()),
    ):
        args = argparse.Namespace(**{**vars(trainee.args), "epochs": 1, "out": shared(Path(folder), accelerator)})
        fit(trainee.model, trainee.task, fit_options(args), accelerator, keep=lambda best: None)
        accelerator.wait_for_everyone()
    seconds, waiting, batches = WaitingBar.last
    scans = batches * args.batch_size * accelerator.num_processes
    accelerator.free_memory()
    return Epoch(seconds, waiting, scans)


def shared(folder: Path, accelerator) -> Path:
    """The main process's folder, in all processes."""
    from accelerate.utils import broadcast_object_list

    return broadcast_object_list([folder])[0] if accelerator.num_processes > 1 else folder


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.train_once", description=__doc__.splitlines()[0])
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--scans", type=positive, required=True, help="in all processes")
    parser.add_argument("--batch-size", type=positive, required=True, help="a process")
    parser.add_argument("--skipped", type=natural, default=SKIPPED, help="first batches, which don't count")
    parser.add_argument("--cpu", action="store_true")
    parser.add_argument("--bf16", action=argparse.BooleanOptionalAction, default=True)
    args = parser.parse_args(argv)
    made = trainee(args.model, args.data, args.scans, args.batch_size, workers=0)
    found = train(made, bf16=args.bf16, cpu=args.cpu, skipped=args.skipped)
    print("EPOCH " + json.dumps(asdict(found)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
