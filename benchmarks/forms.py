"""Which form of a network is fastest on a CPU, and what it costs in agreement: `python -m benchmarks.forms`.

One scan at a time through the network alone, every form in turns with torch as it is. The agreement is of what is
served (probabilities at the checkpoint's temperature; masks with mirror image and offsets) on the example gallery.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from glob import glob
from pathlib import Path
from typing import Any

import torch

from benchmarks.model_forms import FORMS, CannotError, Making, Network
from benchmarks.report import save, table
from benchmarks.side_by_side import in_turns
from octhub import OctNet, ServingConfig, UNet, read_scan
from octhub.export import load
from octhub.gallery import EXAMPLES, Example
from octhub.gallery import load as load_gallery
from octhub.hub import DEFAULT_CLASSIFIER, DEFAULT_SEGMENTER
from octhub.mask import UNKNOWN
from octhub.predict import Segmentation
from octhub.preprocess import classes_to_scan, preprocess

CALIBRATION = 32
"""Scans that int8's ranges are taken from, evenly spread over those there are."""

HEADER = ("form", "threads", "ms", "ratio", "quartiles", "|Δlogit|", "|Δp|", "labels or pixels alike", "mIoU's change")


@dataclass(frozen=True)
class Answer:
    """What a form makes of an example.

    Attributes:
        logits, probabilities: (C,), or (C, h, w) at the network's size.
        classes: the likeliest class, () or at the scan's own size (H, W).
        miou: against the example's mask, if it has one.
    """

    logits: torch.Tensor
    probabilities: torch.Tensor
    classes: torch.Tensor
    miou: float | None = None


def answer(network: Network, example: Example, serving: ServingConfig, segments: bool) -> Answer:
    """Run an example as its model is served, one image at a time."""
    pixels = read_scan(example.path)
    input, box = preprocess(pixels, serving)
    logits = network(input[None])[0]
    if not segments:
        probabilities = (logits / serving.temperature).softmax(0)
        return Answer(logits, probabilities, logits.argmax())
    if serving.mirror:
        logits = (logits + network(input[None].flip(-1))[0].flip(-1)) / 2
    if serving.logit_offsets:
        logits = logits + torch.tensor(serving.logit_offsets)[:, None, None]
    mask = classes_to_scan(logits, box, pixels.shape, UNKNOWN)
    scored = None if example.mask is None else Segmentation(mask, serving.class_names).score(example.mask).miou
    return Answer(logits, logits.softmax(0), torch.from_numpy(mask), scored)


def agreement(found: Sequence[Answer], expected: Sequence[Answer]) -> dict[str, float | None]:
    """Over all examples: the largest difference of a logit and of a probability; the share of labels or pixels that are
    alike; and the mean change of the mean IoU over the examples with a mask, None without any."""
    pairs = list(zip(found, expected, strict=True))
    changes = [a.miou - b.miou for a, b in pairs if b.miou is not None]
    alike = torch.cat([(a.classes == b.classes).flatten() for a, b in pairs])
    return {
        "logit": max(float((a.logits - b.logits).abs().max()) for a, b in pairs),
        "probability": max(float((a.probabilities - b.probabilities).abs().max()) for a, b in pairs),
        "alike": float(alike.float().mean()),
        "miou_change": sum(changes) / len(changes) if changes else None,
    }


