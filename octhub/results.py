"""What `python -m octhub segment` writes for each scan: the class ids, a picture of them and what they measure."""

import os
from collections.abc import Iterable
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np
from PIL import Image

from octhub.mask_render import label_png, mask_overlay
from octhub.measure import Measurement, Scale, measure
from octhub.predict import Segmentation
from octhub.scan import IMAGE_SUFFIXES

LABELS, OVERLAY = ".labels.png", ".overlay.png"
"""What is appended to a scan's whole name, so that scan.png and scan.jpg keep apart."""

AREAS = "areas.csv"
"""The table of all scans, beside the pictures."""

FIGURES = tuple(f.name for f in fields(Measurement) if f.name != "name")

COLUMNS = ["file", "class", "id", *FIGURES, "decision", "reason", "error"]
"""Of the table: one row per scan and class, or one with an error. mm² and µm are empty without a scale; the columns
are there, so that tables of several runs fit together. A reason says why the scan is no B-scan."""


def is_result(file: Path) -> bool:
    """Whether a picture has a name that `segment` gives: a scan's whole name, and what it appends."""
    for ending in (LABELS, OVERLAY):
        if file.name.endswith(ending):
            return Path(file.name.removesuffix(ending)).suffix.lower() in IMAGE_SUFFIXES
    return False


def places(files: Iterable[Path], inputs: Iterable[Path], folder: Path) -> dict[Path, Path]:
    """Where the results of each file go: a path in `folder` to which LABELS and OVERLAY are to be appended.

    Folders are mirrored below the one that all inputs have in common, so no two files share a place. A file that is
    there twice is left out the second time.

    Args:
        files: what the inputs hold.
        inputs: files and folders as the user named them.
    """
    roots = [path if path.is_dir() else path.parent for path in map(_absolute, inputs)]
    depth = len(os.path.commonprefix([root.parts for root in roots]))  # noqa: RUF071 - it compares whole parts
    found = {}
    for file in files:
        below = (part.strip("\\/:") for part in _absolute(file).parts[depth:])  # "C:\\", where drives differ
        found.setdefault(folder.joinpath(*below), file)
    return {file: place for place, file in found.items()}


def save(place: Path, scan: np.ndarray, answer: Segmentation, scale: Scale | None) -> list[dict]:
    """Write both pictures of one scan; folders are made.

    Args:
        place: see `places`.
        scan: (H, W) float in [0, 1].
        scale: the size of its pixels, if known.

    Returns:
        One row per class, by COLUMNS but for the file and what was decided about it.

    Raises:
        OSError: something can't be written.
    """
    names = answer.class_names
    place.parent.mkdir(parents=True, exist_ok=True)
    place.with_name(place.name + LABELS).write_bytes(label_png(answer.mask, names))
    Image.fromarray(mask_overlay(scan, answer.mask, names)).save(place.with_name(place.name + OVERLAY))
    rows = []
    for id, measurement in enumerate(measure(answer.mask, names, scale)):
        figures = asdict(measurement)
        rows.append({"class": figures.pop("name"), "id": id} | {k: _short(v) for k, v in figures.items()})
    return rows


def _absolute(path: Path) -> Path:
    """Without "..", which could lead out of the folder, but through links as they are."""
    return Path(os.path.abspath(path))


def _short(value: float | None) -> str:
    """Six significant digits of what isn't whole; nothing for None."""
    return "" if value is None else str(value) if isinstance(value, int) else f"{value:.6g}"
