"""How much of a heatmap lies within the retina: evidence elsewhere is a reason to doubt an answer."""

from collections.abc import Sequence

import numpy as np

from octhub.mask import UNKNOWN
from octhub.mask_render import is_background


def heat_inside(heatmap: np.ndarray, mask: np.ndarray, class_names: Sequence[str]) -> float:
    """The share of a heatmap's heat that lies on tissue or fluid.

    Args:
        heatmap: (H, W) float, 0 or more; only its proportions count.
        mask: (H, W) int class ids of the same scan; heat where it is UNKNOWN (255) counts nowhere.
        class_names: one name per id; they tell the retina from what is above and below it.

    Returns:
        In [0, 1]; NaN when there is no heat.

    Raises:
        ValueError: the shapes differ.
    """
    if heatmap.shape != mask.shape:
        raise ValueError(f"heatmap of shape {heatmap.shape} and mask of shape {mask.shape}, expected the same (H, W)")
    inside = np.zeros(256, bool)
    inside[: len(class_names)] = ~is_background(class_names)
    total = float(heatmap.sum(dtype=np.float64, where=mask != UNKNOWN))
    return float(heatmap.sum(dtype=np.float64, where=inside[mask])) / total if total > 0 else float("nan")


def share_html(share: float | None) -> str:
    """What the page says of a share; None while it is still measured, and nothing where there is no heat."""
    if share is None:
        figure = "…"
    elif np.isnan(share):
        return ""
    else:
        figure = f"{share:.0%}"
    text = f"<p><b>{figure}</b> of the heat lies within the retina, as the other network outlines it</p>"
    return f'<section class="figures heat" role="status">{text}</section>'
