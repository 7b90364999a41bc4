"""The example gallery: what it promises, and whether the models keep it.

manifest.json lists the examples. Beside its origin, an entry holds what a classifier promises (label, probability,
tolerance), or what a segmenter promises (segment), or both. `segment` is one of

    {"mask": "x-mask.png", "mask_sha256": "…", "miou": 0.9, "tolerance": 0.02}      see MaskPromise
    {"class": "fluid", "pixels": 5000, "tolerance": 0.2}                            see ClassPromise

probability, miou, pixels and the tolerances may be left out: `record` writes them.
"""

import hashlib
import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from octhub.predict import Classification, Classifier, Segmentation, Segmenter
from octhub.promise import ClassPromise, MaskPromise

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
"""The gallery of the repository, beside the package."""

FIGURES = {"probability", "miou", "pixels", "tolerance"}
"""What has to be a number in a manifest."""


class GalleryError(ValueError):
    """A gallery without a readable manifest.json, or one that can't be recorded."""


@dataclass(frozen=True)
class Example:
    """One scan of the gallery and what a release promises for it.

    Attributes:
        path, sha256: the file, and its hash.
        source, licence, attribution: where it comes from, and under which terms.
        patient, split: so that anyone can check that no model was trained on the patient.
        label: the expected class, which is also the expert's; None if the classifier promises nothing.
        probability, tolerance: the expected probability of that class, and how far it may be off.
        segment: what the segmenter promises, if anything.
    """

    path: Path
    sha256: str
    source: str
    licence: str
    attribution: str
    patient: str
    split: str
    label: str | None = None
    probability: float | None = None
    tolerance: float = 0.02
    segment: MaskPromise | ClassPromise | None = None

    @property
    def origin(self) -> str:
        """Where it comes from, in a word or two, and whether it is a test patient's: "unseen · OCT2017"."""
        name = re.split(r" \(|, ", self.source)[0]
        return f"unseen · {name}" if self.split == "test" else name

    @property
    def mask(self) -> Path | None:
        """The expert's mask, if there is one."""
        return self.segment.mask if isinstance(self.segment, MaskPromise) else None


@dataclass(frozen=True)
class Outcome:
    """How one promise came out.

    Attributes:
        example: whose promise it is.
        problem: what is wrong; empty when all agrees.
        found, expected: the figures, in words.
        seconds: how long the answer took; None where nobody was asked.
    """

    example: Example
    problem: str
    found: str = ""
    expected: str = ""
    seconds: float | None = None

    @property
    def ok(self) -> bool:
        return not self.problem

    def __str__(self) -> str:
        name = self.example.path.name
        line = f"{'ok  ' if self.ok else 'FAIL'} {name:16} {self.found:14}"
        if self.expected:
            line += f" (expected {self.expected})"
        return line if self.ok else f"{line}: {self.problem}"

    def timed(self) -> str:
        """The same after the seconds."""
        return f"{'–' if self.seconds is None else f'{self.seconds:.2f}':>6} s  {self}"


def load(folder: Path = EXAMPLES) -> list[Example]:
    """The examples that `folder`/manifest.json lists. Those with a `label` are a classifier's, with `segment` a
    segmenter's; there may be both.

    Raises:
        GalleryError: no manifest, or one that isn't as expected.
    """
    path, manifest = _manifest(folder)
    try:
        return [_example(path.parent, dict(entry)) for entry in manifest["examples"]]
    except (KeyError, TypeError, ValueError, AttributeError) as e:
        raise GalleryError(f"{path}: not a gallery's manifest: {type(e).__name__} {e}") from e


def replay(classifier: Classifier | None, folder: Path = EXAMPLES, segmenter: Segmenter | None = None) -> list[Outcome]:
    """Run every example and compare with its promises; those of a model that is None are left out.

    Raises:
        GalleryError: no manifest, or one that isn't as expected.
    """
    classify = None if classifier is None else lambda example: classifier(example.path)
    segment = None if segmenter is None else lambda example: segmenter(example.path)
    return list(judge(load(folder), classify, segment))


def judge(
    examples: Sequence[Example],
    classify: Callable[[Example], Classification] | None,
    segment: Callable[[Example], Segmentation] | None,
) -> Iterator[Outcome]:
    """Compare answers, from wherever they come, with the examples' promises, one after the other.

    Args:
        classify, segment: the answer for an example; a ValueError is why there is none. The promises of one that is
            None are left out.
    """
    for example in examples:
        if problem := _files_problem(example):
            yield Outcome(example, problem)
            continue
        if example.label is not None and classify is not None:
            yield _timed(_classify, classify, example)
        if example.segment is not None and segment is not None:
            yield _timed(_segment, segment, example, example.segment)


