"""Classification metrics, against cases worked by hand."""

import json
import subprocess
import sys
from math import log
from pathlib import Path

import numpy as np
import pytest
import torch

from octhub.metrics import calibration_error, classification_metrics, wilson_interval

NAMES = ("CNV", "DME", "NORMAL")
P = [
    [0.7, 0.2, 0.1],  # CNV, right
    [0.3, 0.6, 0.1],  # CNV, answered DME
    [0.1, 0.8, 0.1],  # DME, right
    [0.2, 0.5, 0.3],  # DME, right
    [0.6, 0.3, 0.1],  # DME, answered CNV
]
T = [0, 0, 1, 1, 1]
# NORMAL has no scan and is never answered.


@pytest.fixture
def hand() -> dict:
    return classification_metrics(torch.tensor(P), torch.tensor(T), NAMES)


def test_counts_and_accuracy(hand):
    assert hand["n"] == 5
    assert hand["accuracy"] == pytest.approx(3 / 5)
    assert hand["confusion_matrix"] == [[1, 1, 0], [1, 2, 0], [0, 0, 0]]
    assert hand["accuracy_interval_95"] == pytest.approx(wilson_interval(3, 5))


def test_classes_with_scans(hand):
    # CNV: 1 hit, 1 miss, 1 false alarm, 2 rightly other. Its scores are .7 .3 against .1 .2 .6: of the 6 pairs .7 wins
    # 3 and .3 wins 2.
    cnv = {"n": 2, "sensitivity": 1 / 2, "specificity": 2 / 3, "precision": 1 / 2, "f1": 1 / 2, "auroc": 5 / 6}
    assert hand["per_class"]["CNV"] == pytest.approx(cnv)
    # DME: 2 hits, 1 miss, 1 false alarm, 1 rightly other; .8 .5 .3 against .2 .6: .8 wins 2, .5 and .3 win 1 each.
    dme = {"n": 3, "sensitivity": 2 / 3, "specificity": 1 / 2, "precision": 2 / 3, "f1": 2 / 3, "auroc": 4 / 6}
    assert hand["per_class"]["DME"] == pytest.approx(dme)


def test_absent_class_is_undefined_and_left_out(hand):
    nothing = {"n": 0, "sensitivity": None, "specificity": 1.0, "precision": None, "f1": None, "auroc": None}
    assert hand["per_class"]["NORMAL"] == nothing
    assert hand["classes_counted"] == 2
    assert hand["macro_f1"] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert hand["macro_auroc"] == pytest.approx((5 / 6 + 4 / 6) / 2)


def test_probability_scores(hand):
    # bins of 1/15: .7 alone in (10/15, 11/15], .6 and .6 in (8/15, 9/15], .8 in (11/15, 12/15], .5 in (7/15, 8/15];
    # |1 - .7| + |0 + 0 - 1.2| + |1 - .8| + |1 - .5| = 2.2, over 5 scans
    assert hand["expected_calibration_error"] == pytest.approx(2.2 / 5)
    assert hand["nll"] == pytest.approx(-(log(0.7) + log(0.3) + log(0.8) + log(0.5) + log(0.3)) / 5, rel=1e-6)
    # (.09+.04+.01) + (.49+.36+.01) + (.01+.04+.01) + (.04+.25+.09) + (.36+.49+.01)
    assert hand["brier"] == pytest.approx((0.14 + 0.86 + 0.06 + 0.38 + 0.86) / 5, rel=1e-6)


def test_false_alarms_of_an_absent_class():
    m = classification_metrics(np.array([[0.1, 0.9], [0.8, 0.2]]), np.array([0, 0]), ("DME", "NORMAL"))
    normal = {"n": 0, "sensitivity": None, "specificity": 0.5, "precision": 0.0, "f1": None, "auroc": None}
    assert m["per_class"]["NORMAL"] == normal
    # a single class with scans: nothing to tell it from
    dme = {"n": 2, "sensitivity": 0.5, "specificity": None, "precision": 1.0, "f1": pytest.approx(2 / 3), "auroc": None}
    assert m["per_class"]["DME"] == dme
    assert (m["classes_counted"], m["macro_f1"], m["macro_auroc"]) == (1, pytest.approx(2 / 3), None)


def test_class_never_answered_has_no_precision_but_an_f1_of_zero():
    m = classification_metrics(np.array([[0.9, 0.1], [0.8, 0.2]]), np.array([0, 1]), ("DME", "NORMAL"))["per_class"]
    assert (m["NORMAL"]["precision"], m["NORMAL"]["sensitivity"], m["NORMAL"]["f1"]) == (None, 0.0, 0.0)


def test_auroc_counts_ties_half():
    # DME .5 .9 against .5 .1: wins, win, tie, win → 3.5 of 4
    p = np.array([[0.5, 0.5], [0.9, 0.1], [0.5, 0.5], [0.1, 0.9]])
    m = classification_metrics(p, np.array([0, 0, 1, 1]), ("DME", "NORMAL"))
    assert m["per_class"]["DME"]["auroc"] == pytest.approx(3.5 / 4)
    assert m["confusion_matrix"] == [[2, 0], [1, 1]]  # of equals, the first


