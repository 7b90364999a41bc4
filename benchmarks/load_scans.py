"""Scans that no two users share, and the right answer for each, computed in this process before anybody asks."""

import hashlib
import io
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from octhub import Classification, Classifier, ScanError, Segmentation, Segmenter, read_scan
from octhub.gallery import Example, load
from octhub.measure import measure

SEED = 20261100
"""Of the cuts: the same scans in every run."""

BROKEN = b"this is no picture"
"""What a bad file holds."""


@dataclass(frozen=True, eq=False)
class Expected:
    """A scan's file and what the app must say of it.

    Attributes:
        name, data: the file.
        scan: (H, W) float32 in [0, 1].
        classification: with the likeliest class's heatmap.
        segmentation: as the segmenter gives it.
        areas: the table of its areas.
        sha256: of the file's bytes.
    """

    name: str
    data: bytes
    scan: np.ndarray
    classification: Classification
    segmentation: Segmentation
    areas: list[dict[str, Any]] = field(repr=False)
    sha256: str

    @classmethod
    def of(cls, name: str, data: bytes, classifier: Classifier, segmenter: Segmenter) -> "Expected":
        scan = read_scan(data, name)
        mask = segmenter(scan)
        areas = [asdict(m) for m in measure(mask.mask, mask.class_names)]
        return cls(name, data, scan, classifier(scan, heatmap=True), mask, areas, hashlib.sha256(data).hexdigest())


@dataclass(frozen=True, eq=False)
class Questions:
    """All that users may ask.

    Attributes:
        scans: those of each user.
        examples: by their place in the Classify tab's gallery.
        refusal: what the app must say of BROKEN, after the file's name.
        weights: sha256 of each model's weights, by what it is there for.
    """

    scans: list[list[Expected]]
    examples: dict[int, Expected]
    refusal: str
    weights: dict[str, str]


def questions(users: int, each: int, classifier: Classifier, segmenter: Segmenter, examples: int = 3) -> Questions:
    """Scans for `users` users, `each` for everyone, and some of the gallery's examples."""
    gallery = [e for e in load() if e.label]
    rng = np.random.default_rng(SEED)
    scans = [
        [
            Expected.of(name, cut(gallery[(user + turn) % len(gallery)], rng), classifier, segmenter)
            for turn in range(each)
            for name in [f"user-{user}-scan-{turn}.png"]
        ]
        for user in range(users)
    ]
    shown = {
        index: Expected.of(e.path.name, e.path.read_bytes(), classifier, segmenter)
        for index, e in enumerate(gallery[:examples])
    }
    models = {"classifier": classifier.model, "segmenter": segmenter.model}
    weights = {role: model.weights_sha256 for role, model in models.items()}
    return Questions(scans, shown, refusal_of(BROKEN), weights)


def cut(example: Example, rng: np.random.Generator) -> bytes:
    """A PNG of most of an example's scan, mirrored or not: no two are of the same place, and few of the same size."""
    scan = np.asarray(Image.open(example.path).convert("L"))
    height, width = (int(side * rng.uniform(0.7, 0.95)) for side in scan.shape)
    top, left = (int(rng.integers(0, whole - part)) for whole, part in zip(scan.shape, (height, width), strict=True))
    part = scan[top : top + height, left : left + width]
    with io.BytesIO() as file:
        Image.fromarray(part[:, ::-1] if rng.random() < 0.5 else part).save(file, "PNG")
        return file.getvalue()


def refusal_of(data: bytes) -> str:
    """What reading a bad file says, after the file's name."""
    try:
        read_scan(data, "name")
    except ScanError as e:
        return str(e).removeprefix("name")
    raise ValueError("the file is a scan")