def record(classifier: Classifier | None, folder: Path = EXAMPLES, segmenter: Segmenter | None = None) -> list[Outcome]:
    """Make the models' present figures the gallery's promises; labels and masks stay the experts'.

    Tolerances that the manifest has stay, others are written, too. The promises of a model that is None stay.

    Returns:
        What `replay` says afterwards: an example whose label the classifier misses, or whose class the segmenter
        doesn't find, still fails.

    Raises:
        GalleryError: no manifest, one that isn't as expected, or files and classes that don't fit.
    """
    path, manifest = _manifest(folder)
    for example, entry in zip(load(folder), manifest["examples"], strict=True):
        try:
            if example.label is not None and classifier is not None:
                entry["probability"] = round(classifier(example.path).probabilities[example.label], 4)
                entry["tolerance"] = example.tolerance
            if example.segment is not None and segmenter is not None:
                entry["segment"][example.segment.FIGURE] = example.segment.measure(segmenter(example.path))
                entry["segment"]["tolerance"] = example.segment.tolerance
        except (KeyError, ValueError) as e:
            raise GalleryError(f"{path}: {example.path.name} can't be recorded: {type(e).__name__} {e}") from e
    path.write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    return replay(classifier, folder, segmenter)


def _manifest(folder: Path) -> tuple[Path, dict[str, Any]]:
    path = Path(folder) / "manifest.json"
    try:
        return path, json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as e:
        raise GalleryError(f"{path}: no such file, expected the gallery's manifest") from e
    except (OSError, ValueError) as e:
        raise GalleryError(f"{path}: not a gallery's manifest: {type(e).__name__} {e}") from e


def _example(folder: Path, entry: dict[str, Any]) -> Example:
    """One entry of the manifest, which is taken apart. Raises KeyError, TypeError, ValueError or AttributeError."""
    segment = dict(entry.pop("segment", {}))
    for figures in (entry, segment):
        for name in FIGURES & figures.keys():
            if not isinstance(figures[name], int | float):
                raise TypeError(f"{name} is {figures[name]!r}, expected a number")
    if not segment and entry.get("label") is None:
        raise ValueError(f"{entry['file']} promises neither label nor segment")
    if "class" in segment:
        promise = ClassPromise(segment.pop("class"), **segment)
    else:
        promise = MaskPromise(folder / segment.pop("mask"), **segment) if segment else None
    return Example(path=folder / entry.pop("file"), segment=promise, **entry)


def _files_problem(example: Example) -> str:
    """What is wrong with an example's files; empty when nothing is."""
    files = {example.path: example.sha256}
    if isinstance(example.segment, MaskPromise):
        files[example.segment.mask] = example.segment.mask_sha256
    for path, expected in files.items():
        if not path.is_file():
            return f"{path.name} is missing"
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != expected:
            return f"{path.name} has sha256 {found[:12]}…, expected {expected[:12]}…"
    return ""


def _timed(judge_one: Callable[..., Outcome], *args) -> Outcome:
    started = time.perf_counter()
    outcome = judge_one(*args)
    return replace(outcome, seconds=time.perf_counter() - started)


def _classify(classify: Callable[[Example], Classification], example: Example) -> Outcome:
    promised = example.probability
    expected = example.label if promised is None else f"{example.label} {promised:.4f} ± {example.tolerance:g}"
    try:
        answer = classify(example)
    except ValueError as e:
        return Outcome(example, str(e), expected=expected)
    probability = answer.probabilities.get(example.label, float("nan"))
    problem = _difference("probability", probability, promised, example.tolerance)
    if answer.label != example.label:
        problem = "another label"
    elif answer.reason:
        problem = f"{answer.decision}: {answer.reason}"
    return Outcome(example, problem, f"{answer.label:7} {probability:.4f}", expected)


def _segment(
    segment: Callable[[Example], Segmentation], example: Example, promise: MaskPromise | ClassPromise
) -> Outcome:
    unknown = promise.promised is None
    expected = promise.FIGURE if unknown else f"{promise.show(promise.promised)} ± {promise.allowed:g}"
    try:
        answer = segment(example)
        found = promise.measure(answer)
    except ValueError as e:  # the scan's, the mask's, or a class that isn't there
        return Outcome(example, str(e), expected=expected)
    problem = _difference(promise.FIGURE, found, promise.promised, promise.allowed)
    if not found > 0:
        problem = "it isn't found"
    elif answer.reason:
        problem = f"{answer.decision}: {answer.reason}"
    return Outcome(example, problem, promise.show(found), expected)


def _difference(name: str, found: float, promised: float | None, allowed: float) -> str:
    """What is wrong with a figure; empty when nothing is."""
    if promised is None:
        return f"{name} not recorded yet"
    return "" if abs(found - promised) <= allowed else f"{name} outside the tolerance"
