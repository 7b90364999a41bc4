"""Many scans are answered in order, by all cores, and a few at a time."""

import threading
import time

import pytest
import torch

from octhub.workers import in_order, most_workers


@pytest.fixture(autouse=True)
def two_threads():
    """Whatever the machine has."""
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    assert torch.get_num_threads() == 4
    torch.set_num_threads(before)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 50])
def test_answers_come_in_order(count):
    def slow(i):
        time.sleep(0.01 if i % 3 else 0.03)
        return i * i

    assert list(in_order(slow, range(count), 4)) == [(i, i * i) for i in range(count)]


def test_several_work_at_once_each_with_its_share_of_the_threads():
    both = threading.Barrier(2, timeout=10)

    def work(i):
        both.wait()  # nobody passes alone
        return torch.get_num_threads()

    assert {answer for _, answer in in_order(work, range(4), most=2)} == {2}


def test_one_scan_has_all_threads_and_no_other_worker():
    here = threading.get_ident()
    assert list(in_order(lambda i: (torch.get_num_threads(), threading.get_ident()), [7], 4)) == [(7, (4, here))]


def test_few_are_taken_ahead():
    taken = []

    def items():
        for i in range(100):
            taken.append(i)
            yield i

    answers = in_order(lambda i: i, items(), most=2)
    for _ in range(10):
        next(answers)
    assert len(taken) <= 10 + 2 * 2
    answers.close()
    assert len(taken) <= 10 + 2 * 2


def test_an_error_comes_in_its_turn_and_ends_it():
    done = []

    def work(i):
        if i == 3:
            raise OSError(28, "No space left on device")
        done.append(i)
        return i

    answers = in_order(work, range(1000), 4)
    assert [next(answers)[0] for _ in range(3)] == [0, 1, 2]
    with pytest.raises(OSError, match="No space"):
        next(answers)
    assert len(done) < 20


def test_a_macs_gpu_is_asked_by_one_alone():
    assert most_workers(torch.device("mps"), 8) == 1
    assert most_workers(torch.device("cpu"), 8) == 8
