"""How good the answers are: the same numbers for training, model cards and the app.

What can't be measured is None (NaN in Python objects), never 0 or 1: a class with no scan has no sensitivity, one that
is in neither mask no IoU, and both are left out of the means. For classification torchmetrics counts; it is imported
on use, since running a model doesn't need it (`pip install octhub[training]`).
"""

import operator
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from math import isnan, nan, sqrt
from statistics import NormalDist, stdev
from typing import Any, NamedTuple

import numpy as np
import torch

from octhub.mask import UNKNOWN, checked_ids

CALIBRATION_BINS = 15
"""Equal-width bins of the expected calibration error (Guo et al. 2017, "On Calibration of Modern Neural Networks")."""

SUM_TOLERANCE = 1e-3
"""How far a scan's probabilities may sum from 1: half precision rounds each to 2⁻¹¹, relative."""

SMALLEST_PROBABILITY = float(np.finfo(np.float32).eps)
"""Floor under the logarithm, so that one saturated softmax doesn't make the mean infinite (1.19e-7, costs 15.9)."""


class ClassCounts(NamedTuple):
    """One class against the rest, over scans or over pixels."""

    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int

    @property
    def n(self) -> int:
        """How many there truly are."""
        return self.true_positives + self.false_negatives


def classification_metrics(
    probabilities: torch.Tensor | np.ndarray, targets: torch.Tensor | np.ndarray, class_names: Sequence[str]
) -> dict[str, Any]:
    """Everything that a card says about a classifier, ready for JSON.

    Args:
        probabilities: (N, C) in [0, 1], each row summing to 1; the answer is the likeliest class, the first of equals.
        targets: (N,) int class ids in [0, C).
        class_names: the C names, in the order of the columns.

    Returns:
        n: number of scans.
        accuracy, accuracy_interval_95: share of right answers, and its Wilson score interval [low, high].
        per_class: by name, {n, sensitivity, specificity, precision, f1, auroc}; None where undefined:
            sensitivity, f1 of a class without scans; specificity of one with nothing else; precision of one that was
            never answered; auroc (against the rest) of either of the first two.
        macro_f1, macro_auroc: unweighted means over the classes that have scans; None if there's nothing to average.
        classes_counted: how many classes have scans.
        expected_calibration_error: in [0, 1], over 15 bins of the answer's probability.
        nll: mean -ln of the true class's probability, floored at SMALLEST_PROBABILITY.
        brier: mean over scans of the squared error summed over classes, in [0, 2] (Brier 1950).
        confusion_matrix: C rows (truth) of C columns (answer), in scans.

    Raises:
        ValueError: shapes that don't fit, no scans, or values out of range; says what was found and expected.
        ImportError: torchmetrics isn't installed.
    """
    p, t = _checked(probabilities, targets, class_names)
    answers = p.argmax(1)
    right = answers == t
    confusion = _torchmetrics().multiclass_confusion_matrix(
        torch.from_numpy(answers), torch.from_numpy(t), num_classes=len(class_names)
    )
    per_class = {
        name: {
            "n": c.n,
            "sensitivity": ratio(c.true_positives, c.n),
            "specificity": ratio(c.true_negatives, c.true_negatives + c.false_positives),
            "precision": ratio(c.true_positives, c.true_positives + c.false_positives),
            "f1": ratio(2 * c.true_positives, c.n + c.true_positives + c.false_positives) if c.n else None,
            "auroc": auroc,
        }
        for name, c, auroc in zip(class_names, class_counts(confusion), _auroc(p, t), strict=True)
    }
    rows = np.arange(len(t))
    return {
        "n": len(t),
        "accuracy": float(right.mean()),
        "accuracy_interval_95": list(wilson_interval(int(right.sum()), len(t))),
        "per_class": per_class,
        "macro_f1": defined_mean(c["f1"] for c in per_class.values()),
        "macro_auroc": defined_mean(c["auroc"] for c in per_class.values()),
        "classes_counted": sum(c["n"] > 0 for c in per_class.values()),
        "expected_calibration_error": calibration_error(p[rows, answers], right),
        "nll": float(-np.log(np.maximum(p[rows, t], SMALLEST_PROBABILITY)).mean()),
        "brier": float(((p - np.eye(len(class_names))[t]) ** 2).sum(1).mean()),
        "confusion_matrix": confusion.tolist(),
    }