def test_perfect_and_saturated():
    m = classification_metrics(torch.eye(3), torch.arange(3), NAMES)
    assert (m["accuracy"], m["macro_f1"], m["macro_auroc"], m["nll"], m["brier"]) == (1, 1, 1, 0, 0)
    assert m["expected_calibration_error"] == 0
    wrong = classification_metrics(torch.eye(3), torch.tensor([1, 2, 0]), NAMES)
    assert (wrong["accuracy"], wrong["expected_calibration_error"], wrong["brier"]) == (0, 1, 2)
    assert wrong["nll"] == pytest.approx(-log(2**-23))  # finite: floored at float32's epsilon


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_any_float_type(dtype):
    p = torch.tensor([[0.75, 0.25], [0.5, 0.5]], dtype=dtype, requires_grad=True)
    m = classification_metrics(p, torch.tensor([0, 1]), ("DME", "NORMAL"))
    assert m["accuracy"] == 0.5
    assert m["nll"] == pytest.approx(-(log(0.75) + log(0.5)) / 2)


def test_json_and_same_from_numpy(hand):
    assert json.loads(json.dumps(hand, allow_nan=False)) == hand
    assert classification_metrics(np.array(P, np.float32), np.array(T), list(NAMES)) == hand


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [  # Newcombe 1998, Statistics in Medicine 17:857, table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_interval_as_published(hits, n, low, high):
    assert wilson_interval(hits, n) == pytest.approx((low, high), abs=5e-5)
    assert wilson_interval(n - hits, n) == pytest.approx((1 - high, 1 - low), abs=5e-5)


def test_wilson_interval_stays_within_0_and_1_and_refuses_nonsense():
    assert wilson_interval(0, 1)[0] == 0
    assert wilson_interval(1, 1)[1] == 1
    for hits, n in ((0, 0), (3, 2), (-1, 2)):
        with pytest.raises(ValueError, match=f"{hits} of {n}, expected"):
            wilson_interval(hits, n)


def test_calibration_error_by_hand():
    # two bins: (0, .5] holds .4 (right) and .5 (wrong): gap |1 - .9| = .1; (.5, 1] holds .6 (wrong), 1.0 (right) and
    # 1.0 (wrong): gap |1 - 2.6| = 1.6. Confidence 1 shares the last bin.
    confidence = np.array([0.4, 0.5, 0.6, 1.0, 1.0])
    right = np.array([True, False, False, True, False])
    assert calibration_error(confidence, right, bins=2) == pytest.approx((0.1 + 1.6) / 5)
    assert calibration_error(np.array([0.0]), np.array([False])) == 0  # 0 belongs to the first bin


OK_P = np.full((4, 3), 1 / 3)


@pytest.mark.parametrize(
    ("probabilities", "targets", "message"),
    [
        (OK_P[:, :2], np.zeros(4, int), r"shape \(4, 2\), expected \(N, 3\)"),
        (OK_P[0], np.zeros(3, int), r"shape \(3,\), expected \(N, 3\)"),
        (OK_P[:0], np.zeros(0, int), r"shape \(0, 3\), expected"),
        (OK_P, np.zeros(3, int), r"targets of shape \(3,\), expected \(4,\)"),
        (OK_P, np.zeros((4, 1), int), r"targets of shape \(4, 1\)"),
        (OK_P, np.zeros(4), "targets of type float64, expected integer"),
        (OK_P, np.array([0, 1, 2, 3]), "targets from 0 to 3, expected class ids from 0 to 2"),
        (OK_P, np.array([0, -1, 2, 1]), "targets from -1 to 2"),
        (np.where(np.eye(4, 3, -1), np.nan, OK_P), np.zeros(4, int), r"3 rows \(first: 1\) aren't finite"),
        (np.array([[2.0, -1, 0]]), np.zeros(1, int), "from -1 to 2, expected .*logits"),
        (np.array([[0.2, 0.2, 0.2]]), np.zeros(1, int), r"row 0 sum to 0\.6, expected 1"),
    ],
)
def test_bad_input_is_refused(probabilities, targets, message):
    with pytest.raises(ValueError, match=message):
        classification_metrics(probabilities, targets, NAMES)
    with pytest.raises(ValueError, match=message):
        classification_metrics(torch.from_numpy(probabilities), torch.from_numpy(targets), NAMES)


@pytest.mark.parametrize("names", [("DME",), ("DME", "DME")])
def test_bad_class_names_are_refused(names):
    with pytest.raises(ValueError, match=r"class names .*, expected two or more, all different"):
        classification_metrics(np.ones((1, len(names))) / len(names), np.zeros(1, int), names)


def test_torchmetrics_is_imported_on_use_only(monkeypatch):
    code = "import octhub.metrics, sys; sys.exit('torchmetrics' in sys.modules)"
    root = Path(__file__).parent.parent
    assert subprocess.run([sys.executable, "-c", code], cwd=root, timeout=120, check=False).returncode == 0
    for name in [m for m in sys.modules if m.partition(".")[0] == "torchmetrics"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torchmetrics", None)
    with pytest.raises(ImportError, match=r"pip install octhub\[training\]"):
        classification_metrics(OK_P, np.zeros(4, int), NAMES)
