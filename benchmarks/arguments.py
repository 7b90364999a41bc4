"""What the benchmarks' commands share: arguments, and how figures are shown."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks.report import RESULTS
from training.arguments import positive


def arguments(name: str, description: str, rounds: int, of: str = "each contestant once") -> argparse.ArgumentParser:
    """A parser for `python -m benchmarks.NAME`, with its rounds, and where the record goes.

    Args:
        description: the module's docstring, whose first line is shown.
        rounds: by default.
        of: what a round is.
    """
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=description.splitlines()[0])
    parser.add_argument("--rounds", type=positive, default=rounds, help=f"{of} (%(default)s)")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="FOLDER", help="where the record goes")
    return parser


def ms(seconds: float, quartiles: Sequence[float] = ()) -> str:
    """Seconds as milliseconds, with the quartiles if they are given: "12.3 (12.1 to 12.6)"."""
    shown = number(1e3 * seconds)
    return f"{shown} ({' to '.join(number(1e3 * q) for q in quartiles)})" if quartiles else shown


def number(value: float) -> str:
    """Three digits, as far as they are behind the point: 1234, 123, 12.3, 1.23, 0.123."""
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3
    return f"{value:,.{digits}f}"
