"""The leak audit: what do a data set's splits share?

    python -m training.audit ROOT [--splits train val test] [--threshold BITS] [--json FILE]
    python -m training.audit ROOT --calibrate

reads OCT2017's folder layout and reports patients with scans in more than one split, identical files (by sha256) in
more than one split or under more than one label, and near-duplicates across splits. Exit status: 0 clean, 1 leaks,
2 data that can't be read. Accuracy on a split that shares patients with training is inflated: Tampu et al. 2022
(Scientific Data 9:580) measured it for OCT2017.

A near-duplicate is the same scan saved again, brightened, resized, mirrored, or cropped or turned a little. In 1,804
OCT2017 scans every copy so altered was found, and none of 1.6 million pairs of different patients was taken for one:
see training.duplicate_calibration, whose table `--calibrate` prints for any data set. Crops of 5 % and more are
mostly missed. Comparing 84,495 random hashes with 1,000 took 4 s and 140 MB on one core; reading scans takes longer.
"""

import argparse
import hashlib
import json
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from training.near_duplicates import BITS, THRESHOLD, fingerprint, in_threads, near_duplicates, read_small
from training.samples import EXTRAS, DataError, Sample, extra, oct2017

SPLITS = ("train", "val", "test")
SHOWN = 20
"""Leaks of each kind that are printed; the JSON file has them all."""


@dataclass(frozen=True)
class PatientLeak:
    """A patient with scans in several splits: how many in each."""

    patient: str
    scans: dict[str, int]

    def __str__(self) -> str:
        return f"{self.patient}: " + ", ".join(f"{n} in {split}" for split, n in self.scans.items())


@dataclass(frozen=True)
class Identical:
    """Files of the same bytes, as split/CLASS/name, in several splits or under several labels."""

    sha256: str
    files: list[str]
    splits: list[str]
    labels: list[str]

    def __str__(self) -> str:
        return " = ".join(self.files)


@dataclass(frozen=True)
class NearDuplicate:
    """Two files of different bytes in different splits that show the same scan; see near_duplicates.Pair."""

    files: tuple[str, str]
    same_patient: bool
    same_label: bool
    flipped: bool
    distance: int
    texture: float

    def __str__(self) -> str:
        notes = [f"{self.distance} bits", f"texture {self.texture:.2f}"]
        notes += ["mirrored"] * self.flipped + ["other patient"] * (not self.same_patient)
        notes += ["other label"] * (not self.same_label)
        return f"{self.files[0]} ~ {self.files[1]} ({', '.join(notes)})"


@dataclass(frozen=True)
class Report:
    """What the splits share. Truth value: are there leaks?"""

    scans: dict[str, int]
    patients: list[PatientLeak]
    identical: list[Identical]
    relabelled: list[Identical]
    near_duplicates: list[NearDuplicate] | None
    """None when they weren't looked for."""

    def __bool__(self) -> bool:
        return bool(self.patients or self.identical or self.relabelled or self.near_duplicates)

    def __str__(self) -> str:
        lines = ["scans: " + ", ".join(f"{n} in {split}" for split, n in self.scans.items())]
        for title, found in (
            ("patients in more than one split", self.patients),
            ("identical files in more than one split", self.identical),
            ("identical files under more than one label", self.relabelled),
            ("near-duplicates across splits", self.near_duplicates),
        ):
            lines.append(f"{title}: {'not looked for' if found is None else len(found)}")
            lines += [f"  {leak}" for leak in (found or [])[:SHOWN]]
            if found and len(found) > SHOWN:
                lines.append(f"  … and {len(found) - SHOWN} more")
        return "\n".join(lines)


def patients_crossing(splits: Mapping[str, Sequence[Sample]]) -> list[PatientLeak]:
    """Patients with scans in more than one split, by name. Reads no file."""
    scans: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for split, samples in splits.items():
        for s in samples:
            scans[s.patient][split] += 1
    return [PatientLeak(patient, dict(found)) for patient, found in sorted(scans.items()) if len(found) > 1]


