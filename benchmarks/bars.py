"""What a benchmark is expected to find: bars, met or missed."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Bar:
    """One figure and what is expected of it.

    Attributes:
        what: the figure, in words.
        found: as measured.
        limit: what is expected of it.
        least: whether it has to be at least `limit`; at most otherwise.
        unit: behind both: "×", "%", " ms".
    """

    what: str
    found: float
    limit: float
    least: bool
    unit: str = "×"

    @property
    def met(self) -> bool:
        return self.found >= self.limit if self.least else self.found <= self.limit

    def __str__(self) -> str:
        found, limit = (f"{x:.3g}{self.unit}" for x in (self.found, self.limit))
        bound = "least" if self.least else "most"
        return f"{'met' if self.met else 'MISSED'}: {self.what}: {found}, expected at {bound} {limit}"

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "met": self.met}


def at_least(what: str, found: float, limit: float, unit: str = "×") -> Bar:
    return Bar(what, found, limit, True, unit)


def at_most(what: str, found: float, limit: float, unit: str = "×") -> Bar:
    return Bar(what, found, limit, False, unit)


def told(bars: Sequence[dict[str, Any]]) -> str:
    """Bars as they are in a record, a line each."""
    return "\n".join(str(Bar(**{k: v for k, v in bar.items() if k != "met"})) for bar in bars)
