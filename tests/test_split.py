"""Holding out patients: none on both sides, shares as asked, the same whatever the order."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from training.samples import CLASS_NAMES, DataError, Sample
from training.split import hold_out


def cohort(patients: int = 200, seed: int = 0, root: str = "train") -> list[Sample]:
    """Patients of one to 30 scans, most with few, as in OCT2017; every tenth has a second class."""
    rng = np.random.default_rng(seed)
    samples = []
    for patient in range(patients):
        labels = [CLASS_NAMES[patient % 4]] + [CLASS_NAMES[(patient + 1) % 4]] * (patient % 10 == 0)
        samples += [
            Sample(Path(root, label, f"{label}-{patient}-{i}.jpeg"), label, f"oct2017:{patient}")
            for label in labels
            for i in range(min(30, rng.geometric(0.25)))
        ]
    return samples


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("fraction", [0.1, 0.15, 0.3, 0.5, 0.8])
def test_whole_patients_and_shares_as_asked(fraction, seed):
    samples = cohort(400, seed)
    train, val = hold_out(samples, fraction, seed)
    assert sorted(train + val) == sorted(samples)
    assert not {s.patient for s in train} & {s.patient for s in val}
    held, total = Counter(s.label for s in val), Counter(s.label for s in samples)
    for label in CLASS_NAMES:
        assert held[label] / total[label] == pytest.approx(fraction, abs=0.04)


def test_same_split_in_any_order_and_folder():
    samples = cohort()
    train, val = hold_out(samples, 0.2, seed=7)
    shuffled = [samples[i] for i in np.random.default_rng(1).permutation(len(samples))]
    assert hold_out(shuffled, 0.2, seed=7) == (train, val)
    elsewhere = hold_out(iter(cohort(root="elsewhere")), 0.2, seed=7)[1]
    assert [s.path.name for s in elsewhere] == [s.path.name for s in val]


def test_seeds_hold_out_different_patients():
    held = [{s.patient for s in hold_out(cohort(), 0.2, seed)[1]} for seed in range(4)]
    assert all(len(a & b) < len(a) / 2 for a in held for b in held if a is not b)


def test_a_patient_with_many_scans_does_not_swamp_validation():
    samples = cohort() + [Sample(Path(f"NORMAL-999-{i}.jpeg"), "NORMAL", "oct2017:999") for i in range(60)]
    for seed in range(6):
        val = hold_out(samples, 0.2, seed)[1]
        assert len({s.patient for s in val if s.label == "NORMAL"}) >= 2
        total = sum(s.label == "NORMAL" for s in samples)
        assert sum(s.label == "NORMAL" for s in val) / total < 0.3


@pytest.mark.parametrize("fraction", [0.01, 0.1, 0.5, 0.9, 0.99])
def test_few_patients_still_leave_every_class_on_both_sides(fraction):
    samples = [Sample(Path(f"{label}-{p}-1.png"), label, f"{label}{p}") for label in ("DME", "CNV") for p in range(3)]
    for side in hold_out(samples, fraction, 0):
        assert {s.label for s in side} == {"DME", "CNV"}


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5, float("nan")])
def test_bad_fraction_is_refused(fraction):
    with pytest.raises(ValueError, match=r"fraction .*, expected a share to hold out between 0 and 1"):
        hold_out(cohort(), fraction, 0)


def test_too_few_patients_are_refused():
    one = [Sample(Path(f"DME-1-{i}.png"), "DME", "oct2017:1") for i in range(9)]
    with pytest.raises(DataError, match="DME: scans of 1 patient, expected at least 2"):
        hold_out(cohort()[:0] + one, 0.2, 0)
    with pytest.raises(DataError, match="no scans"):
        hold_out([], 0.2, 0)