def leaks(splits: Mapping[str, Sequence[Sample]], threshold: int | None = THRESHOLD) -> Report:
    """Audit splits against one another.

    Args:
        splits: scans by the split's name.
        threshold: bits, of 512, up to which two scans are examined as near-duplicates; None to look only for patients
            and identical files, which decodes no scan. Every file is read once, or candidates again.

    Raises:
        DataError: a file that can't be read.
    """
    scans = [(split, s) for split, samples in splits.items() for s in samples]

    def identify(scan: tuple[str, Sample]) -> tuple[str, np.ndarray | None]:
        path = scan[1].path
        try:
            data = path.read_bytes()
        except OSError as e:
            raise DataError(f"{path}: can't be read ({e.strerror})") from e
        return hashlib.sha256(data).hexdigest(), None if threshold is None else fingerprint(read_small(path, data))

    identities = list(in_threads(identify, scans, "reading scans", len(scans)))
    hashes = [sha256 for sha256, _ in identities]
    identical, relabelled = _identical(scans, hashes)
    near = None
    if threshold is not None:
        prints = np.array([p for _, p in identities], np.uint8).reshape(-1, 2, BITS // 8)
        near = _near(scans, hashes, prints, threshold)
    counts = {split: len(samples) for split, samples in splits.items()}
    return Report(counts, patients_crossing(splits), identical, relabelled, near)


def _identical(scans: Sequence[tuple[str, Sample]], hashes: Sequence[str]) -> tuple[list[Identical], list[Identical]]:
    """Groups of identical files that cross splits, and those that bear different labels, be it in one split."""
    groups = defaultdict(list)
    for scan, sha256 in zip(scans, hashes, strict=True):
        groups[sha256].append(scan)
    found = [
        Identical(
            sha256, [_name(*s) for s in group], sorted({s[0] for s in group}), sorted({s[1].label for s in group})
        )
        for sha256, group in groups.items()
        if len(group) > 1
    ]
    return [g for g in found if len(g.splits) > 1], [g for g in found if len(g.labels) > 1]


def _near(
    scans: Sequence[tuple[str, Sample]], hashes: Sequence[str], prints: np.ndarray, threshold: int
) -> list[NearDuplicate]:
    """Near-duplicates between each two splits, other patients' first; identical files are reported elsewhere."""
    rows = defaultdict(list)
    for i, (split, _) in enumerate(scans):
        rows[split].append(i)
    found = []
    for a, b in combinations(rows.values(), 2):
        paths = [[scans[i][1].path for i in side] for side in (a, b)]
        for pair in near_duplicates(paths[0], prints[a], paths[1], prints[b], threshold):
            (i, j) = (a[pair.a], b[pair.b])
            if hashes[i] != hashes[j]:
                one, other = scans[i][1], scans[j][1]
                same = one.patient == other.patient, one.label == other.label
                names = _name(*scans[i]), _name(*scans[j])
                found.append(NearDuplicate(names, *same, pair.flipped, pair.distance, pair.texture))
    return sorted(found, key=lambda d: (d.same_patient, -d.texture))


def _name(split: str, sample: Sample) -> str:
    return f"{split}/{sample.label}/{sample.path.name}"


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m training.audit", description="What do a data set's splits share?")
    parser.add_argument("root", type=Path, help="folder with a folder for each split, as OCT2017 is released")
    parser.add_argument(
        "--extra",
        type=Path,
        nargs="*",
        default=[],
        metavar="DIR",
        help=f"add to train: folders named {', '.join(EXTRAS)}",
    )
    parser.add_argument("--splits", nargs="+", metavar="NAME", help="default: those of train, val, test that are there")
    parser.add_argument(
        "--threshold",
        type=int,
        default=THRESHOLD,
        metavar="BITS",
        help="of 512, up to which scans are compared closely",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the whole report there")
    parser.add_argument("--calibrate", action="store_true", help="measure the near-duplicate search on these scans")
    args = parser.parse_args(argv)
    if not 0 <= args.threshold <= BITS:
        parser.error(f"--threshold {args.threshold}, expected bits from 0 to {BITS}")
    names = args.splits or [s for s in SPLITS if s != "val" or (args.root / s).is_dir()]
    try:
        splits = {name: oct2017(args.root, name) for name in names}
        for folder in args.extra:
            splits.setdefault("train", []).extend(extra(folder))
        if args.calibrate:
            from training.duplicate_calibration import calibrate

            print(calibrate([s for samples in splits.values() for s in samples], args.threshold))
            return 0
        report = leaks(splits, args.threshold)
    except DataError as e:
        print(f"error: {e}", file=sys.stderr)
        return 2
    print(report)
    if args.json:
        try:
            args.json.write_text(json.dumps(asdict(report), indent=1), encoding="utf-8")
        except OSError as e:
            print(f"error: {args.json}: can't be written ({e.strerror})", file=sys.stderr)
            return 2
    return 1 if report else 0


if __name__ == "__main__":
    sys.exit(main())
