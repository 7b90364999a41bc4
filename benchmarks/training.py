"""Does data keep up with the training, and do processes add up? `python -m benchmarks.training`.

OctNet's and UNet's real training loops, with their usual recipe, beside the same loops with all batches in memory; and
by `accelerate launch`, with one process and with two, of one thread each. An epoch's first batches don't count. Without
--data and --masked, the scans are made up, of real sizes.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks import made_up_data
from benchmarks.arguments import arguments, number
from benchmarks.bars import Bar, at_most, told
from benchmarks.report import save, table
from benchmarks.running_app import ROOT, free_port
from benchmarks.side_by_side import in_turns
from benchmarks.train_once import MODELS, READY, SKIPPED, Epoch, train, trainee, with_ready_batches
from training import train_octnet, train_unet
from training.arguments import natural, positive

WAITING = 10
"""Bar: per cent of the time that a training may wait for data."""

BATCHES = {"OctNet": 12, "UNet": 6}
"""Counted a round, in each process; a third of them where `accelerate launch` starts it anew."""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = arguments("training", __doc__, 2, "each contestant an epoch")
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="in OCT2017's layout, for OctNet")
    parser.add_argument("--masked", type=Path, metavar="FOLDER", help="of images/, masks/ and classes.txt, for UNet")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--workers", type=natural, nargs="+", default=[0, 2], help="processes that load (%(default)s)")
    parser.add_argument("--batches", type=positive, help=f"counted a round {BATCHES}")
    parser.add_argument("--skipped", type=natural, default=SKIPPED, help="first batches, which don't count")
    parser.add_argument("--batch-size", type=positive, help="(by default the training command's)")
    parser.add_argument("--processes", type=positive, nargs="*", default=[1, 2], help="of accelerate (%(default)s)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (%(default)s)")
    parser.add_argument("--bf16", action=argparse.BooleanOptionalAction, default=True, help="as README.md trains")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    record: dict[str, Any] = {"bf16": args.bf16, "threads": torch.get_num_threads(), "data": [], "processes": []}
    with tempfile.TemporaryDirectory(prefix="octhub-") as folder:
        for name in args.models:
            data = data_for(name, args, Path(folder) / name)
            record["data"] += waiting(name, data, args)
            record["processes"] += scaling(name, data, args) if args.processes else ()
    record["bars"] = [bar.as_dict() for bar in bars(record)]
    print(full(record))
    save("training", record, args.device, args.results)
    return 0


def batch_size(name: str, args: argparse.Namespace) -> int:
    """The training command's, unless the arguments say another."""
    module = {"OctNet": train_octnet, "UNet": train_unet}[name]
    return args.batch_size or module.parse_args(["--data", "-", "--out", "-"]).batch_size


