"""A pickle that tells when somebody opens it: unpickling it makes a file."""

import pickle
from pathlib import Path


class _Evil:
    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self):
        return open, (str(self.marker), "w")


def evil(marker: Path) -> bytes:
    """A pickle's bytes; `marker` exists once they have been unpickled without care."""
    return pickle.dumps(_Evil(marker), protocol=2)


def save_evil(path: Path, marker: Path) -> None:
    """The same as torch.save writes it, into a ZIP."""
    import torch

    torch.save(_Evil(marker), path)