def confusion_matrix(
    answer: torch.Tensor | np.ndarray, truth: torch.Tensor | np.ndarray, num_classes: int
) -> np.ndarray:
    """Count one scan's pixels by what they are and what they were taken for.

    Args:
        answer: (H, W) int class ids in [0, C); UNKNOWN (255) where there is no answer.
        truth: (H, W) int class ids in [0, C); UNKNOWN where nobody annotated, and the pixel counts nowhere.
        num_classes: C.

    Returns:
        (C, C + 1) int64 pixels: a row for each true class, a column for each answer; the last column is for pixels
        without an answer, which are wrong whatever they are.

    Raises:
        ValueError: the masks have different shapes, or hold ids without a class.
    """
    a, t = (checked_ids(_array(ids), num_classes, name) for ids, name in ((answer, "the answer"), (truth, "the truth")))
    if a.shape != t.shape:
        raise ValueError(f"an answer of shape {a.shape}, expected {t.shape} like the truth")
    known = t != UNKNOWN
    columns = np.minimum(a[known], num_classes).astype(np.int64)  # 255 → C
    cells = np.bincount(t[known] * np.int64(num_classes + 1) + columns, minlength=num_classes * (num_classes + 1))
    return cells.reshape(num_classes, num_classes + 1)


@dataclass(frozen=True, eq=False)
class SegmentationScore:
    """How well masks agree with the truth. `a + b` pools the pixels of both, as if they were one scan.

    Attributes:
        confusion: (C, C + 1) int pixels, see `confusion_matrix`.
        class_names: the C names.
    """

    confusion: np.ndarray
    class_names: tuple[str, ...]

    @classmethod
    def of(cls, answer: np.ndarray, truth: np.ndarray, class_names: Sequence[str]) -> "SegmentationScore":
        """The score of an answer's class ids against the truth's; see confusion_matrix."""
        return cls(confusion_matrix(answer, truth, len(class_names)), class_names)

    def __post_init__(self):
        c = len(self.class_names)
        if self.confusion.shape != (c, c + 1):
            raise ValueError(f"a confusion matrix of shape {self.confusion.shape}, expected {(c, c + 1)}")

    def __add__(self, other: "SegmentationScore") -> "SegmentationScore":
        if not isinstance(other, SegmentationScore):
            return NotImplemented
        if tuple(self.class_names) != tuple(other.class_names):
            raise ValueError(f"a score for {list(other.class_names)}, expected one for {list(self.class_names)}")
        return SegmentationScore(self.confusion + other.confusion, self.class_names)

    @property
    def iou(self) -> dict[str, float]:
        """By class, intersection over union in [0, 1]; NaN for a class that is in neither mask."""
        return self._by_class(lambda c: ratio(c.true_positives, c.n + c.false_positives))

    @property
    def dice(self) -> dict[str, float]:
        """By class, the Dice coefficient (F1) in [0, 1]; NaN for a class that is in neither mask."""
        return self._by_class(lambda c: ratio(2 * c.true_positives, c.n + c.true_positives + c.false_positives))

    @property
    def miou(self) -> float:
        """Mean of the IoUs that are defined, in [0, 1]; NaN when none is."""
        return _or_nan(defined_mean(_or_none(v) for v in self.iou.values()))

    @property
    def classes_counted(self) -> int:
        """Of how many classes `miou` is the mean."""
        return sum(not isnan(v) for v in self.iou.values())

    @property
    def pixel_accuracy(self) -> float:
        """Share of annotated pixels that are right, in [0, 1]; NaN when none is annotated."""
        return _or_nan(ratio(int(self.confusion.diagonal().sum()), int(self.confusion.sum())))

    @property
    def pixels(self) -> dict[str, int]:
        """By class, how many pixels of it there truly are."""
        return dict(zip(self.class_names, self.confusion.sum(1).tolist(), strict=True))

    def as_dict(self) -> dict[str, Any]:
        """All of the above but the confusion matrix, ready for JSON: None for NaN."""
        return {
            "pixel_accuracy": _or_none(self.pixel_accuracy),
            "miou": _or_none(self.miou),
            "classes_counted": self.classes_counted,
            "iou": {name: _or_none(v) for name, v in self.iou.items()},
            "dice": {name: _or_none(v) for name, v in self.dice.items()},
            "pixels": self.pixels,
        }

    def _by_class(self, measure: Callable[[ClassCounts], float | None]) -> dict[str, float]:
        # no pixel is truly without an answer: a row of zeros makes the matrix square
        square = torch.from_numpy(np.vstack([self.confusion, np.zeros_like(self.confusion[:1])]))
        return {name: _or_nan(measure(c)) for name, c in zip(self.class_names, class_counts(square), strict=False)}