def scans_for(name: str, args: argparse.Namespace, processes: int = 0) -> int:
    """Scans of an epoch: the first batches and those that count; of so many processes of `accelerate launch`."""
    counted = args.batches or BATCHES[name]
    if processes:
        counted = -(-counted // 3)
    return (args.skipped + counted) * batch_size(name, args) * max(1, processes)


def data_for(name: str, args: argparse.Namespace, folder: Path) -> Path:
    """What to train on: what the arguments name, or made up."""
    if name == "OctNet":
        most = max(scans_for(name, args, processes) for processes in (0, *args.processes))
        return args.data or made_up_data.labelled(folder, most)
    return args.masked or made_up_data.masked(folder, 6)


def waiting(name: str, data: Path, args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """A model's training from ready batches, and from data; in turns."""
    epochs: dict[str, list[Epoch]] = {}

    def run(what: str, workers: int, from_disk: bool = False) -> float:
        torch.manual_seed(0)
        made = trainee(name, data, scans_for(name, args), batch_size(name, args), workers, from_disk)
        if what == READY:
            made = replace(made, task=with_ready_batches(made.task))
        found = train(made, bf16=args.bf16, cpu=args.device == "cpu", skipped=args.skipped)
        epochs.setdefault(what, []).append(found)
        return found.seconds

    contestants: dict[str, Callable[[], float]] = {READY: partial(run, READY, 0)}
    for workers in args.workers:
        what = f"{workers} workers"
        contestants[what] = partial(run, what, workers)
    if name == "OctNet":
        what = f"{max(args.workers)} workers, from disk"
        contestants[what] = partial(run, what, max(args.workers), True)
    turns = in_turns(contestants, args.rounds, 0, measure=lambda contestant: contestant())
    for what, turn in turns.items():
        yield {
            "model": name,
            "batches": what,
            **turn.as_dict(),
            "scans_a_second": median(e.scans_a_second for e in epochs[what]),
            "waiting": sum(e.waiting for e in epochs[what]) / sum(e.seconds for e in epochs[what]),
        }


def scaling(name: str, data: Path, args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """A model's training by `accelerate launch` with several numbers of processes; each process does as many batches,
    so that the time is the same where processes add up."""
    epochs: dict[int, list[Epoch]] = {}

    def run(processes: int) -> float:
        epochs.setdefault(processes, []).append(launched(name, data, processes, args))
        return 1 / epochs[processes][-1].scans_a_second

    turns = in_turns({str(p): partial(run, p) for p in args.processes}, args.rounds, 0, measure=lambda c: c())
    for processes, turn in zip(args.processes, turns.values(), strict=True):
        yield {
            "model": name,
            "processes": processes,
            **turn.as_dict(),
            "scans_a_second": median(e.scans_a_second for e in epochs[processes]),
        }


def launched(name: str, data: Path, processes: int, args: argparse.Namespace) -> Epoch:
    """What the slowest process of a training took that `accelerate launch` starts.

    Raises:
        RuntimeError: it failed; the message is its own.
    """
    command = ["-m", "accelerate.commands.launch", *launch_arguments(processes)]
    command += ["-m", "benchmarks.train_once", *run_arguments(name, data, processes, args)]
    done = subprocess.run([sys.executable, *command], cwd=ROOT, check=False, capture_output=True, text=True)
    epochs = [Epoch(**json.loads(line[6:])) for line in done.stdout.splitlines() if line.startswith("EPOCH ")]
    if done.returncode or not epochs:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")
    return max(epochs, key=lambda e: e.seconds)


def launch_arguments(processes: int) -> list[str]:
    """Of `accelerate launch`: all that it would otherwise take from the user's configuration."""
    found = ["--num_processes", processes, "--num_machines", 1, "--mixed_precision", "no", "--dynamo_backend", "no"]
    found += ["--num_cpu_threads_per_process", 1, "--main_process_port", free_port()]
    found += ["--multi_gpu"] if processes > 1 else []  # which is how several processes on a CPU are asked for, too
    return list(map(str, found))


def run_arguments(name: str, data: Path, processes: int, args: argparse.Namespace) -> list[str]:
    """Of benchmarks.train_once."""
    found = [name, "--data", data, "--scans", scans_for(name, args, processes), "--batch-size", batch_size(name, args)]
    found += [
        "--skipped",
        args.skipped,
        "--bf16" if args.bf16 else "--no-bf16",
        *(["--cpu"] if args.device == "cpu" else []),
    ]
    return list(map(str, found))


def bars(record: dict[str, Any]) -> Iterator[Bar]:
    for run in record["data"]:
        if run["batches"] != READY:
            yield at_most(f"{run['model']}, {run['batches']}: waiting for data", 100 * run["waiting"], WAITING, " %")


def full(record: dict[str, Any]) -> str:
    """All of a record."""
    return f"{readme(record)}\n\n{told(record['bars'])}"


def readme(record: dict[str, Any]) -> str:
    """README.md's tables."""
    rows = [
        (run["model"], run["batches"], number(run["scans_a_second"]), *speed(run), f"{run['waiting']:.1%}")
        for run in record["data"]
    ]
    tables = [table(("", "batches from", "scans/s", "speed, ready = 1", "quartiles", "waiting for data"), rows)]
    if record["processes"]:
        rows = [
            (run["model"], run["processes"], number(run["scans_a_second"]), *speed(run)) for run in record["processes"]
        ]
        tables.append(table(("", "processes of 1 thread", "scans/s", "speed, first = 1", "quartiles"), rows))
    return "\n\n".join(tables)


def speed(run: dict[str, Any]) -> tuple[str, str]:
    """Relative to the first: the median, and the quartiles."""
    return f"{1 / run['ratio']:.2f}", " to ".join(f"{1 / q:.2f}" for q in reversed(run["ratio_quartiles"]))


if __name__ == "__main__":
    sys.exit(main())
