"""How long it takes until something can be done: `python -m benchmarks.startup`.

Imports, a loaded classifier and the command line, each in a process of its own, in turns; what they load and don't
need; and the stages of the app's start, until its first answer.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.answer import example_scan
from benchmarks.arguments import arguments, number
from benchmarks.bars import Bar, at_most, told
from benchmarks.imports import HEAVY, loaded, python
from benchmarks.report import save, table
from benchmarks.running_app import Api, RunningApp, running_app
from benchmarks.side_by_side import in_turns
from octhub.gallery import EXAMPLES
from training.arguments import natural

TORCH, OCTHUB = "import torch", "import octhub"

OVER_TORCH = 1.15
"""Bar: `import octhub` against `import torch`."""

SCAN = str(EXAMPLES / "dme-1.jpeg")

MAIN = "import sys; from octhub.__main__ import main; sys.argv[0] = 'octhub'\ntry: main({})\nexcept SystemExit: pass"

PROGRAMS = {
    TORCH: TORCH,
    "python -c pass": "pass",
    OCTHUB: OCTHUB,
    "from octhub import OctNet": "from octhub import OctNet",
    "from octhub import Classifier": "from octhub import Classifier",
    "Classifier.from_pretrained": "from octhub import Classifier; Classifier.from_pretrained()",
    "octhub --help": MAIN.format(["--help"]),
    "octhub classify SCAN": MAIN.format(["classify", SCAN]),
}
"""By what they are called; the first is what ratios are relative to."""

NEEDED = {
    TORCH: set(HEAVY),
    "python -c pass": set(),
    OCTHUB: set(),
    "from octhub import OctNet": {"torch", "huggingface_hub", "safetensors", "numpy"},
    "octhub --help": set(),
}
"""By program, the packages without which it can't be; NEEDED_TO_CLASSIFY unless said."""

NEEDED_TO_CLASSIFY = {"torch", "torchvision", "cv2", "huggingface_hub", "safetensors", "PIL", "numpy"}


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = arguments("startup", __doc__, 5)
    parser.add_argument("--programs", nargs="+", choices=PROGRAMS, default=list(PROGRAMS), help="some of them alone")
    parser.add_argument("--starts", type=natural, default=3, help="of the app (%(default)s)")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    programs = {name: code for name, code in PROGRAMS.items() if name in (TORCH, *args.programs)}
    contestants = {name: partial(python, "-c", code) for name, code in programs.items()}
    turns = in_turns(contestants, args.rounds, warm_up=min(1, args.rounds - 1))  # to have the files in memory
    record: dict[str, Any] = {"programs": {}, "app": app_start(args.starts) if args.starts else {}}
    for name, code in programs.items():
        found = loaded(code)
        needed = NEEDED.get(name, NEEDED_TO_CLASSIFY)
        needless = {p: seconds for p, seconds in found.items() if p not in needed}
        record["programs"][name] = {**turns[name].as_dict(), "loads": list(found), "needless": needless}
    record["bars"] = [bar.as_dict() for bar in bars(record)]
    print(full(record))
    save("startup", record, "cpu", args.results)
    return 0


def app_start(starts: int) -> dict[str, Any]:
    """Seconds of each stage, medians over several starts, and of all."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="octhub-") as folder:
        scan = example_scan(Path(folder))
        for _ in range(starts):
            with running_app(("-m", "benchmarks.app_stages")) as app:
                rows.append(stages(app, scan))
    return {
        "stages": {name: median(row[name] for row in rows) for name in rows[0]},
        "seconds": median(sum(row.values()) for row in rows),
        "starts": starts,
    }


def stages(app: RunningApp, scan: Path) -> dict[str, float]:
    """Seconds from one stage of an app's start to the next; it is asked for its first answer."""
    api = Api(app.url)
    api.ask("classify", api.upload(scan), "likeliest", 50)
    answered = time.time()
    told = [line.split(" ", 2) for line in app.log.read_text().splitlines() if line.startswith("STAGE ")]
    ends = {name: float(at) for _, at, name in told} | {"serve the page": app.served, "first answer": answered}
    before = [app.started, *ends.values()]
    return {name: end - start for (name, end), start in zip(ends.items(), before, strict=False)}


def bars(record: dict[str, Any]) -> Iterator[Bar]:
    if OCTHUB in record["programs"]:
        yield at_most("import octhub against import torch", record["programs"][OCTHUB]["ratio"], OVER_TORCH)


def full(record: dict[str, Any]) -> str:
    """All of a record."""
    rows = [
        (
            name,
            number(p["seconds"]),
            " to ".join(map(number, p["quartiles"])),
            f"{p['ratio']:.2f}",
            ", ".join(f"{package} {number(seconds)}" for package, seconds in p["needless"].items()),
        )
        for name, p in record["programs"].items()
    ]
    header = ("", "s", "quartiles", "relative", "loads without need (s of its own modules)")
    parts = [table(header, rows)]
    if app := record["app"]:
        rows = [(name, number(seconds), f"{seconds / app['seconds']:.0%}") for name, seconds in app["stages"].items()]
        rows.append(("from the start to the first answer", number(app["seconds"]), ""))
        parts.append(table(("the app", f"s (median of {app['starts']})", "share"), rows))
    return "\n\n".join([*parts, told(record["bars"])])


def readme(record: dict[str, Any]) -> str:
    """README.md's table."""
    rows = [(f"`{n}`", number(p["seconds"]), f"{p['ratio']:.2f}") for n, p in record["programs"].items()]
    if app := record["app"]:
        torch = record["programs"][TORCH]["seconds"]
        rows.append(("`python app.py`, to its first answer", number(app["seconds"]), f"{app['seconds'] / torch:.2f}"))
    return table(("a new process", "s", "relative"), rows)


if __name__ == "__main__":
    sys.exit(main())
