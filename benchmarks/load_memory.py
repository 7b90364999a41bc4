"""How much memory a server's processes take, while somebody asks."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import numpy as np
import psutil

MEGABYTE = 1e6


def resident(pid: int) -> float:
    """MB in memory of a process and all that it started; what they share counts for each."""
    total = 0
    process = psutil.Process(pid)
    for each in [process, *process.children(recursive=True)]:
        try:
            total += each.memory_info().rss
        except psutil.NoSuchProcess:  # it ended meanwhile
            continue
    return total / MEGABYTE


@dataclass
class Peak:
    """The most memory that was seen, in MB; None where the server isn't ours to look at."""

    mb: float | None = None

    def see(self, mb: float) -> None:
        self.mb = mb if self.mb is None else max(self.mb, mb)


@asynccontextmanager
async def watched(pid: int | None, every: float = 0.25) -> AsyncIterator[Peak]:
    """The peak over a time, looked for every so many seconds."""
    peak = Peak()

    async def look() -> None:
        while pid is not None:
            peak.see(resident(pid))
            await asyncio.sleep(every)

    task = asyncio.create_task(look())
    try:
        yield peak
    finally:
        task.cancel()
        if pid is not None:
            peak.see(resident(pid))


@dataclass
class Curve:
    """Memory over a number of requests.

    Attributes:
        requests: how many were answered at each look.
        mb: memory then.
    """

    requests: list[int] = field(default_factory=list)
    mb: list[float] = field(default_factory=list)

    def look(self, requests: int, pid: int) -> None:
        self.requests.append(requests)
        self.mb.append(resident(pid))

    @property
    def slope(self) -> float:
        """MB per 1,000 requests: of the straight line that fits best."""
        return slope(self.requests, self.mb)


def slope(requests: Sequence[int], mb: Sequence[float]) -> float:
    """MB per 1,000 requests, by least squares. Raises ValueError: fewer than two looks."""
    if len(requests) < 2:
        raise ValueError(f"{len(requests)} looks at the memory, expected 2 or more")
    return float(np.polyfit(requests, mb, 1)[0]) * 1000
