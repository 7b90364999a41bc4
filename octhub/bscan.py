"""Does an image look like a retinal OCT B-scan? What B-scans keep, whatever device and disease, and how far they vary.

No network takes part, so that a segmenter can ask, too. What is usual comes from a checkpoint (BScanRule): the means
and the covariance of real scans' statistics, and how far from them a real scan may be.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite

import numpy as np

TINY = 1e-6


@dataclass(frozen=True)
class Statistic:
    """One figure of an image.

    Attributes:
        phrase: what it measures, with {} for the figure.
        low, high: how to say that it is too low, or too high.
        percent: print it in per cent.
        scale: what makes its distribution near normal.
    """

    phrase: str
    low: str
    high: str
    percent: bool = True
    scale: Callable[[float], float] = lambda x: float(np.log(x + 0.01))

    def show(self, figure: float) -> str:
        return f"{100 * figure:.1f} %" if self.percent else f"{figure:.3f}"


def _from_dark(x: float) -> float:
    """Of darkness above and below: black is as good as almost black, which depends on the device."""
    return float(np.log(x + 0.05))


STATISTICS = {
    "layering": Statistic(
        "{} of its edges run across the image",
        "no layers",
        "nothing but layers",
        scale=lambda x: float(-np.log(1.01 - x)),
    ),
    "spread": Statistic(
        "the light of a column spreads over {} of the height", "too thin a band of light", "no band of light"
    ),
    "wander": Statistic(
        "from column to column the light moves by {} of the height", "too straight a band", "a torn band of light"
    ),
    "lit": Statistic("the dim columns reach {} of a usual column's light", "dark columns", "even columns", scale=float),
    "unevenness": Statistic("the columns' light varies by {} of its mean", "too even a light", "too uneven a light"),
    "dark": Statistic("{} of it is dark", "too little dark around the retina", "too dark"),
    "bright": Statistic("{} of it is bright", "no bright layers", "too much light"),
    "grain": Statistic("the grain of its bright parts is {}", "no speckle", "too much noise", percent=False),
    "above": Statistic(
        "far above the light there is {} of its range", "too dark above", "no dark vitreous above", scale=_from_dark
    ),
    "upright": Statistic(
        "down a column, light sets in {} of its range more steeply than it ends",
        "light that ends more steeply than it sets in, as in an upside-down scan",
        "light that sets in too steeply",
        scale=float,
    ),
    "below": Statistic(
        "far below the light there is {} of its range", "too dark below", "too bright below", scale=_from_dark
    ),
}
"""What octhub.bscan_statistics measures, in its order."""


@dataclass(frozen=True)
class BScanRule:
    """What is usual for B-scans, and how unusual an image may be; a part of config.json.

    Attributes:
        names: the statistics' names; this code must know the same, in the same order.
        mean: of each statistic, on its scale.
        precision: the inverse of their covariance, row by row.
        low, high: the range of each statistic among real scans, as it is printed.
        limit: the largest Mahalanobis distance of what still counts as a B-scan.
    """

    names: tuple[str, ...]
    mean: tuple[float, ...]
    precision: tuple[tuple[float, ...], ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    limit: float

    def __post_init__(self):
        for field in ("names", "mean", "low", "high"):  # JSON turns tuples into lists
            object.__setattr__(self, field, tuple(getattr(self, field)))
        object.__setattr__(self, "precision", tuple(map(tuple, self.precision)))
        n = len(STATISTICS)
        if self.names != tuple(STATISTICS):
            raise ValueError(f"B-scan statistics {self.names}, expected {tuple(STATISTICS)}")
        if {len(self.mean), len(self.low), len(self.high), len(self.precision), *map(len, self.precision)} != {n}:
            raise ValueError(f"expected {n} values in mean, low and high and {n}×{n} in precision")
        numbers = (*self.mean, *self.low, *self.high, *(x for row in self.precision for x in row), self.limit)
        if not all(isinstance(x, int | float) and isfinite(x) for x in numbers):
            raise ValueError("mean, precision, low, high and limit: expected numbers")
        if self.limit <= 0:
            raise ValueError(f"limit {self.limit}, expected above 0")

    def distance(self, figures: np.ndarray) -> float:
        """The Mahalanobis distance of an image's statistics from those of B-scans; infinite where one is NaN."""
        off = scaled(figures) - self.mean
        squared = float(off @ np.array(self.precision) @ off)
        return float(np.sqrt(max(squared, 0))) if isfinite(squared) else float("inf")

    def reason(self, figures: np.ndarray) -> str:
        """Why an image of these statistics is no B-scan, with the figure and what was expected; "" if it is one."""
        distance = self.distance(figures)
        if distance <= self.limit:
            return ""
        whole = f"distance {distance:.1f} from B-scans, expected at most {self.limit:.1f}"
        return f"{why}; {whole}" if (why := self._outlier(figures)) else whole

    def _outlier(self, figures: np.ndarray) -> str:
        """The statistic furthest out of its range, in words; "" if each alone is usual and only their mix isn't."""
        low, high, found = scaled(self.low), scaled(self.high), scaled(figures)
        outside = np.maximum(low - found, found - high) / (high - low + TINY)
        worst = int(np.nanargmax(np.where(np.isfinite(outside), outside, np.inf)))
        if outside[worst] <= 0:
            return ""
        name, figure = self.names[worst], figures[worst]
        about = STATISTICS[name]
        usual = f"{about.show(self.low[worst])} to {about.show(self.high[worst])}"
        what = about.low if figure < self.low[worst] else about.high
        return f"{what}: {about.phrase.format(about.show(figure))}, expected {usual}"


def scaled(figures) -> np.ndarray:
    """Statistics (…, K) on the scales on which they are compared."""
    columns = np.moveaxis(np.asarray(figures, dtype=np.float64), -1, 0)
    scales = [statistic.scale for statistic in STATISTICS.values()]
    return np.stack([np.vectorize(s, otypes=[float])(c) for s, c in zip(scales, columns, strict=True)], axis=-1)
