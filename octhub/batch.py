"""Many scans, one after the other: bad ones are told and the rest go on. At no time are two of them in memory."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np

from octhub.archive import is_archive, open_archive, refuse
from octhub.measure import Measurement, Scale, measure
from octhub.predict import Classification, Segmentation
from octhub.provenance import Input, read_input
from octhub.safe_path import apart, key, safe_path
from octhub.scan import ScanError, read_bytes

MAX_SCANS = 500
"""Of one run: a study's, rather than a data set's. Whoever has more has the command line, which knows no limit."""

MAX_ARCHIVES = 20
"""ZIPs of one run: their directories, of a few megabytes each, are held until its end."""


class BatchError(ValueError):
    """A batch that can't be run; the message says what was found and expected."""


@dataclass(frozen=True)
class Item:
    """One scan of a batch.

    Attributes:
        name: its path as a label, unlike any other's of the batch: "left.png", "scans/left.png" from scans.zip.
        read: gives the file's bytes, or raises ScanError.
    """

    name: str
    read: Callable[[], bytes]


@dataclass(frozen=True)
class Answer:
    """What came of one scan.

    Attributes:
        name: the item's.
        given: what was read; None if it couldn't be.
        classification: without its heatmap; None if it wasn't asked for.
        areas: one measurement a class; empty if they weren't asked for.
        decision, reason: what was decided about the outlines (see Segmentation); the classification has its own.
        error: why there is no answer; empty when there is one.
    """

    name: str
    given: Input | None = None
    classification: Classification | None = None
    areas: Sequence[Measurement] = ()
    decision: str = ""
    reason: str = ""
    error: str = ""


@dataclass
class Intake:
    """What a batch consists of.

    Attributes:
        items: its scans, in the order of the files, and in a ZIP in the ZIP's.
        passed_over: how many other files were in the ZIPs.
    """

    items: list[Item] = field(default_factory=list)
    passed_over: int = 0


@contextmanager
def intake(files: Sequence[str | Path], reserved: Iterable[str] = ()) -> Iterator[Intake]:
    """Find the scans in files and ZIPs, for a block in which they can be read. The names of files are made safe.

    A ZIP that can't be used is an item, too, that can't be read.

    Args:
        reserved: names that no item may have.

    Raises:
        BatchError: no scans, or more than MAX_SCANS or MAX_ARCHIVES.
    """
    batch, taken = Intake(), {key(PurePosixPath(name)): 1 for name in reserved}

    def unlike(path: PurePosixPath) -> PurePosixPath:
        path = apart(path, taken)
        return path

    with ExitStack() as stack:
        archives = 0
        for file in files:
            label = safe_path(Path(file).name)
            if not is_archive(file):
                label = unlike(label)
                batch.items.append(Item(str(label), partial(read_bytes, file, str(label))))
            else:
                archives += 1
                if archives > MAX_ARCHIVES:
                    raise BatchError(f"more than {MAX_ARCHIVES} ZIPs, expected at most {MAX_ARCHIVES} in one run")
                try:
                    archive = stack.enter_context(open_archive(file, str(label)))
                except ScanError as e:
                    batch.items.append(Item(str(unlike(label)), partial(refuse, e)))
                    continue
                folder = unlike(PurePosixPath(label.stem))
                batch.items += (Item(str(folder / m.label), partial(archive.read, m)) for m in archive.members)
                batch.passed_over += len(archive.passed_over)
            if len(batch.items) > MAX_SCANS:
                raise BatchError(f"more than {MAX_SCANS} scans, expected at most {MAX_SCANS} in one run")
        if not batch.items:
            others = f" (the ZIPs hold {batch.passed_over} other files)" if batch.passed_over else ""
            raise BatchError(f"no scans{others}, expected images of B-scans or ZIPs of them")
        yield batch


def answer_all(
    items: Iterable[Item],
    ask: Callable[[np.ndarray], tuple[Classification | None, Segmentation | None]],
    keep: Callable[[str, np.ndarray, Classification | None, Segmentation | None], None],
    scale: Scale | None = None,
) -> Iterator[Answer]:
    """Answer one scan after the other, in their order.

    Args:
        ask: runs the models on the pixels of one scan, (H, W) float32 in [0, 1].
        keep: takes a scan's name, pixels and answers, for pictures of them: nothing else holds them afterwards.
        scale: the size of the scans' pixels, if known.
    """
    for item in items:
        yield _answer(item, ask, keep, scale)  # a function of its own, so that nothing of the scan outlives it


def _answer(item: Item, ask, keep, scale: Scale | None) -> Answer:
    try:
        scan, given = read_input(item.read(), item.name)
    except ScanError as e:
        return Answer(item.name, error=str(e))
    classification, segmentation = ask(scan)
    keep(item.name, scan, classification, segmentation)
    classified = None if classification is None else replace(classification, heatmap=None)
    if segmentation is None:
        return Answer(item.name, given, classified)
    areas = measure(segmentation.mask, segmentation.class_names, scale)
    return Answer(item.name, given, classified, areas, segmentation.decision, segmentation.reason)
