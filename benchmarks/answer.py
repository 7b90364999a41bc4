"""The whole answer, from a file to its pictures: `python -m benchmarks.answer`.

Where the time goes is measured on the real functions while they run. Grad-CAM is measured beside a plain forward pass
with its gradient, and the app's HTTP answers beside those in this process, in turns.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

import torch
from PIL import Image

from benchmarks.answers import CAM, OF_MODEL, PARTS, SEGMENT, answers, places
from benchmarks.arguments import arguments, ms
from benchmarks.bars import Bar, at_most, told
from benchmarks.parts import OTHER, Parts, shares
from benchmarks.plain import forward_and_backward
from benchmarks.report import save, table
from benchmarks.running_app import Api, running_app
from benchmarks.side_by_side import Timing, in_turns
from octhub.gallery import EXAMPLES
from octhub.hub import DEFAULT_CLASSIFIER, DEFAULT_SEGMENTER
from octhub.predict import Classifier, Segmenter
from octhub.preprocess import preprocess
from octhub.scan import read_scan
from training.arguments import positive

PLAIN = "plain forward and backward pass"

WARM_UP = 2
"""Rounds."""

OUTSIDE, OVER_PLAIN, OVER_HTTP = 30, 1.6, 60
"""Bars: per cent outside the models; Grad-CAM against a plain forward and backward pass; ms that HTTP adds."""

QUESTIONS = {CAM: ("classify", "likeliest", 50), SEGMENT: ("segment", None, None, None)}
"""By answer, the endpoint that gives it, and what it is asked beside the scan."""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = arguments("answer", __doc__, 30)
    parser.add_argument("--scan", type=Path, metavar="FILE", help="(by default an example, cut to 512×496)")
    parser.add_argument("--classifier", default=DEFAULT_CLASSIFIER, help="checkpoint (%(default)s)")
    parser.add_argument("--segmenter", default=DEFAULT_SEGMENTER, help="checkpoint (%(default)s)")
    parser.add_argument("--threads", type=positive, default=torch.get_num_threads(), help="of a model (%(default)s)")
    parser.add_argument("--url", help="of a running app with these checkpoints, instead of one of its own")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    torch.set_num_threads(args.threads)
    classifier = Classifier.from_pretrained(args.classifier, device="cpu")
    segmenter = Segmenter.from_pretrained(args.segmenter, device="cpu")
    with tempfile.TemporaryDirectory(prefix="octhub-") as folder:
        path = args.scan or example_scan(Path(folder))
        height, width = read_scan(path).shape
        record: dict[str, Any] = {"scan": f"{width}×{height}", "threads": args.threads, "rounds": args.rounds}
        record |= in_process(path, classifier, segmenter, args.rounds)
        own = ("app.py", "--classifier", args.classifier, "--segmenter", args.segmenter)
        app = nullcontext(SimpleNamespace(url=args.url)) if args.url else running_app(own, args.threads)
        with app as running:
            record["http"] = over_http(path, classifier, segmenter, running.url, args.rounds)
    record["bars"] = [bar.as_dict() for bar in bars(record)]
    print(full(record))
    save("answer", record, "cpu", args.results)
    return 0


def example_scan(folder: Path) -> Path:
    """An example's middle, 512 pixels wide, as a JPEG: as large as most of OCT2017's scans."""
    path = folder / "scan.jpeg"
    with Image.open(EXAMPLES / "cnv-1.jpeg") as image:
        left = (image.width - 512) // 2
        image.crop((left, 0, left + 512, image.height)).save(path, quality=95)
    return path


def in_process(path: Path, classifier: Classifier, segmenter: Segmenter, rounds: int) -> dict[str, Any]:
    """Each answer's seconds and its parts' shares; and what Grad-CAM's models take beside a plain loop."""
    parts = Parts(places(classifier, segmenter))
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in (PLAIN, *PARTS)}
    input = preprocess(read_scan(path), classifier.serving)[0][None]

    def taken(name: str, run) -> float:
        expected = PARTS.get(name, ())
        rows[name].append(parts.of(run, expected))
        return sum(rows[name][-1].values())

    plain = {PLAIN: partial(forward_and_backward, classifier.model, input)}
    runs = plain | answers(path, classifier, segmenter, parts)
    with parts.watched():
        contestants = {name: partial(taken, name, run) for name, run in runs.items()}
        turns = in_turns(contestants, rounds, WARM_UP, measure=lambda contestant: contestant())
    counted = {name: found[WARM_UP:] for name, found in rows.items()}
    of_model = {
        "explain_and_model": [sum(row.get(part, 0.0) for part in OF_MODEL) for row in counted[CAM]],
        "explain": [row["explain"] for row in counted[CAM]],
    }
    return {
        "answers": {name: {**turns[name].as_dict(), "shares": shares(counted[name])} for name in PARTS},
        "plain": turns[PLAIN].as_dict(),
        "grad_cam": {what: beside(seconds, turns[PLAIN]).as_dict() for what, seconds in of_model.items()},
    }


