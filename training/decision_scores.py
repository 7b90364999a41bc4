"""Ways to tell a strange image from a true scan, compared by training.measure_decision."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import logsumexp, softmax
from sklearn.covariance import LedoitWolf
from sklearn.metrics import roc_auc_score

from octhub.bscan import STATISTICS, BScanRule, scaled
from octhub.bscan_statistics import statistics
from octhub.octnet import OctNet
from octhub.preprocess import preprocess

STATISTICS_SCORE, NOVELTY_SCORE = "statistics, Mahalanobis", "features, nearest remembered scan"
"""The candidates that are served: the first tells B-scans from other images, the second strange scans from usual."""


@dataclass(frozen=True)
class Seen:
    """What is known of N images: statistics (N, K), OctNet's features (N, D) and logits (N, C), in float64."""

    figures: np.ndarray
    features: np.ndarray
    logits: np.ndarray

    def __len__(self) -> int:
        return len(self.figures)

    def __getitem__(self, which: np.ndarray | slice) -> "Seen":
        return Seen(self.figures[which], self.features[which], self.logits[which])

    def __add__(self, other: "Seen") -> "Seen":
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return Seen(*(np.concatenate(pair) for pair in pairs))


def look(model: OctNet, scans: Iterable[np.ndarray]) -> Seen:
    """Measure scans, (H, W) float32 in [0, 1], one at a time, as the model is served."""
    figures, features, logits = [], [], []
    for scan in scans:
        input, _ = preprocess(scan, model.serving)
        with torch.inference_mode():
            found = model.features(input[None])
            logits.append(model.mlp(found)[0].double().numpy())
        features.append(found[0].double().numpy())
        figures.append(statistics(scan))
    return Seen(np.array(figures), np.array(features), np.array(logits))


def fit_rule(reference: np.ndarray, usual: np.ndarray, limit: float) -> BScanRule:
    """The rule of which scans are usual.

    Args:
        reference: (N, K) statistics that give means and covariance.
        usual: (M, K) statistics whose 0.5th and 99.5th percentiles are told to users as what is expected.
        limit: of the distance.
    """
    points = scaled(reference)
    precision = np.linalg.inv(np.cov(points, rowvar=False))
    low, high = np.percentile(usual, (0.5, 99.5), axis=0)
    return BScanRule(
        tuple(STATISTICS),
        _rounded(points.mean(axis=0)),
        tuple(_rounded(row) for row in precision),
        _rounded(low),
        _rounded(high),
        limit,
    )


def candidates(reference: Seen, labels: np.ndarray, rule: BScanRule, model: OctNet) -> dict[str, Callable]:
    """Name → score of Seen images (N,), the higher the stranger.

    Args:
        reference: training scans.
        labels: (N,) their class ids.
        rule: for its distance; its limit doesn't matter.
        model: with its memory.
    """
    features, points = reference.features, scaled(reference.figures)
    centres = np.stack([features[labels == c].mean(axis=0) for c in np.unique(labels)])
    overall = features.mean(axis=0)
    within = LedoitWolf().fit(features - centres[np.searchsorted(np.unique(labels), labels)]).precision_
    whole = LedoitWolf().fit(features).precision_

    def mahalanobis(seen: Seen) -> np.ndarray:
        return np.min([_squared(seen.features - c, within) for c in centres], axis=0)

    def probability(seen: Seen) -> np.ndarray:
        return softmax(seen.logits / model.serving.temperature, axis=1)

    def nearest(seen: Seen) -> np.ndarray:
        return model.novelty(torch.from_numpy(seen.features)).double().numpy()

    return {
        STATISTICS_SCORE: lambda seen: np.array([rule.distance(f) for f in seen.figures]),
        "statistics, largest deviation": lambda seen: np.abs(
            (scaled(seen.figures) - points.mean(axis=0)) / points.std(axis=0)
        ).max(axis=1),
        NOVELTY_SCORE: nearest,
        "features, Mahalanobis": mahalanobis,
        "features, relative Mahalanobis": lambda seen: mahalanobis(seen) - _squared(seen.features - overall, whole),
        "energy": lambda seen: -logsumexp(seen.logits, axis=1),
        "entropy": lambda seen: -(probability(seen) * np.log(probability(seen) + 1e-12)).sum(axis=1),
        "largest probability": lambda seen: -probability(seen).max(axis=1),
    }


def auroc(usual: np.ndarray, strange: np.ndarray) -> float:
    """The share of pairs in which the strange image has the higher score."""
    return float(roc_auc_score(np.r_[np.zeros(len(usual)), np.ones(len(strange))], np.r_[usual, strange]))


def _squared(off: np.ndarray, precision: np.ndarray) -> np.ndarray:
    return np.einsum("ij,jk,ik->i", off, precision, off)


def _rounded(values: np.ndarray) -> tuple[float, ...]:
    """Five significant digits: enough for a distance to two decimals."""
    return tuple(float(f"{v:.5g}") for v in values)
