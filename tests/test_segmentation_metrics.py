"""Segmentation metrics, against cases worked by hand and against torchmetrics."""

import json
import subprocess
import sys
from math import isnan
from pathlib import Path
from statistics import stdev

import numpy as np
import pytest
import torch
from torchmetrics.functional import classification as functional

from octhub.mask import UNKNOWN
from octhub.metrics import SegmentationScore, confusion_matrix, segmentation_metrics

NAMES = ("above", "layers", "fluid")
U = UNKNOWN
TRUTH = np.array([[0, 0, 0, U], [1, 1, 1, U], [1, 0, 1, U]])
ANSWER = np.array([[0, 0, 1, 2], [1, 1, U, U], [0, 0, 1, 1]])
# above: 4 true, 3 found, 1 taken for layers. layers: 5 true, 3 found, 1 taken for above, 1 not answered. No fluid: the
# one that was answered lies where nobody annotated.
CONFUSION = [[3, 1, 0, 0], [1, 3, 0, 1], [0, 0, 0, 0]]


def score(answer, truth, names=NAMES) -> SegmentationScore:
    return SegmentationScore(confusion_matrix(np.asarray(answer), np.asarray(truth), len(names)), names)


@pytest.fixture
def hand() -> SegmentationScore:
    return score(ANSWER, TRUTH)


@pytest.mark.parametrize("kind", [np.uint8, np.int64, np.uint16, torch.tensor])
def test_confusion_matrix_by_hand(kind):
    confusion = confusion_matrix(kind(ANSWER), kind(TRUTH), 3)
    assert confusion.dtype == np.int64
    assert confusion.tolist() == CONFUSION


def test_figures_by_hand(hand):
    assert hand.iou == pytest.approx({"above": 3 / 5, "layers": 3 / 6, "fluid": float("nan")}, nan_ok=True)
    assert hand.dice == pytest.approx({"above": 6 / 8, "layers": 6 / 9, "fluid": float("nan")}, nan_ok=True)
    assert hand.miou == pytest.approx((3 / 5 + 3 / 6) / 2)
    assert hand.pixel_accuracy == pytest.approx(6 / 9)
    assert hand.classes_counted == 2
    assert hand.pixels == {"above": 4, "layers": 5, "fluid": 0}


def test_a_false_alarm_of_an_absent_class_counts():
    alarm = score([[0, 2]], [[0, 0]])
    assert (alarm.iou["above"], alarm.iou["fluid"], alarm.dice["fluid"]) == (1 / 2, 0, 0)
    assert isnan(alarm.iou["layers"])
    assert (alarm.classes_counted, alarm.miou) == (2, 1 / 4)


def test_nothing_annotated_is_undefined():
    nothing = score([[0, 1]], [[U, U]])
    assert isnan(nothing.miou)
    assert isnan(nothing.pixel_accuracy)
    assert nothing.classes_counted == 0
    assert nothing.as_dict() == {
        "pixel_accuracy": None,
        "miou": None,
        "classes_counted": 0,
        "iou": dict.fromkeys(NAMES),
        "dice": dict.fromkeys(NAMES),
        "pixels": dict.fromkeys(NAMES, 0),
    }


def test_no_answer_is_wrong_and_a_perfect_one_right():
    silent = score([[U, U]], [[0, 1]])
    assert (silent.pixel_accuracy, silent.miou, silent.iou["above"], silent.classes_counted) == (0, 0, 0, 2)
    perfect = score(np.where(TRUTH == U, 2, TRUTH), TRUTH)
    assert (perfect.pixel_accuracy, perfect.miou, perfect.classes_counted) == (1, 1, 2)


def test_scores_pool_as_if_the_scans_were_one(hand):
    other = score([[2, 2, 0]], [[2, 0, 2]])
    both = hand + other
    flat = score(np.append(ANSWER, [2, 2, 0])[None], np.append(TRUTH, [2, 0, 2])[None])
    assert both.as_dict() == flat.as_dict()
    assert both.iou["fluid"] == 1 / 3
    assert hand.confusion.tolist() == CONFUSION  # the parts stay
    with pytest.raises(ValueError, match=r"a score for \['a', 'b', 'c'\], expected one for \['above', 'layers', 'flu"):
        hand + SegmentationScore(hand.confusion, ("a", "b", "c"))
    with pytest.raises(TypeError):
        hand + 1


def test_class_names_may_be_a_list(hand):
    assert (SegmentationScore(hand.confusion, list(NAMES)) + hand).pixels["above"] == 8


@pytest.mark.parametrize("classes", [2, 5, 10])
def test_same_as_torchmetrics(classes):
    rng = np.random.default_rng(classes)
    truth = rng.integers(0, classes, (64, 48))
    answer = np.where(rng.random(truth.shape) < 0.7, truth, rng.integers(0, classes, truth.shape))
    truth[rng.random(truth.shape) < 0.2] = UNKNOWN
    ours = score(answer, truth, tuple(f"class {n}" for n in range(classes)))
    args = torch.from_numpy(answer), torch.from_numpy(truth)
    kwargs = {"num_classes": classes, "ignore_index": UNKNOWN}
    iou = functional.multiclass_jaccard_index(*args, average="none", **kwargs)
    dice = functional.multiclass_f1_score(*args, average="none", **kwargs)
    assert list(ours.iou.values()) == pytest.approx(iou.tolist())
    assert list(ours.dice.values()) == pytest.approx(dice.tolist())
    assert ours.miou == pytest.approx(float(functional.multiclass_jaccard_index(*args, **kwargs)))
    accuracy = functional.multiclass_accuracy(*args, average="micro", **kwargs)
    assert ours.pixel_accuracy == pytest.approx(float(accuracy))
    square = functional.multiclass_confusion_matrix(*args, **kwargs)
    assert ours.confusion[:, :-1].tolist() == square.tolist()
    assert not ours.confusion[:, -1].any()


