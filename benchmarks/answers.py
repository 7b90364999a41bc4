"""Whole answers in this process, from a file to pictures, and the parts that they have."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.parts import Parts
from octhub import predict, results
from octhub.measure import measure
from octhub.predict import Classifier, Segmenter
from octhub.provenance import read_input

CLASSIFY, CAM, SEGMENT = "classify", "classify with Grad-CAM", "segment"

PARTS: Mapping[str, Sequence[str]] = {
    CLASSIFY: ("read", "preprocess", "model", "decide"),
    CAM: ("read", "preprocess", "model", "explain", "decide", "to scan", "render", "encode"),
    SEGMENT: ("read", "preprocess", "model", "decide", "to scan", "measure", "render", "encode"),
}
"""By answer, what it consists of: read decodes a file, decide is the B-scan's statistics and the limits, to scan lays a
map over the scan, render makes its picture, encode a PNG."""

OF_MODEL = ("model", "explain")
"""What is a model's: its forward pass, and Grad-CAM."""


def places(classifier: Classifier, segmenter: Segmenter) -> dict[str, list[tuple[object, str]]]:
    """Where the parts are called by name."""
    net = classifier.model
    return {
        "read": [(predict, "read_scan")],
        "preprocess": [(predict, "preprocess"), (predict.Tissue, "of")],
        "model": [
            *((net, name) for name in ("activation", "pooled", "novelty")),
            (net.mlp, "forward"),
            (segmenter.model, "forward"),
        ],
        "explain": [(net, "heat"), (predict, "heatmaps")],
        "decide": [(predict, "decide"), (predict, "not_bscan")],
        "to scan": [(predict, "to_scan"), (predict, "classes_to_scan")],
        "measure": [],
        "render": [(results, "overlay"), (results, "mask_overlay")],
        "encode": [(results, "png_bytes"), (results, "label_png")],
    }


def answers(path: Path, classifier: Classifier, segmenter: Segmenter, parts: Parts) -> dict[str, Callable[[], Any]]:
    """From a file to what the API hands out for it: as numbers, and as pictures where there are some."""
    read, measured = parts.timed("read", read_input), parts.timed("measure", measure)

    def classify() -> Any:
        return classifier(read(path, path.name)[0])

    def explain() -> Any:
        scan, _ = read(path, path.name)
        return results.heatmap_picture(scan, classifier(scan, heatmap=True))

    def segment() -> Any:
        scan, _ = read(path, path.name)
        answer = segmenter(scan)
        return measured(answer.mask, answer.class_names), dict(results.segmentation_pictures(scan, answer))

    return {CLASSIFY: classify, CAM: explain, SEGMENT: segment}