def segmentation_metrics(scores: Mapping[str, Sequence[SegmentationScore]]) -> dict[str, Any]:
    """Everything that a card says about a segmenter, ready for JSON.

    The figures of a class are those of all scans' pixels pooled, so a scan in which a class is rare or absent doesn't
    weigh as much as one that is full of it; the mIoU is the mean of them over the classes. None where undefined.

    Args:
        scores: by subject (patient or eye), one score for each scan.

    Returns:
        n, subjects: number of scans and of subjects.
        pixel_accuracy: share of all annotated pixels that are right.
        miou, classes_counted: mean of the classes' IoUs, and of how many.
        per_class: by name, {iou, dice, pixels, scans}: the last two say how many pixels of the class there truly are
            and in how many scans.
        per_subject: by subject, {n, pixel_accuracy, miou, classes_counted, iou {name: …}}, pooled over its scans.
        spread: {pixel_accuracy, miou}, each {mean, sd, min, max} of the subjects' figures; sd is of a sample (n - 1).
        confusion_matrix: C rows (truth) of C + 1 columns (answer, the last for none), in pixels.

    Raises:
        ValueError: no subject, a subject without scans, or scores of different classes.
    """
    if not scores or not all(scores.values()):
        empty = [subject for subject, of_subject in scores.items() if not of_subject]
        raise ValueError(f"no scores{f' for {empty}' if empty else ''}, expected one or more for each subject")
    pooled = {subject: reduce(operator.add, of_subject) for subject, of_subject in scores.items()}
    scans = [score for of_subject in scores.values() for score in of_subject]
    whole = reduce(operator.add, pooled.values())
    total, subjects = whole.as_dict(), {subject: score.as_dict() for subject, score in pooled.items()}
    return {
        "n": len(scans),
        "subjects": len(pooled),
        **{key: total[key] for key in ("pixel_accuracy", "miou", "classes_counted")},
        "per_class": {
            name: {
                **{key: total[key][name] for key in ("iou", "dice", "pixels")},
                "scans": sum(score.pixels[name] > 0 for score in scans),
            }
            for name in whole.class_names
        },
        "per_subject": {
            subject: {
                "n": len(scores[subject]),
                **{key: figures[key] for key in ("pixel_accuracy", "miou", "classes_counted", "iou")},
            }
            for subject, figures in subjects.items()
        },
        "spread": {key: spread(s[key] for s in subjects.values()) for key in ("pixel_accuracy", "miou")},
        "confusion_matrix": whole.confusion.tolist(),
    }