@pytest.fixture
def report(hand) -> dict:
    # left: two scans, above 4 + 0, layers 5 + 0, fluid 0 + 2. right: one scan, above 1 and fluid 1, both found.
    return segmentation_metrics({"left": [hand, score([[2, 0]], [[2, 2]])], "right": [score([[0, 2]], [[0, 2]])]})


def test_report_pools_all_scans(report):
    assert (report["n"], report["subjects"], report["classes_counted"]) == (3, 2, 3)
    assert report["confusion_matrix"] == [[4, 1, 0, 0], [1, 3, 0, 1], [1, 0, 2, 0]]
    assert report["pixel_accuracy"] == pytest.approx(9 / 13)
    assert report["per_class"] == {
        "above": {"iou": pytest.approx(4 / 7), "dice": pytest.approx(8 / 11), "pixels": 5, "scans": 2},
        "layers": {"iou": pytest.approx(3 / 6), "dice": pytest.approx(6 / 9), "pixels": 5, "scans": 1},
        "fluid": {"iou": pytest.approx(2 / 3), "dice": pytest.approx(4 / 5), "pixels": 3, "scans": 2},
    }
    assert report["miou"] == pytest.approx((4 / 7 + 3 / 6 + 2 / 3) / 3)


def test_report_by_subject(report):
    left, right = report["per_subject"]["left"], report["per_subject"]["right"]
    assert left["iou"] == pytest.approx({"above": 3 / 6, "layers": 3 / 6, "fluid": 1 / 2})
    assert (left["n"], left["miou"], left["classes_counted"]) == (2, pytest.approx(1 / 2), 3)
    assert left["pixel_accuracy"] == pytest.approx(7 / 11)
    assert right == {
        "n": 1,
        "pixel_accuracy": 1,
        "miou": 1,
        "classes_counted": 2,
        "iou": {"above": 1, "layers": None, "fluid": 1},
    }


def test_report_spread_is_over_subjects(report):
    assert report["spread"]["miou"] == pytest.approx({"mean": 3 / 4, "sd": stdev([1 / 2, 1]), "min": 1 / 2, "max": 1})
    accuracy = {"mean": (7 / 11 + 1) / 2, "sd": stdev([7 / 11, 1]), "min": 7 / 11, "max": 1}
    assert report["spread"]["pixel_accuracy"] == pytest.approx(accuracy)


def test_report_of_one_subject_and_of_nothing_annotated(hand):
    one = segmentation_metrics({"left": [hand]})
    assert one["spread"]["miou"] == {"mean": hand.miou, "sd": None, "min": hand.miou, "max": hand.miou}
    assert one["per_class"]["fluid"] == {"iou": None, "dice": None, "pixels": 0, "scans": 0}
    dark = segmentation_metrics({"left": [hand], "right": [score([[0]], [[U]])]})
    assert dark["per_subject"]["right"]["miou"] is None
    assert dark["spread"] == one["spread"]  # a subject without figures is left out


def test_report_is_json(report):
    assert json.loads(json.dumps(report, allow_nan=False)) == report


def test_report_needs_scores_of_the_same_classes(hand):
    with pytest.raises(ValueError, match=r"^no scores, expected one or more for each subject"):
        segmentation_metrics({})
    with pytest.raises(ValueError, match=r"^no scores for \['right'\], expected"):
        segmentation_metrics({"left": [hand], "right": []})
    with pytest.raises(ValueError, match="expected one for"):
        segmentation_metrics({"left": [hand], "right": [SegmentationScore(hand.confusion, ("a", "b", "c"))]})


@pytest.mark.parametrize(
    ("answer", "truth", "message"),
    [
        (ANSWER[:2], TRUTH, r"an answer of shape \(2, 4\), expected \(3, 4\) like the truth"),
        (ANSWER + 1, TRUTH, r"the answer: ids 3, 256 without a class, expected 0 to 2 or 255"),
        (ANSWER, np.where(TRUTH == U, -1, TRUTH), r"the truth: id -1 without a class"),
        (ANSWER.astype(float), TRUTH, "the answer: values of type float64"),
        (ANSWER[0], TRUTH[0], r"the answer: an array of shape \(4,\), expected \(H, W\)"),
    ],
)
def test_bad_masks_are_refused(answer, truth, message):
    with pytest.raises(ValueError, match=message):
        confusion_matrix(answer, truth, 3)
    with pytest.raises(ValueError, match=message):
        confusion_matrix(torch.from_numpy(answer), torch.from_numpy(truth), 3)


def test_a_square_matrix_is_no_score():
    with pytest.raises(ValueError, match=r"shape \(3, 3\), expected \(3, 4\)"):
        SegmentationScore(np.zeros((3, 3), int), NAMES)


def test_torchmetrics_is_not_needed():
    code = """if True:
        import sys
        sys.modules["torchmetrics"] = None
        import numpy as np
        from octhub.metrics import SegmentationScore, confusion_matrix, segmentation_metrics
        mask = np.eye(4, dtype=np.uint8)
        print(segmentation_metrics({"a": [SegmentationScore(confusion_matrix(mask, mask, 2), ("x", "y"))]})["miou"])
    """
    root = Path(__file__).parent.parent
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=120, check=True
    )
    assert run.stdout.strip() == "1.0"
