"""Folders: `python -m benchmarks.folders`.

Scans a second of `octhub classify` and `segment`, files in and tables out, in turns with the bare model at its best
batch on inputs that are ready in memory; and whether the memory stays flat.
"""

import argparse
import contextlib
import io
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import torch

from benchmarks.report import save, table
from benchmarks.side_by_side import in_turns
from octhub.__main__ import main as octhub
from octhub.gallery import EXAMPLES
from octhub.hub import DEFAULT_CLASSIFIER, DEFAULT_SEGMENTER
from octhub.predict import Classifier, Segmenter
from octhub.preprocess import preprocess
from octhub.scan import read_scan

BAR = 0.8
"""Of the bare model's scans a second, at least."""

FLAT_MB = 100
"""By how much the memory may grow from the first quarter of a run to its end."""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.folders", description=__doc__.splitlines()[0])
    parser.add_argument("--scans", type=int, default=1000, help="in the folder that is classified")
    parser.add_argument("--segment-scans", type=int, default=60, help="in the folder that is segmented")
    parser.add_argument(
        "--batches", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32], help="that the bare model tries"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--classifier", default=DEFAULT_CLASSIFIER)
    parser.add_argument("--segmenter", default=DEFAULT_SEGMENTER)
    parser.add_argument("--data", type=Path, default=EXAMPLES, help="folder of JPEGs, repeated as often as it takes")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    scans = sorted(args.data.rglob("*.jpeg"))
    classifier, segmenter = Classifier.from_pretrained(args.classifier), Segmenter.from_pretrained(args.segmenter)
    mirrored = 2 if segmenter.serving.mirror else 1
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as temp:
        for command, count, predictor, images, options in (
            ("classify", args.scans, classifier, 1, ["--csv", f"{temp}/table.csv", "--classifier", args.classifier]),
            (
                "segment",
                args.segment_scans,
                segmenter,
                mirrored,
                ["--out", f"{temp}/out", "--segmenter", args.segmenter],
            ),
        ):
            folder = repeated(scans, count, Path(temp, command))
            inputs = torch.stack([preprocess(read_scan(path), predictor.serving)[0] for path in scans])
            batch = best_batch(predictor, inputs, args.batches)
            ready = inputs.repeat(-(-batch // len(inputs)), 1, 1, 1)[:batch]
            with watched() as memory:
                turns = in_turns(
                    {
                        "bare model": partial(bare, predictor, ready, count * images),
                        command: lambda c=command, f=folder, o=options: quietly(
                            lambda: octhub([c, str(f), *map(str, o)])
                        ),
                    },
                    args.rounds,
                    warm_up=0,
                )
            figures[command] = {
                "scans": count,
                "images_a_scan": images,
                "best_batch": batch,
                "bare_scans_a_second": count / turns["bare model"].median,
                "scans_a_second": count / turns[command].median,
                "share_of_bare": 1 / turns[command].ratio,
                "memory_mb": {"first_quarter": memory.early(), "end": memory.late(), "peak": memory.peak()},
                "turns": {name: timing.as_dict() for name, timing in turns.items()},
            }
    print(told(figures))
    save("folders", figures)
    return 0


def told(figures: dict[str, Any]) -> str:
    """The table, and the bars beneath it."""
    header = ["command", "scans", "bare model, scans/s", "at batch", "command, scans/s", "share", "memory"]
    rows = [
        [
            name,
            f["scans"],
            f"{f['bare_scans_a_second']:.1f}",
            f["best_batch"],
            f"{f['scans_a_second']:.1f}",
            f"{f['share_of_bare']:.2f}",
            " → ".join(f"{f['memory_mb'][key]:.0f}" for key in ("first_quarter", "end")) + " MB",
        ]
        for name, f in figures.items()
    ]
    lines = [table(header, rows)]
    for name, f in figures.items():
        share, grown = f["share_of_bare"], f["memory_mb"]["end"] - f["memory_mb"]["first_quarter"]
        lines.append(f"{name}: {share:.0%} of the bare model, at least {BAR:.0%}: {met(share >= BAR)}")
        lines.append(f"{name}: memory grew by {grown:.0f} MB, at most {FLAT_MB}: {met(grown <= FLAT_MB)}")
    return "\n".join(lines)


def met(is_so: bool) -> str:
    """A bar, in a word."""
    return "met" if is_so else "missed"


def repeated(scans: list[Path], count: int, folder: Path) -> Path:
    """A folder of `count` files, each a copy of one of the scans."""
    folder.mkdir()
    for i in range(count):
        source = scans[i % len(scans)]
        shutil.copyfile(source, folder / f"{i:05d}{source.suffix}")
    return folder


def bare(predictor: Classifier | Segmenter, inputs: torch.Tensor, count: int) -> None:
    """The model alone, on at least `count` inputs that are ready, a batch (B, C, H, W) after the other."""
    x = inputs.to(predictor.device, memory_format=torch.channels_last)
    with torch.inference_mode():
        for _ in range(-(-count // len(x))):
            predictor.model(x).float().sum().item()


def best_batch(predictor: Classifier | Segmenter, inputs: torch.Tensor, batches: list[int]) -> int:
    """The batch size of most inputs a second."""
    most = max(batches)
    many = inputs.repeat(-(-most // len(inputs)), 1, 1, 1)
    turns = in_turns({str(b): partial(bare, predictor, many[:b], most) for b in batches}, rounds=3, warm_up=1)
    images = {b: b * -(-most // b) for b in batches}  # a batch that doesn't divide `most` does more
    return max(batches, key=lambda b: images[b] / turns[str(b)].median)


def quietly(command: list[str]) -> None:
    """Run octhub's command line without what it prints."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as said:
        status = octhub(command)
    if status:
        raise RuntimeError(f"octhub ended with status {status}: {said.getvalue()[-500:]}")


class Memory:
    """This process's resident memory in MB, as it went."""

    def __init__(self):
        self.samples: list[float] = []

    def early(self) -> float:
        """The most in the first quarter."""
        return max(self.samples[: max(1, len(self.samples) // 4)])

    def late(self) -> float:
        """The most in the last tenth."""
        return max(self.samples[-max(1, len(self.samples) // 10) :])

    def peak(self) -> float:
        return max(self.samples)


@contextlib.contextmanager
def watched(every: float = 0.2) -> Iterator[Memory]:
    """Sample the memory during a block."""
    memory, process, over = Memory(), psutil.Process(), threading.Event()

    def sample() -> None:
        while True:
            memory.samples.append(process.memory_info().rss / 1e6)
            if over.wait(every):
                return

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield memory
    finally:
        over.set()
        thread.join()


if __name__ == "__main__":
    sys.exit(main())
