"""The example gallery: what it promises, and whether a model keeps it."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from octhub.predict import Classifier
from octhub.scan import ScanError

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
"""The gallery of the repository, beside the package."""


class GalleryError(ValueError):
    """A gallery without a readable manifest.json."""


@dataclass(frozen=True)
class Example:
    """One scan of the gallery and what a release promises for it.

    Attributes:
        path, sha256: the file, and its hash.
        source, licence, attribution: where it comes from, and under which terms.
        patient, split: so that anyone can check that no model was trained on the patient.
        label: the expected class, which is also the expert's.
        probability, tolerance: the expected probability of that class, and how far it may be off.
    """

    path: Path
    sha256: str
    source: str
    licence: str
    attribution: str
    patient: str
    split: str
    label: str
    probability: float
    tolerance: float


@dataclass(frozen=True)
class Outcome:
    """How one example came out; `problem` is empty when it agrees."""

    example: Example
    problem: str
    label: str = ""
    probability: float = float("nan")

    @property
    def ok(self) -> bool:
        return not self.problem

    def __str__(self) -> str:
        e = self.example
        found = f"{self.label:7} {self.probability:.4f}"
        expected = f"{e.label} {e.probability:.4f} ± {e.tolerance}"
        line = f"{'ok  ' if self.ok else 'FAIL'} {e.path.name:16} {found} (expected {expected})"
        return line if self.ok else f"{line}: {self.problem}"


def load(folder: Path = EXAMPLES) -> list[Example]:
    """The examples that `folder`/manifest.json lists.

    Raises:
        GalleryError: no manifest, or one that isn't as expected.
    """
    path = Path(folder) / "manifest.json"
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))["examples"]
        return [Example(path=path.parent / e.pop("file"), **e) for e in entries]
    except FileNotFoundError as e:
        raise GalleryError(f"{path}: no such file, expected the gallery's manifest") from e
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as e:
        raise GalleryError(f"{path}: not a gallery's manifest: {type(e).__name__} {e}") from e


def replay(classifier: Classifier, folder: Path = EXAMPLES) -> list[Outcome]:
    """Classify every example and compare with its promise."""
    return [_check(classifier, example) for example in load(folder)]


def record(classifier: Classifier, folder: Path = EXAMPLES, tolerance: float = 0.02) -> list[Outcome]:
    """Make the classifier's present probabilities the gallery's promise; labels stay the experts'.

    Args:
        tolerance: how far another machine's probability may be off.

    Returns:
        What `replay` says afterwards: an example whose label the classifier misses still fails.

    Raises:
        GalleryError: no manifest, or one that isn't as expected.
    """
    path = Path(folder) / "manifest.json"
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        for entry in manifest["examples"]:
            answer = classifier(path.parent / entry["file"])
            entry["probability"] = round(answer.probabilities[entry["label"]], 4)
            entry["tolerance"] = tolerance
    except (OSError, json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, ScanError) as e:
        raise GalleryError(f"{path}: not a gallery's manifest: {type(e).__name__} {e}") from e
    path.write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    return replay(classifier, folder)


def _check(classifier: Classifier, example: Example) -> Outcome:
    if not example.path.is_file():
        return Outcome(example, "the file is missing")
    found = hashlib.sha256(example.path.read_bytes()).hexdigest()
    if found != example.sha256:
        return Outcome(example, f"the file's sha256 is {found[:12]}…, expected {example.sha256[:12]}…")
    try:
        answer = classifier(example.path)
    except ScanError as e:
        return Outcome(example, str(e))
    probability = answer.probabilities.get(example.label, float("nan"))
    problem = ""
    if answer.label != example.label:
        problem = "another label"
    elif not abs(probability - example.probability) <= example.tolerance:
        problem = "the probability is outside the tolerance"
    return Outcome(example, problem, answer.label, probability)
