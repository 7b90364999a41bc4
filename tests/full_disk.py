"""A disk that is full: a small tmpfs where this process may mount one, and everywhere the system's limit on a file's
size, which fails a write as a full disk does."""

import contextlib
import resource
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

Full = Callable[[int], AbstractContextManager]
"""full(room): for a block, no file may grow over `room` bytes, or the disk has no more than that."""


@contextmanager
def mounted(folder: Path, megabytes: int = 24) -> Iterator[Path]:
    """A tmpfs at a folder. Raises OSError where it may not be mounted."""
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={megabytes}m", "octhub-test", str(folder)]
    try:
        done = subprocess.run(["mount", *options], check=False, capture_output=True, text=True)
    except FileNotFoundError as e:
        raise OSError("no mount") from e
    if done.returncode:
        raise OSError(done.stderr)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def can_mount(folder: Path) -> bool:
    with contextlib.suppress(OSError), mounted(folder):
        return True
    return False


@contextmanager
def limited(room: int) -> Iterator[None]:
    """Files of this process can't grow over `room` bytes. Python ignores the signal that comes with it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def filled(folder: Path) -> Full:
    """What fills the disk of a folder but for some room."""

    @contextmanager
    def full(room: int) -> Iterator[None]:
        ballast = folder / "ballast"
        with ballast.open("wb", buffering=0) as file:
            for size in (65536, 1):  # to the last page
                with contextlib.suppress(OSError):
                    while True:
                        file.write(bytes(size * 64))
            file.truncate(max(file.tell() - room, 0))
        try:
            yield
        finally:
            ballast.unlink()

    return full
