"""Find the scans that a command line names: in files, folders and ZIPs."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from octhub.archive import ArchiveError, is_archive, open_archive, refuse
from octhub.results import is_result
from octhub.scan import IMAGE_SUFFIXES, read_bytes


def open_scans(paths: Iterable[Path], stack: ExitStack) -> Iterator[tuple[Path, Callable[[], bytes]]]:
    """(path, what reads its bytes) of each scan in files, folders and ZIPs. A scan in a ZIP has a path below the ZIP's,
    as if that were a folder. A ZIP that can't be used is told when it is read.

    Args:
        stack: ZIPs stay open as long as it.
    """
    for file in find_scans(paths):
        if not is_archive(file):
            yield file, partial(read_bytes, file, str(file))
            continue
        try:
            archive = stack.enter_context(open_archive(file, str(file)))
        except ArchiveError as e:
            yield file, partial(refuse, e)
            continue
        for member in archive.members:
            yield file / member.label, partial(archive.read, member)


def find_scans(paths: Iterable[Path]) -> Iterable[Path]:
    """Files as they are; folders, however deep, by the suffixes that can be read.

    Hidden files are left out, and so is what `segment` has written: scan.png.labels.png is no scan.
    """
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        for file in sorted(path.rglob("*")):
            hidden = any(part.startswith(".") for part in file.relative_to(path).parts)
            if file.is_file() and file.suffix.lower() in IMAGE_SUFFIXES and not hidden and not is_result(file):
                yield file
