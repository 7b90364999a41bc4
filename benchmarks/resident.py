"""This process's memory, as it goes."""

import contextlib
import threading
from collections.abc import Iterator

import psutil


class Memory:
    """This process's resident memory in MB, as it went."""

    def __init__(self):
        self.samples: list[float] = []

    def early(self) -> float:
        """The most in the first quarter."""
        return max(self.samples[: max(1, len(self.samples) // 4)])

    def late(self) -> float:
        """The most in the last tenth."""
        return max(self.samples[-max(1, len(self.samples) // 10) :])

    def peak(self) -> float:
        return max(self.samples)


@contextlib.contextmanager
def watched(every: float = 0.2) -> Iterator[Memory]:
    """Sample the memory during a block."""
    memory, process, over = Memory(), psutil.Process(), threading.Event()

    def sample() -> None:
        while True:
            memory.samples.append(process.memory_info().rss / 1e6)
            if over.wait(every):
                return

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield memory
    finally:
        over.set()
        thread.join()
