"""The scans behind a checkpoint's records: found again in the folders of data, and checked against recorded hashes."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

from octhub.datasets import FACTS
from octhub.gallery import EXAMPLES
from octhub.scan import IMAGE_SUFFIXES
from training.masked_scans import SUBJECT
from training.samples import EXTRAS, NAME, DataError, Sample, digest, oct2017, octdl, sha256
from training.split import training_splits

VAL_FRACTION = 0.1
"""Of training.pretrain_encoder, for records that don't say."""

OCTDL = "octdl"
"""Name of the folder, and key of the evaluation."""

SHORT = {"healthy_layers": "healthy", "duke_dme": "duke"}
"""Folder → what patients' names begin with in training.samples."""


@dataclass(frozen=True)
class SampleSet:
    """Scans of one data set, and the part that they had in a checkpoint.

    Attributes:
        role: "training", "validation", …, "test".
        data: the name of the data set's folder.
        sha256: the split's digest as a record has it; where that covers several data sets, this one's own.
    """

    role: str
    data: str
    samples: list[Sample]
    sha256: str

    @property
    def patients(self) -> int:
        return len({s.patient for s in self.samples})

    def described(self) -> dict:
        """For JSON: role, data, numbers of scans and patients, and the digest."""
        about = {"role": self.role, "data": self.data, "scans": len(self.samples), "patients": self.patients}
        return {**about, "sha256": self.sha256}


def training_sets(training: dict, stages: Sequence[dict], folders: Sequence[Path]) -> list[SampleSet]:
    """What a checkpoint learned from: its own training's scans, then those of earlier stages that it hasn't seen.

    Args:
        training: its training.json.
        stages: those before it, whose scans are known (see training.stages).
        folders: of all data sets, resolved.

    Raises:
        DataError: scans are missing, or aren't those of the records.
    """
    sets: list[SampleSet] = []
    for record in (training, *reversed(stages)):
        if isinstance(record["train"], str):
            found = _labelled(record, (record["train"], record["val"]), folders, " of the encoder")
        elif "counts" in record["train"]:
            found = _labelled(record, (record["train"]["sha256"], record["val"]["sha256"]), folders, "")
        else:
            found = list(_masked(record, training, folders))
        seen = {s.path for part in sets for s in part.samples}
        sets += [part for part in found if {s.path for s in part.samples} - seen]
    return sets


def test_sets(training: dict, evaluations: Mapping[str, dict], folders: Sequence[Path]) -> dict[str, SampleSet]:
    """What a checkpoint was measured on, by the evaluation's key; arguments and errors as above."""
    found = {}
    for key, figures in evaluations.items():
        if images := figures.get("images"):
            samples = _by_hash(images, folders, key, training)
            name = " + ".join(sorted({_folder(s.path, folders).name for s in samples}))
        elif "per_subject" in figures:
            raise DataError(
                f"{key}: measured before its scans were recorded, expected training.evaluate_unet's figures anew"
            )
        else:
            samples, folder = _measured(key, figures, folders)
            name = folder.name
            if digest(samples) != figures["split_sha256"]:
                raise DataError(f"{folder}: its {key} scans have another hash than the recorded one, expected the same")
        found[key] = SampleSet("test", name, samples, figures["split_sha256"])
    return found


def pictured(metrics: dict) -> dict[str, SampleSet]:
    """The examples that the card shows (see training.example_pictures), by the key "examples"; none without pictures.

    Raises:
        DataError: a scan isn't in examples/, or is another one now.
    """
    samples = []
    for example in metrics.get("examples", []):
        path = EXAMPLES / example["file"]
        if not path.is_file() or sha256(path) != example["sha256"]:
            raise DataError(f"{path}: not the scan that was pictured; training.example_pictures draws it anew")
        data = next((key for key, known in FACTS.items() if example["source"].startswith(known["name"])), "examples")
        samples.append(Sample(path, "", f"{SHORT.get(data, data)}:{example['patient']}"))
    return {"examples": SampleSet("pictured", "examples", samples, digest(samples))} if samples else {}


