"""Labelled scans: the OCT2017 folder layout, and the smaller sets that can be added to it."""

import csv
import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

CLASS_NAMES = ("CNV", "DME", "DRUSEN", "NORMAL")
"""OCT2017's classes, in the order of the logits (Kermany et al. 2018, Cell 172:1122)."""

SUFFIXES = (".jpeg", ".jpg", ".png", ".tif", ".tiff")
NAME = re.compile(r"(?P<label>[A-Z]+)-(?P<patient>\d+)-(?P<number>\d+)([-_]\w+)?")


class DataError(ValueError):
    """Data that isn't laid out as expected; the message names the place, what was found and what was expected."""


@dataclass(frozen=True, order=True)
class Sample:
    """One labelled scan. `patient` is unique across data sets ("oct2017:1234"), so it can be split on."""

    path: Path
    label: str
    patient: str


def oct2017(root: Path, split: str) -> list[Sample]:
    """Scans of `root`/`split`/CLASS/CLASS-PATIENT-N.jpeg, in the order of their names.

    This is the layout of the release on Mendeley (rscbjbr9sj); point `root` at the folder that holds `train` and
    `test`. The patient's number is shared across classes: one patient can have scans in two of them.

    Raises:
        DataError: no such folder, no class folder, or a file whose name doesn't fit.
    """
    folder = Path(root) / split
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder, expected OCT2017's layout {split}/CLASS/CLASS-PATIENT-N.jpeg")
    samples = []
    for label in CLASS_NAMES:
        for path in sorted((folder / label).glob("*")):
            if path.suffix.lower() not in SUFFIXES or path.name.startswith("."):
                continue  # the release carries .DS_Store and ._ files
            name = NAME.fullmatch(path.stem)
            if name is None or name["label"] != label:
                raise DataError(f"{path}: name doesn't fit, expected {label}-PATIENT-N{path.suffix}")
            samples.append(Sample(path, label, f"oct2017:{name['patient']}"))
    if not samples:
        raise DataError(f"{folder}: no scans, expected class folders {', '.join(CLASS_NAMES)} with images")
    return samples


def lesions(root: Path) -> list[Sample]:
    """Cropped OCT2017 scans of the training patients, listed in `root`.csv; the label leads the file's name."""
    rows = _rows(Path(root).with_suffix(".csv"))
    folder = Path(root).parent
    return [
        Sample(folder / row["image"], row["patient"].split("-")[0], f"oct2017:{row['patient'].split('-')[1]}")
        for row in rows
        if row["split"] == "train"
    ]


def healthy_layers(root: Path) -> list[Sample]:
    """Scans of healthy eyes, `root`/images/SUBJECT_N.png; S01 and S08 are the same eye."""
    return [Sample(path, "NORMAL", f"healthy:{path.stem.split('_')[0].replace('S08', 'S01')}") for path in _pngs(root)]


def duke_dme(root: Path) -> list[Sample]:
    """Scans of the training subjects S01–S05 of Chiu et al. 2015, `root`/images/SUBJECT_N.png; all have DME."""
    return [
        Sample(path, "DME", f"duke:{path.stem.split('_')[0]}")
        for path in _pngs(root)
        if path.stem.split("_")[0] <= "S05"
    ]


def octdl(root: Path) -> list[Sample]:
    """External validation: OCTDL's DME and NO (normal) scans, listed in `root`.csv. Never trained on."""
    known = {"DME": "DME", "NO": "NORMAL"}
    return [replace(s, label=known[s.label]) for s in octdl_graded(root) if s.label in known]


def octdl_graded(root: Path) -> list[Sample]:
    """All of OCTDL's scans, by its own labels, which name diseases that OCT2017 doesn't know."""
    rows = _rows(Path(root).with_suffix(".csv"))
    return [Sample(Path(root).parent / row["file"], row["label"], row["group"]) for row in rows]


EXTRAS: dict[str, Callable[[Path], list[Sample]]] = {
    "lesions": lesions,
    "healthy_layers": healthy_layers,
    "duke_dme": duke_dme,
}
"""Sets that may be added to the training scans, by the name of their folder."""


def extra(folder: Path) -> list[Sample]:
    """The set that a folder named as in EXTRAS holds.

    Raises:
        DataError: the folder has another name, or isn't laid out as expected.
    """
    if folder.name not in EXTRAS:
        raise DataError(f"{folder}: unknown extra set, expected a folder named {', '.join(EXTRAS)}")
    return EXTRAS[folder.name](folder)


def sha256(path: Path) -> str:
    """The hash of a file's bytes, in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def digest(samples: Iterable[Sample]) -> str:
    """sha256 over the sorted (label, sha256 of the file) lines: the same scans give the same digest anywhere."""
    lines = sorted(f"{s.label} {sha256(s.path)}\n" for s in samples)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _pngs(root: Path) -> list[Path]:
    paths = sorted((Path(root) / "images").glob("*.png"))
    if not paths:
        raise DataError(f"{Path(root) / 'images'}: no PNG files, expected SUBJECT_N.png")
    return paths


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        raise DataError(f"{path}: no such file, expected the list of scans")
    with path.open(newline="", encoding="utf-8") as f:
        return list(csv.DictReader(f))