def compare(
    model: OctNet | UNet, examples: Sequence[Example], calibration: Sequence[Path], threads: int, args
) -> dict[str, dict[str, Any]]:
    """Make every form with so many threads, measure its agreement, then time all of them in turns."""
    torch.set_num_threads(threads)
    torch._dynamo.reset()  # what was compiled for another number of threads
    segments = isinstance(model, UNet)
    examples = [e for e in examples if (e.segment if segments else e.label) is not None]
    scan = preprocess(read_scan(examples[0].path), model.serving)[0][None]
    prepared = tuple(preprocess(read_scan(path), model.serving)[0][None] for path in calibration)
    figures, networks, expected = {}, {}, None
    first = next(iter(FORMS))
    with tempfile.TemporaryDirectory() as folder:
        making = Making(model, scan, threads, prepared, Path(folder))
        for name, make in FORMS.items():
            if args.only and name != first and not any(word in name for word in args.only):
                continue
            print(f"{type(model).__name__}, {threads} threads: {name}", file=sys.stderr, flush=True)
            try:
                network = make(making)
                answers = [answer(network, e, model.serving, segments) for e in examples]
            except CannotError as e:
                figures[name] = {"absent": str(e)}
                continue
            except Exception as e:  # compilers and quantizers fail in many ways, and the others go on
                figures[name] = {"absent": f"{type(e).__name__}: {e}".strip().splitlines()[0]}
                continue
            expected = expected or answers
            networks[name] = network
            figures[name] = {"agreement": agreement(answers, expected)}
        contestants = {name: lambda network=network: network(scan) for name, network in networks.items()}
        for name, timing in in_turns(contestants, args.rounds).items():
            figures[name] |= timing.as_dict()
    return figures


def rows(figures: dict[str, dict[str, Any]], threads: int) -> list[tuple[Any, ...]]:
    """A table's lines, by HEADER."""
    lines = []
    for name, f in figures.items():
        if "absent" in f:
            lines.append((name, threads, "–", "–", "–", "–", "–", f["absent"][:60], "–"))
            continue
        agrees = f["agreement"]
        change = "–" if agrees["miou_change"] is None else f"{agrees['miou_change']:+.5f}"
        quartiles = "{:.2f}–{:.2f}".format(*f["ratio_quartiles"])
        lines.append(
            (
                name,
                threads,
                f"{1000 * f['seconds']:.1f}",
                f"{f['ratio']:.2f}",
                quartiles,
                f"{agrees['logit']:.1e}",
                f"{agrees['probability']:.1e}",
                f"{agrees['alike']:.4%}",
                change,
            )
        )
    return lines


def spread(pattern: str) -> list[Path]:
    """CALIBRATION of the files that a pattern of names matches, evenly spread; none for ""."""
    found = sorted(Path(name) for name in glob(pattern, recursive=True))
    return found[:: max(1, len(found) // CALIBRATION)][:CALIBRATION]


def main(argv: list[str] | None = None) -> int:
    """Exit status 0; what can't be made is told in the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.forms", description=__doc__)
    parser.add_argument("models", nargs="*", default=[DEFAULT_CLASSIFIER, DEFAULT_SEGMENTER], help="checkpoints (both)")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--only", nargs="+", metavar="WORD", help="forms whose name has one of these words")
    parser.add_argument(
        "--calibrate",
        nargs="+",
        default=[],
        metavar="PATTERN",
        help="for each model: training scans for int8, such as 'duke_dme/images/S0[1-5]*' or 'oct2017/train/**/*.jpeg'",
    )
    parser.add_argument("--examples", type=Path, default=EXAMPLES, metavar="DIR")
    args = parser.parse_args(argv)
    if len(args.calibrate) not in (0, len(args.models)):
        parser.error(f"--calibrate has {len(args.calibrate)} patterns for {len(args.models)} models")
    results = {}
    for i, source in enumerate(args.models):
        model = load(source).requires_grad_(False)
        calibration = spread(args.calibrate[i] if args.calibrate else "")
        lines = []
        for threads in args.threads:
            figures = compare(model, load_gallery(args.examples), calibration, threads, args)
            results.setdefault(Path(source).name, {})[f"{threads} threads"] = figures
            lines += rows(figures, threads)
        print(f"\n{source}\n{table(HEADER, lines)}", flush=True)
    save("forms", {"first": next(iter(FORMS)), "forms": results})
    return 0


if __name__ == "__main__":
    sys.exit(main())
