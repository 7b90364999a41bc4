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
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.arguments import arguments, number
from benchmarks.bars import Bar, at_least, at_most, told
from benchmarks.report import save, table
from benchmarks.resident import watched
from benchmarks.side_by_side import in_turns
from octhub.__main__ import main as octhub
from octhub.gallery import EXAMPLES
from octhub.hub import DEFAULT_CLASSIFIER, DEFAULT_SEGMENTER
from octhub.predict import Classifier, Segmenter
from octhub.preprocess import preprocess
from octhub.scan import read_scan
from training.arguments import positive

BAR = 80
"""Per cent of the bare model's scans a second, at least."""

FLAT_MB = 100
"""By how much the memory may grow from the first quarter of a run to its end."""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = arguments("folders", __doc__, 3, "the folder, and as many inputs for the bare model")
    parser.add_argument("--scans", type=positive, default=1000, help="in the folder that is classified (%(default)s)")
    parser.add_argument("--segment-scans", type=positive, default=60, help="in the other one (%(default)s)")
    parser.add_argument("--batches", type=positive, nargs="+", default=[1, 2, 4, 8, 16, 32], help="for the bare model")
    parser.add_argument("--classifier", default=DEFAULT_CLASSIFIER, help="checkpoint (%(default)s)")
    parser.add_argument("--segmenter", default=DEFAULT_SEGMENTER, help="checkpoint (%(default)s)")
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
                        command: partial(quietly, [command, str(folder), *map(str, options)]),
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
    record = {"commands": figures, "rounds": args.rounds}
    record["bars"] = [bar.as_dict() for bar in bars(figures)]
    print(f"{readme(record)}\n\n{told(record['bars'])}")
    save("folders", record, "cpu", args.results)
    return 0


def bars(figures: dict[str, Any]) -> Iterator[Bar]:
    """What is expected of both commands."""
    for name, f in figures.items():
        grown = f["memory_mb"]["end"] - f["memory_mb"]["first_quarter"]
        yield at_least(f"`octhub {name}`, of the bare model's scans a second", 100 * f["share_of_bare"], BAR, " %")
        yield at_most(f"memory by which `octhub {name}` grows after the first quarter", grown, FLAT_MB, " MB")


def readme(record: dict[str, Any]) -> str:
    """README.md's table."""
    header = ["a folder", "scans", "bare model, scans/s (batch)", "command, scans/s", "share", "memory, MB"]
    rows = [
        [
            f"`octhub {name}`",
            f["scans"],
            f"{number(f['bare_scans_a_second'])} ({f['best_batch']})",
            number(f["scans_a_second"]),
            f"{f['share_of_bare']:.0%}",
            " → ".join(number(f["memory_mb"][key]) for key in ("first_quarter", "end")),
        ]
        for name, f in record["commands"].items()
    ]
    return table(header, rows)


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


if __name__ == "__main__":
    sys.exit(main())