def wilson_interval(hits: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a share, in [0, 1] (Wilson 1927, J. Am. Stat. Assoc. 22:209).

    It holds where the usual ± 1.96 standard errors fails: few scans, or a share near 0 or 1.

    Raises:
        ValueError: not 0 ≤ hits ≤ n with n ≥ 1.
    """
    if not 0 <= hits <= n or n < 1:
        raise ValueError(f"{hits} of {n}, expected hits between 0 and n, and n of at least 1")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = hits / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def calibration_error(confidence: np.ndarray, right: np.ndarray, bins: int = CALIBRATION_BINS) -> float:
    """Expected calibration error (Guo et al. 2017, eq. 5): mean over scans of their bin's |accuracy - confidence|.

    Bin m of M is ((m - 1)/M, m/M]. torchmetrics' own gives scans of confidence 1 a bin to themselves, which a
    saturated softmax fills.

    Args:
        confidence: (N,) float in [0, 1], the answer's probability.
        right: (N,) bool, whether it was right.
    """
    index = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    gaps = np.bincount(index, right.astype(float) - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(confidence))


def class_counts(confusion: torch.Tensor) -> list[ClassCounts]:
    """(C, C) int, rows truth and columns answer → each class against the rest."""
    hits, truths, answers, total = confusion.diag(), confusion.sum(1), confusion.sum(0), confusion.sum()
    counts = torch.stack([hits, answers - hits, truths - hits, total - truths - answers + hits], 1)
    return [ClassCounts(*row) for row in counts.tolist()]


def ratio(part: float, whole: float) -> float | None:
    """part / whole, or None where there is no whole to have a part of."""
    return part / whole if whole else None


def defined_mean(values: Iterable[float | None]) -> float | None:
    """Mean of the values that are defined, or None when none is."""
    defined = [v for v in values if v is not None]
    return sum(defined) / len(defined) if defined else None


def _or_none(value: float) -> float | None:
    return None if isnan(value) else value


def _or_nan(value: float | None) -> float:
    return nan if value is None else value


def spread(values: Iterable[float | None]) -> dict[str, float | None]:
    """Mean, standard deviation of a sample, least and greatest of the values that are defined."""
    defined = [v for v in values if v is not None]
    return {
        "mean": defined_mean(defined),
        "sd": stdev(defined) if len(defined) > 1 else None,
        "min": min(defined, default=None),
        "max": max(defined, default=None),
    }


def _auroc(p: np.ndarray, t: np.ndarray) -> list[float | None]:
    """Each class's area under the ROC curve against the rest."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # classes without scans: torchmetrics says 0, we say None
        areas = _torchmetrics().multiclass_auroc(
            torch.from_numpy(p), torch.from_numpy(t), num_classes=p.shape[1], average="none"
        )
    n = np.bincount(t, minlength=p.shape[1])
    return [float(area) if 0 < k < len(t) else None for area, k in zip(areas, n, strict=True)]


def _torchmetrics():
    try:
        import torchmetrics.functional.classification
    except ImportError as e:
        raise ImportError("metrics need torchmetrics: pip install octhub[training]") from e
    return torchmetrics.functional.classification


def _checked(
    probabilities: torch.Tensor | np.ndarray, targets: torch.Tensor | np.ndarray, class_names: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """(N, C) float64 and (N,) int64, or a ValueError."""
    p, t = _array(probabilities), _array(targets)
    names = len(class_names)
    if names < 2 or len(set(class_names)) != names:
        raise ValueError(f"class names {list(class_names)}, expected two or more, all different")
    if p.ndim != 2 or p.shape[1] != names or len(p) == 0:
        raise ValueError(f"probabilities of shape {p.shape}, expected (N, {names}) with N of at least 1")
    if t.shape != p.shape[:1]:
        raise ValueError(f"targets of shape {t.shape}, expected {p.shape[:1]}, one for each row of probabilities")
    if not np.issubdtype(t.dtype, np.integer):
        raise ValueError(f"targets of type {t.dtype}, expected integer class ids")
    if t.min() < 0 or t.max() >= names:
        raise ValueError(f"targets from {t.min()} to {t.max()}, expected class ids from 0 to {names - 1}")
    p = p.astype(np.float64)
    bad = ~np.isfinite(p).all(1)
    if bad.any():
        raise ValueError(f"probabilities of {bad.sum()} rows (first: {bad.argmax()}) aren't finite, expected [0, 1]")
    if p.min() < 0 or p.max() > 1:
        raise ValueError(f"probabilities from {p.min():.4g} to {p.max():.4g}, expected [0, 1]; are these logits?")
    off = np.abs(p.sum(1) - 1)
    if off.max() > SUM_TOLERANCE:
        row = int(off.argmax())
        raise ValueError(f"probabilities of row {row} sum to {p[row].sum():.4g}, expected 1 ± {SUM_TOLERANCE:g}")
    return p, t.astype(np.int64)


def _array(values: torch.Tensor | np.ndarray) -> np.ndarray:
    if not isinstance(values, torch.Tensor):
        return np.asarray(values)
    values = values.detach().cpu()
    return values.double().numpy() if values.is_floating_point() else values.numpy()  # numpy has no bfloat16
