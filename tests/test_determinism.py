"""The same scan gets the same bits on a CPU: alone, among others, in other threads, and on any number of cores."""

import csv
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from octhub import Classification, Segmenter
from octhub.__main__ import main
from octhub.hub import DEFAULT_SEGMENTER


@pytest.fixture(scope="module")
def paths(root):
    return sorted((root / "examples").glob("*.jpeg"))


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def bits(answer: Classification) -> tuple:
    return answer.probabilities, answer.decision, answer.reason, answer.heatmap.tobytes()


@pytest.fixture(scope="module")
def alone(classifier, paths):
    return [bits(classifier(path, heatmap=True)) for path in paths]


@pytest.mark.parametrize("count", [1, 3])
def test_on_any_number_of_cores(classifier, paths, alone, threads, count):
    threads(count)
    assert [bits(classifier(path, heatmap=True)) for path in paths] == alone


def test_grad_cam_of_eight_at_once(classifier, paths, alone):
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda path: bits(classifier(path, heatmap=True)), [*paths] * 3))
    assert answers == alone * 3


def test_outlines_on_any_number_of_cores_and_at_once(root, paths, threads):
    segmenter = Segmenter.from_pretrained(root / DEFAULT_SEGMENTER)
    first, second = paths[:2]
    masks = segmenter(first).mask, segmenter(second).mask
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda path: segmenter(path).mask, (first, second)))
    threads(1)
    one = segmenter(first).mask
    assert (masks[0] == one).all()
    assert all((a == b).all() for a, b in zip(both, masks, strict=True))


def test_command_line_alone_and_among_others(paths, tmp_path, threads):
    def rows(*named) -> list[dict]:
        assert main(["classify", *map(str, named), "--csv", str(tmp_path / "table.csv")]) == 0
        with (tmp_path / "table.csv").open(newline="") as f:
            return list(csv.DictReader(f))

    threads(2)
    together = rows(*paths)
    assert together == [row for path in paths for row in rows(path)]
    assert together == rows(*reversed(paths))[::-1]