def beside(seconds: list[float], first: Timing) -> Timing:
    """What was measured in the rounds of another, relative to it."""
    return Timing(tuple(seconds), tuple(a / b for a, b in zip(seconds, first.seconds, strict=True)))


def over_http(
    path: Path, classifier: Classifier, segmenter: Segmenter, url: str, rounds: int
) -> dict[str, dict[str, Any]]:
    """By answer, the same in this process and over HTTP: the question alone, about a file that was uploaded before, and
    with the upload and the download of the answer's files."""
    api, found = Api(url), {}
    here = answers(path, classifier, segmenter, Parts({}))
    for name, (endpoint, *rest) in QUESTIONS.items():
        uploaded = api.upload(path)

        def ask(endpoint=endpoint, uploaded=uploaded, rest=rest) -> Any:
            return api.ask(endpoint, uploaded, *rest)

        def whole(endpoint=endpoint, rest=rest) -> Any:
            return api.download(api.ask(endpoint, api.upload(path), *rest))

        turns = in_turns({"here": here[name], "http": ask, "whole": whole}, rounds, WARM_UP)
        pairs = {k: zip(turns[k].seconds, turns["here"].seconds, strict=True) for k in ("http", "whole")}
        found[name] = {
            "endpoint": f"/{endpoint}",
            **{k: turn.as_dict() for k, turn in turns.items()},
            **{f"{k}_adds": median(a - b for a, b in pair) for k, pair in pairs.items()},
        }
    return found


def bars(record: dict[str, Any]) -> Iterator[Bar]:
    yield at_most(
        "Grad-CAM and the model against a plain forward and backward pass",
        record["grad_cam"]["explain_and_model"]["ratio"],
        OVER_PLAIN,
    )
    for name, answer in record["answers"].items():
        yield at_most(f"{name}: outside the model", 100 * outside(answer), OUTSIDE, " %")
    for http in record["http"].values():
        yield at_most(
            f"{http['endpoint']}: what HTTP adds, without the upload", 1e3 * http["http_adds"], OVER_HTTP, " ms"
        )


def full(record: dict[str, Any]) -> str:
    """All of a record."""
    plain, cam = record["plain"], record["grad_cam"]
    beside_plain = [
        (PLAIN, ms(plain["seconds"], plain["quartiles"]), "1"),
        *(
            (what, ms(cam[key]["seconds"], cam[key]["quartiles"]), f"{cam[key]['ratio']:.2f}")
            for what, key in (("Grad-CAM", "explain"), ("Grad-CAM and the model", "explain_and_model"))
        ),
    ]
    spread = list(record["answers"].items())
    spread += [(f"{h['endpoint']}, {k}", h[k]) for h in record["http"].values() for k in ("here", "http", "whole")]
    return "\n\n".join(
        [
            f"A scan of {record['scan']}; threads: {record['threads']}, rounds: {record['rounds']}",
            readme(record),
            table(("", "ms (quartiles)", "relative"), beside_plain),
            table(("", "ms (quartiles)"), [(what, ms(t["seconds"], t["quartiles"])) for what, t in spread]),
            told(record["bars"]),
        ]
    )


def readme(record: dict[str, Any]) -> str:
    """README.md's tables: each answer's milliseconds by part, which add up; and what HTTP adds."""
    answers = record["answers"]
    order = list(dict.fromkeys([*PARTS[CAM], *(part for parts in PARTS.values() for part in parts), OTHER]))
    rows = [(part, *(_part(a, part) for a in answers.values())) for part in order]
    rows.append(("the whole answer", *(ms(a["seconds"]) for a in answers.values())))
    rows.append(("outside the model", *(f"{outside(a):.0%}" for a in answers.values())))
    http = [
        (h["endpoint"], *(ms(h[k]["seconds"]) for k in ("here", "http", "whole")), ms(h["http_adds"]))
        for h in record["http"].values()
    ]
    header = ("ms", "in process", "over HTTP", "with upload and download", "HTTP adds")
    return f"{table(('ms', *answers), rows)}\n\n{table(header, http)}"


def _part(answer: dict[str, Any], part: str) -> str:
    return ms(answer["shares"][part] * answer["seconds"]) if part in answer["shares"] else ""


def outside(answer: dict[str, Any]) -> float:
    """The share that isn't the model's."""
    return 1 - sum(answer["shares"].get(part, 0.0) for part in OF_MODEL)


if __name__ == "__main__":
    sys.exit(main())
