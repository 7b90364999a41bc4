"""Put the newest results' tables into README.md: `python -m benchmarks.readme`.

Between `<!-- benchmark: NAME -->` and `<!-- end -->` comes what benchmarks.NAME's function `readme` makes of its newest
record on a CPU, and the machine; with `NAME gpu`, of the newest on a GPU. Without a record the place stays empty.
"""

import argparse
import json
import re
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.bars import told as bars_told
from benchmarks.machine import told
from benchmarks.report import RESULTS

README = Path(__file__).resolve().parent.parent / "README.md"

PLACE = re.compile(r"(<!-- benchmark: (\w+)( gpu)? -->\n).*?(<!-- end -->)", re.DOTALL)


def newest(name: str, gpu: bool, folder: Path = RESULTS) -> dict[str, Any] | None:
    """The newest record of a benchmark, on a GPU or on a CPU; of the same day, the last by name. None without one."""
    records = [json.loads(p.read_text(encoding="utf-8")) for p in sorted(folder.glob(f"{name}.*.json"))]
    return max((r for r in records if ("gpu" in r["machine"]) == gpu), key=lambda r: r["date"], default=None)


def section(name: str, gpu: bool, folder: Path = RESULTS) -> str:
    """What stands in one place."""
    record = newest(name, gpu, folder)
    if record is None:
        return ""
    table = import_module(f"benchmarks.{name}").readme(record)
    command = f"`python -m benchmarks.{name}{' --device cuda' if gpu else ''}`"
    parts = [table, f"{command}, {record['date']}, {told(record['machine'])}"]
    if record.get("bars"):
        parts.append("\n".join(f"- {line}" for line in bars_told(record["bars"]).splitlines()))
    return "\n" + "\n\n".join(parts) + "\n\n"


def filled(text: str, folder: Path = RESULTS) -> str:
    """README.md's text with all its places filled."""
    return PLACE.sub(lambda m: m[1] + section(m[2], bool(m[3]), folder) + m[4], text)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.readme", description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing; fail if the tables are others")
    args = parser.parse_args(argv)
    text = README.read_text(encoding="utf-8")
    new = filled(text)
    if new == text:
        print("README.md has the newest tables")
        return 0
    if args.check:
        print("error: README.md's tables are not the newest results': run python -m benchmarks.readme", file=sys.stderr)
        return 1
    README.write_text(new, encoding="utf-8")
    print("README.md has new tables")
    return 0


if __name__ == "__main__":
    sys.exit(main())
