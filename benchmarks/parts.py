"""Where a call's time goes: its parts are timed where they are, while the real thing runs."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any

OTHER = "everything else"
"""What no part is."""


class PartError(RuntimeError):
    """A part isn't where it is looked for, or didn't run: the code has moved on, and the benchmark has to follow."""


class Parts:
    """Watches functions by name, in the modules or on the objects where callers look them up.

    A part that runs within another counts as the other's, so that parts never overlap.

    Args:
        places: by part, the (owner, attribute)s that are it.
    """

    def __init__(self, places: Mapping[str, Sequence[tuple[object, str]]]):
        self.places = places
        self._seconds: dict[str, float] = {}
        self._inside = False

    @contextmanager
    def watched(self) -> Iterator["Parts"]:
        """Watch the parts, within the context.

        Raises:
            PartError: an owner doesn't have its attribute.
        """
        restore: list[Callable[[], None]] = []
        try:
            for part, places in self.places.items():
                for owner, name in places:
                    restore.append(self._watch(part, owner, name))
            yield self
        finally:
            for undo in reversed(restore):
                undo()

    def _watch(self, part: str, owner: Any, name: str) -> Callable[[], None]:
        fn = getattr(owner, name, None)
        if not callable(fn):
            raise PartError(f"{_called(owner)} has no {name}, where the benchmark expects the part {part!r}")
        before = vars(owner).get(name)  # as it is stored: of a class method, not what it is bound to
        setattr(owner, name, self.timed(part, fn))
        return (lambda: delattr(owner, name)) if before is None else (lambda: setattr(owner, name, before))

    def timed(self, part: str, fn: Callable) -> Callable:
        """`fn`, whose time is a part's."""

        @wraps(fn)
        def run(*args, **kwargs):
            if self._inside:
                return fn(*args, **kwargs)
            self._inside, started = True, time.perf_counter()
            try:
                return fn(*args, **kwargs)
            finally:
                self._inside = False
                self._seconds[part] = self._seconds.get(part, 0.0) + time.perf_counter() - started

        return run

    def of(self, run: Callable[[], Any], expected: Sequence[str] | None = None) -> dict[str, float]:
        """Seconds of a run's parts and OTHER; their sum is the run's.

        Args:
            expected: the parts that it has; all, by default.

        Raises:
            PartError: one of these didn't run.
        """
        self._seconds = {}
        started = time.perf_counter()
        run()
        total = time.perf_counter() - started
        parts = [part for part in self.places if part in (self.places if expected is None else expected)]
        for part in parts:
            if part not in self._seconds:
                where = " or ".join(f"{_called(owner)}.{name}" for owner, name in self.places[part])
                raise PartError(f"the part {part!r} didn't run: nothing called {where}")
        return {**self._seconds, OTHER: total - sum(self._seconds.values())}


def shares(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Each part's share of all the runs' time; they sum to 1."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    total = sum(sum(row.values()) for row in rows)
    return {name: sum(row.get(name, 0.0) for row in rows) / total for name in sorted(names, key=lambda n: n == OTHER)}


def _called(owner: Any) -> str:
    return getattr(owner, "__name__", type(owner).__name__)