def _labelled(record: dict, expected: tuple[str, str], folders: Sequence[Path], of: str) -> list[SampleSet]:
    """The scans of a classifier's training, split anew as its recipe says."""
    main = _with_split(folders, "train")
    recipe = record.get("recipe", {})
    options = {k: recipe[k] for k in ("use_val", "seed") if k in recipe}
    fraction = recipe.get("val_fraction", VAL_FRACTION)
    extras = [f for f in folders if f.name in EXTRAS]
    if "extra" in record:
        extras = [f for f in extras if f.name in record["extra"]]
        choices = [tuple(extras)]
    else:  # an older record: the digest tells which sets were added
        choices = [chosen for n in range(len(extras) + 1) for chosen in combinations(extras, n)]
    for chosen in choices:
        splits = training_splits(main, chosen, val_fraction=fraction, **options)
        found = digest(splits.train), digest(splits.val)
        if found == expected:
            roles = {f"training{of}": splits.train, f"validation{of}": splits.val}
            return [part for role, samples in roles.items() for part in _by_folder(role, samples, folders)]
    raise DataError(f"{main}: its training scans{of} have other hashes than those recorded, expected the same scans")


def _masked(record: dict, training: dict, folders: Sequence[Path]) -> Iterator[SampleSet]:
    """The scans of a segmenter's training, found by the hashes of its images."""
    when = "" if record is training else "earlier "
    for role, side in (("training", "train"), ("validation", "val"), ("additional training", "extra_scans")):
        if part := record.get(side):
            images = part.get("images")
            if images is None and part["sha256"] == training.get(side, {}).get("sha256"):
                images = training[side]["images"]  # an older record, which has the digest alone
            if images is None:
                raise DataError(f"{when}{role}: {part['scans']} scans whose hashes weren't recorded, expected them")
            samples = _by_hash(images, folders, f"{when}{role}", training)
            parts = _by_folder(f"{when}{role}", samples, folders)
            yield from [replace(parts[0], sha256=part["sha256"])] if len(parts) == 1 else parts


def _measured(key: str, figures: dict, folders: Sequence[Path]) -> tuple[list[Sample], Path]:
    """A classifier's test scans and their folder."""
    if key == OCTDL:
        folder = next((f for f in folders if f.name == OCTDL), None)
        if folder is None:
            raise DataError(f"no folder {OCTDL} given, expected the one that {key} was measured on")
        return octdl(folder), folder
    folder = _with_split(folders, figures["split"])
    return oct2017(folder, figures["split"]), folder


def _with_split(folders: Sequence[Path], split: str) -> Path:
    for folder in folders:
        if (folder / split).is_dir():
            return folder
    raise DataError(f"none of {', '.join(map(str, folders))} holds {split}/, expected a folder in OCT2017's layout")


def _by_hash(hashes: Sequence[str], folders: Sequence[Path], what: str, training: dict) -> list[Sample]:
    """The images/ whose sha256 begins with one of the hashes; of identical files, as many as there are hashes."""
    index: dict[str, list[Path]] = defaultdict(list)
    for folder in folders:
        for path in sorted((folder / "images").glob("*")):
            if path.suffix.lower() in IMAGE_SUFFIXES:
                index[sha256(path)[:16]].append(path)
    if missing := set(hashes) - index.keys():
        raise DataError(
            f"{what}: {len(missing)} of {len(hashes)} scans are in none of {', '.join(map(str, folders))}, expected all"
        )
    pattern = re.compile(training["recipe"].get("subject", SUBJECT))
    paths = sorted(path for h, count in Counter(hashes).items() for path in index[h][:count])
    return [Sample(p, "", patient(p, _folder(p, folders).name, pattern)) for p in paths]


def patient(path: Path, data: str, pattern: re.Pattern) -> str:
    """Whose scan an image with a mask is, named as training.samples does. OCT2017's scans keep their names, and so
    their patients, when they are cropped or labelled by others; healthy S01 and S08 are the same eye."""
    if name := NAME.fullmatch(path.stem):
        return f"oct2017:{name['patient']}"
    subject = found[1] if (found := pattern.search(path.name)) else path.stem
    return f"{SHORT.get(data, data)}:{'S01' if (data, subject) == ('healthy_layers', 'S08') else subject}"


def _by_folder(role: str, samples: Sequence[Sample], folders: Sequence[Path]) -> list[SampleSet]:
    """The scans parted by data set, each with its own digest."""
    parts: dict[str, list[Sample]] = {}
    for s in samples:
        parts.setdefault(_folder(s.path, folders).name, []).append(s)
    return [SampleSet(role, data, part, digest(part)) for data, part in parts.items()]


def _folder(path: Path, folders: Sequence[Path]) -> Path:
    return next(f for f in folders if path.is_relative_to(f))
