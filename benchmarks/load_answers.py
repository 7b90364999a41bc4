"""Whether an answer is the right one: of the very scan that was asked about, and what the models say of it here."""

import base64
import hashlib
import io
import json
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.load_scans import Expected
from octhub.mask_render import mask_overlay
from octhub.mask_viewer import MASK_OPACITY
from octhub.render import grey, heat_layer, overlay
from octhub.viewer import OPACITY

PROBABILITY = 1e-4
"""How far a probability may be from this process's: another one may add in another order."""

LEVELS = 2
"""How far a picture's pixels may be, of 255, for the same reason."""

PIXELS = 1e-3
"""The share of an outline's pixels that may be of another class, for the same reason."""


@dataclass(frozen=True)
class Answer:
    """What came back for one scan.

    Attributes:
        facts: label and probabilities, or areas, and provenance.
        pictures: PNG files: "overlay", "scan" and "layer", or "labels" and "overlay".
    """

    facts: dict[str, Any]
    pictures: dict[str, bytes]

    def bits(self) -> str:
        """A digest of all that must be the same, bit for bit, whenever this scan is asked about."""
        facts = {key: value for key, value in self.facts.items() if key != "provenance"}
        parts = [json.dumps(facts, sort_keys=True).encode(), *(self.pictures[k] for k in sorted(self.pictures))]
        return hashlib.sha256(b"".join(hashlib.sha256(p).digest() for p in parts)).hexdigest()


def classified(answer: Answer, expected: Expected) -> str:
    """Why it isn't the scan's classification; empty if it is."""
    facts, right = answer.facts, expected.classification
    if problem := _other_scan(facts, expected):
        return problem
    if (facts["label"], facts["decision"]) != (right.label, right.decision):
        return f"{expected.name}: {facts['label']}, {facts['decision']}, expected {right.label}, {right.decision}"
    for name, p in right.probabilities.items():
        if not abs(facts["probabilities"].get(name, -1) - p) <= PROBABILITY:
            return f"{expected.name}: {name} {facts['probabilities'].get(name)}, expected {p}"
    pictures = {
        "overlay": lambda: overlay(expected.scan, right.heatmap, OPACITY / 100),
        "scan": lambda: grey(expected.scan),
        "layer": lambda: heat_layer(right.heatmap),
    }
    return _pictures(answer, {name: pictures[name]() for name in answer.pictures}, expected.name)


def segmented(answer: Answer, expected: Expected) -> str:
    """Why it isn't the scan's segmentation; empty if it is."""
    if problem := _other_scan(answer.facts, expected):
        return problem
    right = expected.segmentation
    labels = _pixels(answer.pictures["labels"])
    if labels.shape != right.mask.shape:
        return f"{expected.name}: labels of shape {labels.shape}, expected {right.mask.shape}"
    if (wrong := float((labels != right.mask).mean())) > PIXELS:
        return f"{expected.name}: {wrong:.1%} of the labels are others"
    if not wrong and answer.facts["areas"] != json.loads(json.dumps(expected.areas)):
        return f"{expected.name}: another table of areas"
    if wrong or "overlay" not in answer.pictures:
        return ""
    picture = mask_overlay(expected.scan, right.mask, right.class_names, MASK_OPACITY / 100)
    return _pictures(answer, {"overlay": picture}, expected.name)


def _other_scan(facts: dict[str, Any], expected: Expected) -> str:
    given = facts["provenance"]["input"]
    if given["sha256"] != expected.sha256:
        return f"{expected.name}: the answer is of {given['file']}, sha256 {given['sha256'][:8]}…"
    return ""


def _pictures(answer: Answer, right: dict[str, np.ndarray], name: str) -> str:
    for which, expected in right.items():
        found = _pixels(answer.pictures[which])
        if found.shape != expected.shape or np.abs(found.astype(int) - expected).max() > LEVELS:
            return f"{name}: another picture ({which})"
    return ""


def _pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)))


def page_classified(viewer: str) -> Answer:
    """What the Classify tab's viewer shows, and the record that it offers."""
    return Answer(_record(viewer), {"scan": _image(viewer, "scan"), "layer": _image(viewer, "layer")})


def page_segmented(areas: str) -> Answer:
    """What the Segment tab's table of areas offers."""
    return Answer(_record(areas), {"labels": _saved(areas, "Labels (PNG)")})


def _record(html: str) -> dict[str, Any]:
    return json.loads(_saved(html, "Record (JSON)"))


def _saved(html: str, text: str) -> bytes:
    found = re.search(rf'href="data:[\w/]+;base64,([^"]+)">{re.escape(text)}<', html)
    if not found:
        raise ValueError(f"the page offers no {text}: {re.sub('<[^>]*>', ' ', html)[:200]}")
    return base64.b64decode(found[1])


def _image(html: str, kind: str) -> bytes:
    found = re.search(rf'<img class="{kind}"[^>]*src="data:image/png;base64,([^"]+)"', html)
    if not found:
        raise ValueError(f"the page shows no {kind}")
    return base64.b64decode(found[1])
