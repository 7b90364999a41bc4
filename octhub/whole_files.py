"""Files that are whole or not there: they are written beside their place, and renamed once they are."""

import errno
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

PARTIAL = ".partial"
"""What the name of a file ends with until it is whole."""


@contextmanager
def whole_file(path: str | Path, *, keep: bool = False) -> Iterator[Path]:
    """Where to write a file for a block; at its end the file takes its place, in which the old one stays till then.

    If the block fails, what it wrote is deleted. A pipe or a device in the place is written to as it is.

    Args:
        keep: leave what a block that failed has written, under the name that ends in PARTIAL.

    Raises:
        OSError: it can't be written; `filename` is the path.
    """
    if os.path.exists(path) and not os.path.isfile(path):  # before links are followed: /dev/stdout leads to no path
        yield Path(path)
        return
    place = Path(os.path.realpath(path))
    partial = place.with_name(place.name + PARTIAL)
    try:
        yield partial
        with naming(path):
            sync(partial)
            partial.replace(place)
    except BaseException:
        if not keep:
            partial.unlink(missing_ok=True)
        raise


def write_whole(path: str | Path, data: bytes | str) -> None:
    """Write a file, text as UTF-8, whole or not at all.

    Raises:
        OSError: it can't be written; `filename` is the path.
    """
    with naming(path), whole_file(path) as partial:
        partial.write_bytes(data.encode() if isinstance(data, str) else data)


def save_tensors(path: str | Path, tensors: Mapping[str, "torch.Tensor"]) -> None:
    """Write a safetensors file, whole or not at all; tensors on any device, of any layout in memory.

    Raises:
        OSError: it can't be written; `filename` is the path.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    plain = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    with naming(path), whole_file(path) as partial:
        try:
            save_file(plain, partial, metadata={"format": "pt"})
        except SafetensorError as e:
            number = re.search(r"\(os error (\d+)\)", str(e))
            code = int(number[1]) if number else errno.EIO
            raise OSError(code, os.strerror(code)) from e


@contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Name a file in whatever OSError writing it raises: a full disk's names none, and others the partial file."""
    try:
        yield
    except OSError as e:
        if e.errno is None:
            raise
        raise OSError(e.errno, e.strerror, str(path)) from e


def sync(path: Path) -> None:
    """Wait until a file is on the disk: some file systems tell only then that they are full."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())
