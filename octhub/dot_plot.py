"""A chart of figures beside one another: a dot a figure, with a line for its interval. Inline SVG, without scripts."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor

from octhub.markup import Html

WIDTH, LEFT, RIGHT, ROW, AXIS = 340, 96, 12, 22, 30
"""Units of the drawing: its width, what is left for labels and on the right, a row's height, and the axis's."""


@dataclass(frozen=True)
class Mark:
    """A figure in [0, 1].

    Attributes:
        interval: its lowest and highest, or None.
        other: drawn hollow, as what the figures are compared with.
    """

    value: float
    interval: tuple[float, float] | None = None
    other: bool = False


def dot_plot(
    title: str, rows: Sequence[tuple[str, Sequence[Mark | None]]], legend: Sequence[str] = (), *, percent: bool = False
) -> Html:
    """A row of marks for each label; the axis begins where the lowest of them asks for it, and ends at 1.

    Args:
        title: says what is shown, to those who can't see it, too. The figures themselves belong into a table.
        legend: what full and hollow dots are.
        percent: whether the axis is in per cent.
    """
    rows = [(label, [m for m in marks if m is not None]) for label, marks in rows]
    lowest = min(min((m.value, *(m.interval or ()))) for _, marks in rows for m in marks)
    low = max(0.0, floor(lowest * 10 - 1e-9) / 10)
    height = ROW * len(rows) + AXIS

    def x(value: float) -> float:
        return round(LEFT + (value - low) / (1 - low) * (WIDTH - LEFT - RIGHT), 1)

    step = 1 if low >= 0.5 else 2
    ticks = range(ceil(low * 10), 11, step)
    grid = "".join(
        f'<line class="grid" x1="{x(t / 10)}" x2="{x(t / 10)}" y1="4" y2="{height - AXIS + 4}"/>'
        f'<text x="{x(t / 10)}" y="{height - 10}" text-anchor="middle">{t * 10 if percent else t / 10}</text>'
        for t in ticks
    )
    drawn = "".join(_row(label, marks, ROW * i + ROW / 2 + 4, x) for i, (label, marks) in enumerate(rows))
    keys = "".join(f'<span><i class="{"other" if i else ""}"></i>{escape(k)}</span>' for i, k in enumerate(legend))
    key = f'<span class="legend">{keys}</span>' if legend else ""
    return Html(
        f'<figure class="dots"><figcaption>{escape(title)}{", in %" if percent else ""} {key}</figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}">{grid}{drawn}</svg></figure>'
    )


def _row(label: str, marks: Sequence[Mark], y: float, x) -> str:
    parts = [f'<text x="{LEFT - 10}" y="{y + 4}" text-anchor="end">{escape(label)}</text>']
    for mark in sorted(marks, key=lambda m: not m.other):  # full dots on top
        if mark.interval:
            low, high = map(x, mark.interval)
            parts.append(f'<line class="range" x1="{low}" x2="{high}" y1="{y}" y2="{y}"/>')
        kind = "other" if mark.other else "own"
        parts.append(f'<circle class="{kind}" cx="{x(mark.value)}" cy="{y}" r="5"/>')
    return "".join(parts)
