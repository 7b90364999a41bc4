"""What a visitor of the Segment tab has on show, and its HTML; nothing here knows Gradio."""

import os
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from octhub import MaskError, Segmentation, read_scan
from octhub.mask import read_mask
from octhub.mask_render import label_png
from octhub.mask_viewer import legend_html, mask_viewer_html
from octhub.measure import LARGEST, SMALLEST, Measurement, Scale, measure
from octhub.metrics import SegmentationScore
from octhub.profile_plot import profile_html
from octhub.provenance import columns
from octhub.results import decided
from octhub.tables import areas_html, csv_text, doubt_html, note_html, record_json, score_html
from octhub.viewer import copy_link_html, message_html, stem


@dataclass(frozen=True)
class Packed:
    """A map of 8 bits, such as class ids or a heatmap, small enough to keep for every visitor."""

    shape: tuple[int, int]
    data: bytes

    @classmethod
    def of(cls, ids: np.ndarray) -> "Packed":
        return cls(ids.shape, zlib.compress(ids.tobytes(), 1))

    def ids(self) -> np.ndarray:
        """(H, W) uint8."""
        return np.frombuffer(zlib.decompress(self.data), np.uint8).reshape(self.shape)


@dataclass(frozen=True)
class Case:
    """A scan, the model's answer and an expert's mask, as far as they are there.

    Attributes:
        path, note: the scan's file and a remark on it.
        link: leads to the scan, if it is an example.
        answer: the model's mask; None without a scan.
        provenance: what it came from; it is there with the answer.
        mask, mask_name: the expert's mask; it may be there before its scan.
        remark: HTML that says what became of a mask which isn't there.
        decision, reason: what was decided about the scan, and why it is no B-scan; they are there with the answer.
    """

    path: str = ""
    note: str = ""
    link: str = ""
    answer: Packed | None = None
    provenance: dict[str, Any] | None = None
    mask: Packed | None = None
    mask_name: str = ""
    remark: str = ""
    decision: str = ""
    reason: str = ""

    @property
    def name(self) -> str:
        return Path(self.path).name

    @property
    def compared(self) -> bool:
        """Whether the mask is the scan's, as far as sizes tell."""
        return self.mask is not None and self.answer is not None and self.mask.shape == self.answer.shape

    def with_scan(self, path: str, note: str = "") -> "Case":
        """Another scan, without an answer yet. A mask that still waits for its scan stays; one that has been compared
        goes, since it would be compared with a stranger's scan if that has the same size."""
        if not self.compared:
            return replace(self, path=path, note=note, link="", answer=None, decision="", reason="", provenance=None)
        text = f"It is the mask of {self.name}. For a comparison, add the mask of {Path(path).name}."
        return Case(path, note, remark=note_html(f"Mask {self.mask_name} was removed", text))

    def with_mask(self, path: str | Path, names: Sequence[str]) -> "Case":
        """Another mask, or why it can't be used; either way the last one goes."""
        name = Path(path).name
        try:
            return replace(self, mask=Packed.of(read_mask(path, None, names, name)), mask_name=name, remark="")
        except MaskError as e:
            return self.without_mask(note_html("This mask can't be used", str(e), "alert"))

    def without_mask(self, remark: str = "") -> "Case":
        return replace(self, mask=None, mask_name="", remark=remark)


def scale_of(axial: float | str | None, lateral: float | str | None) -> Scale | None:
    """The size of a pixel in µm, as numbers or as typed; None if neither side is given.

    Raises:
        ValueError: one is missing, or not a number above 0.
    """
    given = ["" if side is None else str(side).strip().replace(",", ".") for side in (axial, lateral)]
    if not any(given):
        return None
    if not all(given):
        missing = "lateral" if given[0] else "axial"
        raise ValueError(f"the {missing} size of a pixel is missing: mm² and µm need both")
    try:
        return Scale(*map(float, given))
    except ValueError:
        raise ValueError(
            f"a pixel of {axial} × {lateral} µm, expected two numbers from {SMALLEST:g} to {LARGEST:g}"
        ) from None


def viewer_of(case: Case, names: Sequence[str]) -> str:
    """The viewer of a case."""
    if case.answer is None:
        text = "Add a scan and, if you have it, an expert's mask of the scan."
        return message_html("No scan yet", text, foot=legend_html(names))
    if not os.path.exists(case.path):
        text = "It was deleted from the server, as all uploads are. Please add it again."
        return message_html(f"{case.name} is no longer here", text, "alert", legend_html(names))
    scan, truth = read_scan(case.path, case.name), case.mask.ids() if case.compared else None
    return mask_viewer_html(
        scan, case.answer.ids(), names, name=case.name, note=case.note, truth=truth, links=copy_link_html(case.link)
    )


def scores_of(case: Case, names: Sequence[str]) -> str:
    """Any doubt about a case, and its score or why there is none."""
    return doubt_html(case.decision, case.reason) + _score_of(case, names)


def _score_of(case: Case, names: Sequence[str]) -> str:
    if case.mask is None:
        return case.remark or note_html("How good is it?", "Add an expert's mask, and the answer is compared with it.")
    if case.answer is None:
        return note_html(f"Mask {case.mask_name} is ready", "Now add the scan that it is the mask of.")
    try:
        truth = read_mask(case.mask.ids(), case.answer.shape, names, case.mask_name)
    except MaskError as e:
        return note_html("This mask doesn't fit", str(e), "alert")
    return score_html(Segmentation(case.answer.ids(), names).score(truth), case.mask_name)


def facts_of(
    rows: Sequence[Measurement],
    scale: Scale | None,
    score: SegmentationScore | None,
    mask_name: str,
    said: dict[str, str],
    provenance: dict[str, Any],
) -> dict[str, Any]:
    """What was decided and measured and how it was scored as JSON, for the API and to save."""
    return {
        **said,
        "areas": [asdict(m) for m in rows],
        "scale": None if scale is None else {"axial_um": scale.axial, "lateral_um": scale.lateral},
        "mask": None if score is None else mask_name,
        "scores": None if score is None else score.as_dict(),
        "provenance": provenance,
    }


def profile_of(case: Case, names: Sequence[str], axial: float | str | None, lateral: float | str | None) -> str:
    """The thickness profile of a case, in pixels unless the scale is good; empty without an answer."""
    if case.answer is None:
        return ""
    try:
        scale = scale_of(axial, lateral)
    except ValueError:  # the table of areas says what is wrong
        scale = None
    truth = case.mask.ids() if case.compared else None
    return profile_html(case.answer.ids(), names, scale, stem=stem(case.name), truth=truth)


def areas_of(case: Case, names: Sequence[str], axial: float | str | None, lateral: float | str | None) -> str:
    """The table of a case's areas, with what can be saved; empty without an answer."""
    if case.answer is None:
        return ""
    mask, scale, problem = case.answer.ids(), None, ""
    try:
        scale = scale_of(axial, lateral)
    except ValueError as e:
        problem = str(e)
    rows = measure(mask, names, scale)
    score = Segmentation(mask, names).score(case.mask.ids()) if case.compared else None
    facts = facts_of(rows, scale, score, case.mask_name, decided(case), case.provenance)
    last = decided(case) | columns(case.provenance)
    files = {
        "Labels (PNG)": (f"{stem(case.name)}-labels.png", label_png(mask, names)),
        "Table (CSV)": (f"{stem(case.name)}-areas.csv", csv_text(rows, score, last).encode()),
        "Record (JSON)": (f"{stem(case.name)}-areas.json", record_json(facts)),
    }
    return areas_html(rows, scale, files, problem)
