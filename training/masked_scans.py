"""Scans with masks: any folder of images and index masks, the classes in a text file beside them."""

import csv
import hashlib
import random
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from octhub.mask import UnannotatedError, read_mask
from octhub.scan import IMAGE_SUFFIXES
from training.samples import DataError, sha256

CLASSES = "classes.txt"
"""One class name a line, in the order of the ids; empty lines and what follows a # are passed over."""

SUBJECT = r"^([^_.]+)_"
"""By default, a file's subject is what stands before its first underscore: S01_07.png is a scan of S01."""


@dataclass(frozen=True, order=True)
class MaskedScan:
    """One scan and its index mask. `subject` tells whose it is, so that splits don't share anybody."""

    image: Path
    mask: Path
    subject: str


def read_classes(path: Path) -> tuple[str, ...]:
    """The class names that a text file lists.

    Raises:
        DataError: no such file, fewer than two names, more than 255, or one twice.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file, expected one class name a line, in the order of the masks' ids")
    lines = (line.split("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    names = tuple(line for line in lines if line)
    if not 2 <= len(names) <= 255 or len(set(names)) < len(names):
        raise DataError(f"{path}: class names {', '.join(names)}; expected 2 to 255, each once")
    return names


def masked_scans(folder: Path, *, masks: str = "masks", subject: str = SUBJECT) -> list[MaskedScan]:
    """The scans of `folder`/images that have a mask of the same stem in `folder`/`masks`, by name.

    Args:
        subject: regular expression whose first group, found in a file's name, is the subject.

    Raises:
        DataError: a folder is missing or empty, a mask without scan or a scan without mask, or a name without subject.
    """
    folder, pattern = Path(folder), re.compile(subject)
    images, labels = _by_stem(folder / "images"), _by_stem(folder / masks)
    for here, there, where in ((images, labels, masks), (labels, images, "images")):
        if alone := sorted(here.keys() - there.keys()):
            path = here[alone[0]]
            raise DataError(f"{path}: no file {path.stem}.* in {folder / where}, expected one ({len(alone)} such)")
    scans = []
    for stem, image in images.items():
        found = pattern.search(image.name)
        if not found or not found.groups():
            raise DataError(f"{image}: no subject by the pattern {subject!r}, expected its first group in the name")
        scans.append(MaskedScan(image, labels[stem], found[1]))
    return sorted(scans)


def annotated(scans: Sequence[MaskedScan]) -> list[MaskedScan]:
    """The scans of whose masks something is annotated; says how many others there were.

    Raises:
        MaskError: a mask can't be read.
    """
    kept = []
    for scan in scans:
        with suppress(UnannotatedError):
            read_mask(scan.mask)
            kept.append(scan)
    if left_out := sorted(set(scans) - set(kept)):
        print(f"left out, since nothing is annotated: {left_out[0].mask.name} ({len(left_out)} such)", flush=True)
    return kept


def split_column(table: Path, split: str) -> set[str]:
    """The stems of the images that a CSV (columns image, split) puts into a split.

    Raises:
        DataError: no such file or columns.
    """
    try:
        with Path(table).open(newline="", encoding="utf-8") as f:
            return {Path(row["image"]).stem for row in csv.DictReader(f) if row["split"] == split}
    except (OSError, KeyError) as e:
        raise DataError(f"{table}: {e}; expected a CSV with the columns image and split") from e


def by_subject(scans: Sequence[MaskedScan], subjects: Iterable[str]) -> tuple[list[MaskedScan], list[MaskedScan]]:
    """(the others, the named subjects' scans).

    Raises:
        DataError: a subject without a scan.
    """
    wanted = set(subjects)
    if missing := wanted - {s.subject for s in scans}:
        have = ", ".join(sorted({s.subject for s in scans})[:20])
        raise DataError(f"no scan of subject {', '.join(sorted(missing))}, expected some of {have}")
    return [s for s in scans if s.subject not in wanted], [s for s in scans if s.subject in wanted]


def draw_subjects(scans: Sequence[MaskedScan], fraction: float, seed: int) -> list[str]:
    """Some of the subjects, drawn by `seed`: about `fraction` of them, at least one unless it is 0.

    Raises:
        DataError: the fraction leaves no subject on one side.
    """
    if fraction == 0:
        return []
    subjects = sorted({s.subject for s in scans})
    count = max(1, round(fraction * len(subjects)))
    if not 0 < fraction < 1 or count >= len(subjects):
        raise DataError(f"a share of {fraction} of {len(subjects)} subjects, expected some on both sides")
    return sorted(random.Random(seed).sample(subjects, count))


def masked_digest(scans: Iterable[MaskedScan]) -> str:
    """sha256 over the sorted (scan, mask) hashes: the same scans with the same masks give the same digest."""
    lines = sorted(f"{sha256(s.image)} {sha256(s.mask)}\n" for s in scans)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def image_digests(scans: Iterable[MaskedScan]) -> list[str]:
    """The first 16 hexadecimal digits of each image's sha256, sorted: enough to recognise a scan by."""
    return sorted(sha256(s.image)[:16] for s in scans)


def check_unseen(scans: Sequence[MaskedScan], training: dict, *, validation: bool = False) -> None:
    """Refuse to measure a checkpoint on scans that it, or one that it went on from, was trained on, or chosen on.

    Args:
        training: the checkpoint's training.json.
        validation: whether scans that chose its weights will do.

    Raises:
        DataError: some of the scans won't do; names one.
    """
    digests = {s.image: sha256(s.image)[:16] for s in scans}
    sides = {"trained": ("train", "extra_scans")} | ({} if validation else {"chosen": ("val",)})
    for what, names in sides.items():
        records = [record.get(name) for record in (training, *training.get("before", [])) for name in names]
        seen = {digest for r in records if isinstance(r, dict) for digest in r.get("images", [])}
        leaked = [image for image, digest in digests.items() if digest in seen]
        if leaked:
            raise DataError(
                f"{leaked[0]}: the checkpoint was {what} on this scan ({len(leaked)} such), expected others"
            )


def _by_stem(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder, expected images/ and a folder of index masks")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith("."):
            if path.stem in found:
                raise DataError(f"{path}: {found[path.stem].name} has the same stem, expected one file a scan")
            found[path.stem] = path
    if not found:
        raise DataError(f"{folder}: no images, expected {', '.join(sorted(IMAGE_SUFFIXES))}")
    return found
