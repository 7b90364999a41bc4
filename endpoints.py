"""Hidden components of the API's endpoints, described for those who read "Use via API", and for assistants."""

from typing import Any

import gradio as gr
from pydantic import TypeAdapter
from typing_extensions import TypedDict  # typing's own is not enough for pydantic before Python 3.12

from octhub.measure import Measurement
from octhub.scan import MAX_BYTES
from tabs import uploads_only

UPLOAD = "Uploaded: by handle_file in Python, by a POST to /upload elsewhere. URLs are refused."
"""Said of every file, in place of Gradio's words on a class of its own."""

SCAN = f"One B-scan: a PNG, JPEG, TIFF, BMP or WebP file of at most {MAX_BYTES / 1e6:g} MB"


class Provenance(TypedDict):
    """What an answer came from; see octhub.provenance."""

    octhub: str
    time: str
    note: str
    model: dict[str, Any]
    input: dict[str, Any] | None


class ClassFacts(TypedDict):
    """What /classify says of a scan."""

    label: str
    decision: str
    reason: str
    probabilities: dict[str, float]
    heatmap_class: str
    provenance: Provenance


class Scores(TypedDict):
    """How well an answer agrees with an expert's mask; see octhub.metrics.SegmentationScore."""

    pixel_accuracy: float | None
    miou: float | None
    classes_counted: int
    iou: dict[str, float | None]
    dice: dict[str, float | None]
    pixels: dict[str, int]


class MaskFacts(TypedDict):
    """What /segment says of a scan."""

    decision: str
    reason: str
    areas: list[Measurement]
    scale: dict[str, float] | None
    mask: str | None
    scores: Scores | None
    provenance: Provenance


class ManyFacts(TypedDict):
    """What /many says of many scans."""

    table: list[dict[str, str | float | None]]
    provenance: dict[str, Any]


class ModelFacts(TypedDict):
    """What /about says of a model; see octhub.served.Served.facts."""

    architecture: str
    source: str
    revision: str | None
    weights_sha256: str | None
    config_sha256: str | None
    parameters: int
    class_names: list[str]


class AppFacts(TypedDict):
    """What /about says."""

    octhub: str
    models: dict[str, ModelFacts]
    notice: str


def file_input(label: str, *examples: str) -> gr.File:
    """A file that a caller uploads, or with several examples a list of files; the page's code names the examples, where
    Gradio would name a PDF on the web."""
    several = len(examples) > 1
    file = uploads_only(gr.File(label=label, file_count="multiple" if several else "single"))
    info = file.api_info_as_input() | {"additional_description": UPLOAD}
    file.api_info_as_input = lambda: info
    shown = [{"path": e, "url": e, "meta": {"_type": "gradio.FileData"}} for e in examples]  # the page prints the URL
    file.example_payload = lambda: shown if several else shown[0]
    return file


def json_output(label: str, kind: type) -> gr.JSON:
    """An answer in JSON that has the fields of `kind`."""
    answer, schema = gr.JSON(label=label), TypeAdapter(kind).json_schema()
    answer.api_info_as_output = lambda: schema
    return answer
