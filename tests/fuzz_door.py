"""Throw hostile uploads at the door, thousands of them, and see that each ends as it should:

    python tests/fuzz_door.py                                  10,000 in process, of seeds 0 to 9,999
    python tests/fuzz_door.py --seed 1234 --count 1            one again, with all that is wrong about it
    python tests/fuzz_door.py --count 2000 --url http://127.0.0.1:7860     over HTTP, to an app that is running

A table says what was tried, by kind. The command fails if anything is wrong: another error than the door's, a wrong
answer, too much time or memory, or a file left behind (see door.py). The cases run in a process of their own, so that
one that hangs or crashes it is told by its seed, and the rest goes on.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, Queue

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [p for p in (str(ROOT), str(ROOT / "tests")) if p not in sys.path]

PATIENCE = 120
"""Seconds of the clock for one upload, after which it counts as hanging: many times what door.py allows of a processor,
for machines that have other things to do."""

ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "1000000", "MALLOC_TRIM_THRESHOLD_": "1000000"}
"""So that glibc gives back at once what is freed, and a process's size tells what one upload takes."""


@dataclass
class Row:
    """What came of one kind of uploads."""

    tried: int = 0
    answered: int = 0
    seconds: float = 0.0
    megabytes: float = 0.0


@dataclass
class Table:
    """What came of all of them.

    Attributes:
        rows: by kind.
        problems: what was wrong, with the seed and the kind.
        left: files left behind; None where nobody can tell, as over HTTP, nor by how much the server grows.
    """

    rows: dict[str, Row] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    left: int | None = 0

    def add(
        self, seed: int, kind: str, answered: bool, problems: Sequence[str], seconds: float, megabytes: float = 0.0
    ) -> None:
        row = self.rows.setdefault(kind, Row())
        row.tried += 1
        row.answered += answered
        row.seconds, row.megabytes = max(row.seconds, seconds), max(row.megabytes, megabytes)
        self.problems += [f"seed {seed}, {kind}: {problem}" for problem in problems]

    @property
    def tried(self) -> int:
        return sum(row.tried for row in self.rows.values())

    def text(self) -> str:
        lines = [f"{'kind':<26}{'tried':>7}{'answered':>10}{'refused':>9}{'slowest, ms':>13}"]
        lines[0] += "" if self.left is None else f"{'growth, MB':>12}"
        whole = Row(self.tried, *(sum(getattr(r, n) for r in self.rows.values()) for n in ("answered",)))
        for row in self.rows.values():
            whole.seconds, whole.megabytes = max(whole.seconds, row.seconds), max(whole.megabytes, row.megabytes)
        for kind, row in [*self.rows.items(), ("all", whole)]:
            counts = f"{row.tried:>7}{row.answered:>10}{row.tried - row.answered:>9}"
            growth = "" if self.left is None else f"{row.megabytes:>12.1f}"
            lines.append(f"{kind:<26}{counts}{1000 * row.seconds:>13.1f}{growth}")
        left = [] if self.left is None else [f"files left behind: {self.left}"]
        return "\n".join([*lines, *left, f"problems: {len(self.problems)}"])


def in_process(
    first: int, count: int, tell: Callable[[Table], None] = lambda table: None, patience: float = PATIENCE
) -> Table:
    """Try the seeds from `first` on in a child; whenever it hangs or dies, another one goes on after that seed.

    Args:
        tell: is told of the table after each case.
        patience: seconds of the clock for one case.
    """
    table, seed = Table(), first
    while seed < first + count:
        at, ended = None, ""
        for line in _child(seed, first + count - seed, patience):
            if isinstance(line, str):
                ended = line
            elif "answered" not in line:
                at = line
            else:
                found = [line[key] for key in ("seed", "kind", "answered", "problems", "seconds", "megabytes")]
                table.add(*found)
                table.left += line["left"]
                at, seed = None, line["seed"] + 1
                tell(table)
        if seed < first + count:
            if at is None:
                raise RuntimeError(f"no case was begun after seed {seed - 1}: {ended}")
            table.add(at["seed"], at["kind"], False, [ended], 0)
            seed = at["seed"] + 1
        elif ended:
            table.problems.append(f"after seed {seed - 1} the child {ended}")
    return table


def _child(first: int, count: int, patience: float) -> Iterator[dict | str]:
    """What a child tells of the seeds, and if it doesn't get to the end, why."""
    with tempfile.TemporaryDirectory() as folder:
        numbers = "--seed", str(first), "--count", str(count)
        command = [sys.executable, str(Path(__file__).resolve()), "--child", *numbers]
        env = os.environ | ALLOCATOR | {"TMPDIR": folder, "PYTHONFAULTHANDLER": "1", "OMP_NUM_THREADS": "1"}
        errors = Path(folder) / "errors"
        with errors.open("w") as f:
            process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=f, text=True)
        lines: Queue[str | None] = Queue()

        def read() -> None:
            for line in process.stdout:
                lines.put(line)
            lines.put(None)

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        try:
            while (line := lines.get(timeout=patience)) is not None:
                yield json.loads(line)
            if process.wait():
                yield f"ended the process with status {process.returncode}: {errors.read_text()[-1500:]}"
        except Empty:
            yield f"hangs: nothing came of it within {patience:g} s"
        finally:
            process.kill()
            process.wait()
            reader.join()
            process.stdout.close()


def be_child(first: int, count: int) -> None:
    """Try the seeds, and tell of each, on stdout, that it begins and what came of it."""
    from fuzz_in_process import case, try_door
    from hostile_images import CYCLE
    from hostile_images import case as image

    folder = Path(tempfile.mkdtemp(dir=os.environ["TMPDIR"]))  # the parent deletes it
    os.chdir(folder)
    tempfile.tempdir = str(folder)
    try_door(image(0), folder)  # so that what is imported late doesn't count
    try_door(image(CYCLE.index("large, PNG RGBA")), folder)
    for seed in range(first, first + count):
        made = case(seed)
        print(json.dumps({"seed": seed, "kind": made.kind}), flush=True)
        outcome = try_door(made, folder)
        print(json.dumps({"seed": seed, "kind": made.kind, **vars(outcome)}), flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0, help="the first one (default %(default)s)")
    parser.add_argument("--count", type=int, default=10_000, help="how many (default %(default)s)")
    parser.add_argument("--url", help="a running app, to be asked over HTTP; by default the cases run in process")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.child:
        be_child(args.seed, args.count)
        return 0

    def tell(table: Table) -> None:
        if table.tried % 500 == 0:
            print(f"{table.tried} tried, {len(table.problems)} problems", file=sys.stderr, flush=True)

    if args.url:
        from fuzz_http import over_http

        table = over_http(args.url, range(args.seed, args.seed + args.count), tell)
    else:
        table = in_process(args.seed, args.count, tell)
    print(table.text())
    for problem in table.problems:
        print(problem)
    return 1 if table.problems or table.left else 0


if __name__ == "__main__":
    raise SystemExit(main())
