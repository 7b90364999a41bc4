"""Whether an answer is given at all: a label, "unsure", or "not an OCT B-scan", and the measured reason."""

import numpy as np

from octhub.bscan import BScanRule
from octhub.bscan_statistics import statistics
from octhub.serving import ServingConfig
from octhub.tissue import Tissue

UNSURE, NOT_BSCAN, OUTLINED = "unsure", "not an OCT B-scan", "outlined"
"""What is decided instead of a class; and what a segmenter decides if the image is a B-scan."""


def not_bscan(scan: np.ndarray | Tissue, rule: BScanRule | None) -> str:
    """Why an image, (H, W) float32 in [0, 1], or its tissue, is no B-scan; "" if it is one, or without a rule."""
    return "" if rule is None else rule.reason(statistics(scan))


def decide(
    scan: np.ndarray | Tissue, serving: ServingConfig, label: str, probability: float, novelty: float | None
) -> tuple[str, str]:
    """(decision, reason) for a classifier's answer; see UnsureRule.reason for the arguments."""
    if reason := not_bscan(scan, serving.bscan):
        return NOT_BSCAN, reason
    if serving.unsure is not None and (reason := serving.unsure.reason(label, probability, novelty)):
        return UNSURE, reason
    return label, ""
