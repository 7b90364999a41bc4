"""A run's checkpoint in a folder, which is replaced whole or not at all."""

import ctypes
import json
import os
import shutil
from pathlib import Path

import torch

from octhub.hub import CheckpointMixin
from octhub.whole_files import PARTIAL, write_whole
from training import golden

AT_FDCWD, RENAME_EXCHANGE = -100, 2
"""Of Linux's renameat2: relative paths start in the current folder; what both names stand for changes places."""


def replace_checkpoint(
    model: CheckpointMixin, folder: Path, dtype: torch.dtype | None = None, training: dict | None = None
) -> None:
    """Save a model where another may be, whole or not at all; the other's card and figures go with it.

    Args:
        dtype: to store floating-point tensors in.
        training: the record to store beside the model, as training.json; golden.json is then recorded, too.

    Raises:
        CheckpointError, OSError: it can't be written; what was there stays.
    """
    partial = folder.with_name(folder.name + PARTIAL)
    shutil.rmtree(partial, ignore_errors=True)
    try:
        model.save_pretrained(partial, dtype=dtype)
        if training is not None:
            write_whole(partial / "training.json", json.dumps(training, indent=2) + "\n")
            golden.record(partial)
        take_place(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def take_place(new: Path, folder: Path) -> None:
    """Put a folder in the place of another; after it, `new` is gone or is the other.

    On Linux there is no moment in which nothing is there. Elsewhere there is one, between two renames; a process
    that is killed in it leaves the other under its name with ".old".
    """
    if not folder.exists():
        new.rename(folder)
    elif not _exchange(new, folder):
        old = folder.with_name(f"{folder.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        folder.rename(old)
        new.rename(folder)
        shutil.rmtree(old)


def _exchange(one: Path, other: Path) -> bool:
    """Let two folders change places in one step; False where the system, or the file system, can't."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError):  # another system, or an old glibc
        return False
    return renameat2(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE) == 0
