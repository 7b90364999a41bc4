"""Which scans train, which validate: no patient, and no copy of a scan, on two sides."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from training.samples import DataError, Sample, extra, oct2017, sha256

MOST_FOLDS = 20
"""Fractions are rounded to n-ths, n up to 20: finer folds are so small that a patient with many scans unbalances one.

Measured on 1,504 OCT2017 scans of 855 patients, eight seeds each for 0.1, 0.13, 0.15, 0.2, 0.25 and 0.3: each
class's share was within 1.8 percentage points of the fraction with 20 folds at most, and off by up to 5 with 100.
"""


def hold_out(samples: Iterable[Sample], fraction: float, seed: int) -> tuple[list[Sample], list[Sample]]:
    """Split scans by patient across classes, about `fraction` of each class's scans to the second part.

    The folds of scikit-learn's StratifiedGroupKFold, as many as make up the fraction, drawn by `seed`. The same
    scans give the same split in whatever order and folder they come. Where patients are few, the share is as close as
    whole patients allow.

    Args:
        samples: labelled scans of all patients.
        fraction: share to hold out, in (0, 1).

    Returns:
        (train, val), each in sorted order; no patient in both, every class in both.

    Raises:
        ValueError: fraction out of range.
        DataError: no scans, or a class with too few patients to be on both sides.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"fraction {fraction}, expected a share to hold out between 0 and 1")
    samples = sorted(samples, key=lambda s: (s.patient, s.label, s.path.name, s.path))
    patients = defaultdict(set)
    for s in samples:
        patients[s.label].add(s.patient)
    if not patients:
        raise DataError("no scans to split")
    for label, found in sorted(patients.items()):
        if len(found) < 2:
            raise DataError(f"{label}: scans of {len(found)} patient, expected at least 2, one for each side")

    labels, groups = [s.label for s in samples], [s.patient for s in samples]
    held, folds = _folds(fraction, min(len(found) for found in patients.values()))
    kfold = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    parts = [indices for _, indices in kfold.split(samples, labels, groups)]
    chosen = np.random.default_rng(seed).permutation(folds)[:held]  # the first folds hold the largest patients
    val = {int(i) for part in chosen for i in parts[part]}
    split = [s for i, s in enumerate(samples) if i not in val], [s for i, s in enumerate(samples) if i in val]
    for side, name in zip(split, ("training", "validation"), strict=True):
        missing = sorted(patients.keys() - {s.label for s in side})
        if missing:
            raise DataError(f"no {', '.join(missing)} left for {name}: too few patients to hold out {fraction:g}")
    return sorted(split[0]), sorted(split[1])


def _folds(fraction: float, patients: int) -> tuple[int, int]:
    """(folds to hold out, folds in all) whose ratio is near `fraction`, with a patient of every class for each."""
    near = Fraction(fraction).limit_denominator(min(MOST_FOLDS, patients))
    if 0 < near < 1:
        return near.numerator, near.denominator
    folds = min(patients, round(1 / min(fraction, 1 - fraction)))
    return (1 if near == 0 else folds - 1), folds


@dataclass(frozen=True)
class Splits:
    """Scans to train and to validate on, and how many training scans belong to neither for a leak's sake."""

    train: list[Sample]
    val: list[Sample]
    left_out: int


def training_splits(
    data: Path, extras: Iterable[Path] = (), *, val_fraction: float, use_val: bool = False, seed: int = 0
) -> Splits:
    """Train and validate without the test split's patients and scans.

    In the official release, patients and scans of the test split are in the training split, too: they are left out.
    So are the validation patients' other scans.

    Args:
        data: folder in OCT2017's layout; with train/ and test/.
        extras: more training scans, folders named as in EXTRAS.
        val_fraction: share of the scans held out, by patient, unless `use_val` takes data's own val/.

    Raises:
        DataError: bad layout, unknown extra, or nothing left to train or validate on.
    """
    more = [s for folder in extras for s in extra(folder)]
    released, test = oct2017(data, "train"), oct2017(data, "test")
    free = _apart(released, test)
    if use_val:
        val = _apart(oct2017(data, "val"), test)
        train = _apart(free, val)
        left_out = len(released) - len(train)
    else:
        train, val = hold_out(free, val_fraction, seed)
        train = _apart(train, val)
        left_out = len(released) - len(train) - len(val)
    train += _apart(more, test + val)
    if not train or not val:
        found = f"{len(train)} training and {len(val)} validation scans are left"
        raise DataError(f"{data}: {found}, expected some of each")
    return Splits(train, val, left_out)


def _apart(samples: list[Sample], others: list[Sample]) -> list[Sample]:
    """The samples that share no patient and no file's bytes with the others."""
    patients = {s.patient for s in others}
    sizes = {s.path.stat().st_size for s in others}
    hashes = {sha256(s.path) for s in others} if any(s.path.stat().st_size in sizes for s in samples) else set()
    return [
        s
        for s in samples
        if s.patient not in patients and not (s.path.stat().st_size in sizes and sha256(s.path) in hashes)
    ]
