"""Answer many scans with all cores, in their order: each worker reads, prepares and answers whole scans on one core.

So decoding overlaps with the models, and a scan's answer has the same bits as alone: none shares a batch with others.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import TypeVar

import torch

Item, Answer = TypeVar("Item"), TypeVar("Answer")


def in_order(work: Callable[[Item], Answer], items: Iterable[Item], most: int) -> Iterator[tuple[Item, Answer]]:
    """(item, work(item)) of each item, in their order; a few are at work ahead of the one that is handed out.

    Torch's threads are shared out among the workers, and given back at the end. What `work` raises is raised here, in
    its turn; what is still waiting is then given up.

    Args:
        work: runs in several threads at once.
        most: workers, however many cores there are (see `most_workers`).
    """
    items = iter(items)
    first = list(islice(items, 2))
    if len(first) < 2:  # a single scan has all cores to itself
        yield from ((item, work(item)) for item in first)
        return
    with _shared_threads(most) as (workers, threads):
        pool = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(threads,))
        waiting = deque((item, pool.submit(work, item)) for item in (*first, *islice(items, 2 * workers - 2)))
        try:
            while waiting:
                item, future = waiting.popleft()
                answer = future.result()
                waiting.extend((new, pool.submit(work, new)) for new in islice(items, 1))
                yield item, answer
        finally:
            pool.shutdown(cancel_futures=True)


def most_workers(device: torch.device, cpu: int) -> int:
    """How many may ask a model at once: as many as `cpu` says there, but one on a Mac's GPU, which torch can't share
    between threads."""
    return 1 if device.type == "mps" else cpu


@contextmanager
def _shared_threads(most: int) -> Iterator[tuple[int, int]]:
    """(how many workers, torch's threads of each) for a block, in which torch's own number may change."""
    threads = torch.get_num_threads()
    workers = min(most, threads)
    try:
        yield workers, threads // workers
    finally:
        torch.set_num_threads(threads)
