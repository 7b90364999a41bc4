"""When a classifier abstains rather than guess."""

from dataclasses import dataclass
from math import isfinite


@dataclass(frozen=True)
class UnsureRule:
    """When a classifier abstains; a part of config.json.

    Attributes:
        probability: the likeliest class's least calibrated probability, in [0, 1].
        novelty: the largest distance from what the model knows (see OctNet.novelty); None for a model that remembers
            nothing.
    """

    probability: float = 0.0
    novelty: float | None = None

    def __post_init__(self):
        for name, limit in (("probability", self.probability), ("novelty", self.novelty)):
            if limit is not None and not (isinstance(limit, int | float) and isfinite(limit) and limit >= 0):
                raise ValueError(f"{name} limit {limit}, expected a number from 0")

    def reason(self, label: str, probability: float, novelty: float | None) -> str:
        """Why there is no answer, with the figure and what was expected; "" if there is one.

        Args:
            label, probability: the likeliest class, and how likely it is.
            novelty: the distance from what the model knows; None where it remembers nothing.
        """
        if self.novelty is not None and (novelty is None or not novelty <= self.novelty):  # NaN is unsure
            found = "an unknown distance" if novelty is None else f"{novelty:.3f}"
            return (
                f"unlike the scans that the model learned from: its features are {found} away from the nearest one's, "
                f"expected at most {self.novelty:.3f}"
            )
        if not probability >= self.probability:
            least = f"{100 * self.probability:.1f} %"
            return f"{label} is likeliest, with only {100 * probability:.1f} %, expected at least {least}"
        return ""
