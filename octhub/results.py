"""What is written for each of many scans: rows of tables, the class ids and pictures of what was found."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Protocol

import numpy as np

from octhub.mask_render import label_png, mask_overlay
from octhub.measure import Measurement
from octhub.predict import Classification, Segmentation
from octhub.provenance import COLUMNS as PROVENANCE
from octhub.render import overlay
from octhub.scan import IMAGE_SUFFIXES
from octhub.viewer import OPACITY, png_bytes
from octhub.whole_files import write_whole

LABELS, OVERLAY, HEATMAP = ".labels.png", ".overlay.png", ".heatmap.png"
"""What is appended to a scan's whole name, so that scan.png and scan.jpg keep apart."""

AREAS, CLASSIFICATION = "areas.csv", "classification.csv"
"""The tables of all scans, beside the pictures."""

FIGURES = tuple(f.name for f in fields(Measurement) if f.name != "name")

COLUMNS = ["file", "class", "id", *FIGURES, "decision", "reason", "error", *PROVENANCE]
"""Of the table: one row per scan and class, or one with an error. mm² and µm are empty without a scale; the columns
are there, so that tables of several runs fit together. A reason says why the scan is no B-scan."""


def is_result(file: Path) -> bool:
    """Whether a picture has a name that results get: a scan's whole name, and what is appended."""
    for ending in (LABELS, OVERLAY, HEATMAP):
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


def save(place: Path, scan: np.ndarray, answer: Segmentation) -> None:
    """Write the pictures of a segmentation; folders are made.

    Args:
        place: see `places`.
        scan: (H, W) float in [0, 1].

    Raises:
        OSError: something can't be written.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    for ending, data in segmentation_pictures(scan, answer):
        write_whole(place.with_name(place.name + ending), data)


def segmentation_pictures(scan: np.ndarray, answer: Segmentation) -> Iterator[tuple[str, bytes]]:
    """(LABELS, its PNG) and (OVERLAY, its PNG) of a scan, (H, W) float in [0, 1]."""
    yield LABELS, label_png(answer.mask, answer.class_names)
    yield OVERLAY, png_bytes(mask_overlay(scan, answer.mask, answer.class_names))


def heatmap_picture(scan: np.ndarray, answer: Classification) -> tuple[str, bytes]:
    """(HEATMAP, the PNG of an answer's heatmap over its scan, (H, W) float in [0, 1])."""
    return HEATMAP, png_bytes(overlay(scan, answer.heatmap, OPACITY / 100))


def area_rows(measurements: Iterable[Measurement]) -> list[dict]:
    """One row per class, by COLUMNS but for the file, what was decided about it, and where it all came from."""
    rows = []
    for id, measurement in enumerate(measurements):
        figures = asdict(measurement)
        rows.append({"class": figures.pop("name"), "id": id} | {k: _short(v) for k, v in figures.items()})
    return rows


def classification_columns(class_names: Sequence[str]) -> list[str]:
    """Of the table CLASSIFICATION: one row per scan."""
    return ["file", "label", "decision", "reason", *class_names, "error", *PROVENANCE]


def classification_row(answer: Classification) -> dict[str, str]:
    """One scan's, but for the file and where it came from."""
    named = {"label": answer.label, **decided(answer)}
    return named | {name: f"{p:.4f}" for name, p in answer.probabilities.items()}


class Decided(Protocol):
    """An answer with a decision: a Classification, a Segmentation, or octhub.batch's Answer."""

    decision: str
    reason: str


def decided(answer: Decided) -> dict[str, str]:
    """What was decided about a scan, and why it isn't the usual."""
    return {"decision": answer.decision, "reason": answer.reason}


def _absolute(path: Path) -> Path:
    """Without "..", which could lead out of the folder, but through links as they are."""
    return Path(os.path.abspath(path))


def _short(value: float | None) -> str:
    """Six significant digits of what isn't whole; nothing for None."""
    return "" if value is None else str(value) if isinstance(value, int) else f"{value:.6g}"
