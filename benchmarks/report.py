"""Where a benchmark's figures go: a table to read, and JSON for README.md and the cards."""

import json
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks.machine import machine, slug, told

RESULTS = Path(__file__).resolve().parent / "results"
"""One file a question and machine: NAME.MACHINE.json."""


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table, with its columns lined up for a terminal."""
    cells = [[str(c) for c in row] for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |" for row in cells]
    lines.insert(1, "|" + "|".join("-" * (w + 2) for w in widths) + "|")
    return "\n".join(lines)


def save(name: str, figures: dict[str, Any], device: str = "cpu", folder: Path = RESULTS) -> Path:
    """Write what a benchmark found, with the machine and the day.

    Args:
        name: the benchmark's, as in `python -m benchmarks.NAME`.
        figures: what JSON can hold.
        device: what it ran on.
    """
    ran_on = machine(device)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.{slug(ran_on)}.json"
    record = {"benchmark": name, "date": date.today().isoformat(), "machine": ran_on, **figures}
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(f"\n{told(ran_on)}\nwritten to {path.name}")
    return path
