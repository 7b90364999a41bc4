"""Time things in turns, so that whatever else the machine does hits them alike."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Timing:
    """What one contestant took.

    Attributes:
        seconds: of each round, in the rounds' order.
        ratios: of each round, relative to the first contestant in the same round.
    """

    seconds: tuple[float, ...]
    ratios: tuple[float, ...]

    @property
    def median(self) -> float:
        """Seconds."""
        return median(self.seconds)

    @property
    def ratio(self) -> float:
        """The median of the rounds' ratios: above 1, it is slower than the first."""
        return median(self.ratios)

    def as_dict(self) -> dict[str, Any]:
        """For JSON: medians and quartiles."""
        return {
            "seconds": self.median,
            "quartiles": _quartiles(self.seconds),
            "ratio": self.ratio,
            "ratio_quartiles": _quartiles(self.ratios),
            "rounds": len(self.seconds),
        }


def seconds_of(run: Callable[[], Any]) -> float:
    """What a call takes."""
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def in_turns(
    contestants: Mapping[str, Callable[[], Any]],
    rounds: int = 20,
    warm_up: int = 2,
    measure: Callable[[Callable[[], Any]], float] = seconds_of,
) -> dict[str, Timing]:
    """Run every contestant once a round, in another order than the round before.

    Args:
        contestants: by name; the first is what the ratios are relative to. What runs on an accelerator waits for it.
        rounds: that count.
        warm_up: rounds before them, that don't.
        measure: runs a contestant and gives its seconds; another than `seconds_of` where only a part of it counts.
    """
    taken: dict[str, list[float]] = {name: [] for name in contestants}
    order = list(contestants)
    for turn in range(warm_up + rounds):
        order = order[1:] + order[:1]
        for name in order:
            seconds = measure(contestants[name])
            if turn >= warm_up:
                taken[name].append(seconds)
    first = taken[next(iter(contestants))]
    return {
        name: Timing(tuple(seconds), tuple(a / b for a, b in zip(seconds, first, strict=True)))
        for name, seconds in taken.items()
    }


def _quartiles(values: tuple[float, ...]) -> list[float]:
    return np.quantile(values, [0.25, 0.75]).tolist()
