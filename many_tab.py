"""The demo's Many scans tab: a table of what many scans show, which fills as the answers come, and a ZIP of results."""

import os
import secrets
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from endpoints import ManyFacts, file_input, json_output
from many_run import NoAnswer, Order, Step, status_html, steps, table_html
from octhub import Classification, Classifier, Segmentation, Segmenter
from octhub.batch import MAX_SCANS, BatchError
from octhub.provenance import about, model_facts
from octhub.tables import note_html
from segment_case import scale_of
from tabs import BATCH, KEEP_SECONDS, download_path, on_gpu, uploads_only

CLASSIFY, SEGMENT = "Classify", "Segment"
"""What can be wanted of many scans."""

RESULTS = "octhub-results.zip"

WAITING = note_html("Waiting for a turn", "One run at a time: yours starts when those before it have ended.")

NOT_RUN = note_html(
    "Not run", "The server was busy. Please run it again in a few minutes; your scans are still here.", "alert"
)
"""Said to a visitor who doesn't wait any longer for a place in line."""

TOKEN_BYTES = 8

FORGOTTEN = 1000
"""Runs that may be ended before their turn; beyond that, all those are remembered no more."""


class Bench:
    """Runs over many scans, each by the token that its visitor's page got for it."""

    def __init__(self, classifier: Classifier, segmenter: Segmenter | None, zip_file: gr.DownloadButton):
        self.classifier, self.segmenter, self.zip_file = classifier, segmenter, zip_file
        self.ended: set[str] = set()

        @on_gpu
        def ask(scan: np.ndarray, classify: bool, segment: bool) -> tuple[Classification | None, Segmentation | None]:
            return classifier(scan, heatmap=True) if classify else None, segmenter(scan) if segment else None

        self._ask = ask

    def ask(self, *question) -> tuple[Classification | None, Segmentation | None]:
        """An octhub Ask, which has a GPU for each scan, so that others get theirs in between."""
        try:
            return self._ask(*question)
        except gr.Error as e:  # ZeroGPU's, such as that the visitor has used up their share
            raise NoAnswer(e.message) from e

    def order(self, wanted: Sequence[str], axial: float | str | None, lateral: float | str | None) -> Order:
        """Raises ValueError: nothing is wanted, or the size of a pixel is none."""
        models = self.classifier if CLASSIFY in wanted else None, self.segmenter if SEGMENT in wanted else None
        if models == (None, None):
            raise BatchError(f"nothing to do, expected {CLASSIFY}, {SEGMENT} or both")
        return Order(*models, scale_of(axial, lateral) if models[1] else None)

    def run(self, files: Sequence[str], order: Order, token: str = "") -> Iterator[tuple[Step, str | None]]:
        """Steps, and with the last one the path of the results. Raises BatchError."""
        path = download_path(self.zip_file, RESULTS)

        added = oldest(files)

        def stop() -> str:
            if token and token in self.ended:
                return "it was cancelled"
            late = time.time() - added > KEEP_SECONDS
            return f"what you add is kept for {KEEP_SECONDS // 60} minutes, and they are over" if late else ""

        try:
            for step in steps(files, order, self.ask, path, stop):
                yield step, None if step.now else str(path)
        finally:
            self.ended.discard(token)

    def end(self, token: str) -> None:
        """Have a run end after the scan at work."""
        if len(token) != 2 * TOKEN_BYTES:  # none that a page was given
            return
        if len(self.ended) > FORGOTTEN:
            self.ended.clear()
        self.ended.add(token)


def oldest(files: Sequence[str]) -> float:
    """When the first of the files was added, in seconds since the epoch: they are deleted one by one.

    Raises:
        BatchError: one was deleted already.
    """
    added = time.time()
    for file in files:
        try:
            added = min(added, os.stat(file).st_ctime)
        except FileNotFoundError as e:
            raise BatchError(f"{Path(file).name} was deleted from the server, as all uploads are: add it again") from e
    return added


def many_tab(classifier: Classifier, segmenter: Segmenter | None) -> None:
    """Lay out the Many scans tab and wire it, with the API endpoint /many."""
    both = [CLASSIFY] if segmenter is None else [CLASSIFY, SEGMENT]
    pictures = "heatmaps" if segmenter is None else "outlines and heatmaps"
    text = f"A table fills as the answers come; at the end there is one ZIP of tables, {pictures}."
    empty = note_html(f"Up to {MAX_SCANS} scans", text)
    with gr.Row(elem_classes="panes many"):
        with gr.Column(elem_classes="pane-in"):
            upload = uploads_only(
                gr.File(file_count="multiple", label="Scans", height=150, elem_classes="drop scan-file many-files")
            )
            wanted = gr.CheckboxGroup(both, value=both, label="What to do", visible=segmenter is not None)
            with gr.Row(elem_classes="pixel", visible=segmenter is not None):
                axial, lateral = (
                    gr.Textbox(label=f"{side} (µm/pixel)", placeholder="unknown", max_lines=1)
                    for side in ("Axial", "Lateral")
                )
            start = gr.Button("Run", variant="primary", elem_id="many-run")
            cancel = gr.Button("Cancel", variant="stop", visible=False, elem_id="many-cancel")
            token = gr.Textbox(visible=False)  # text, since a state is read when a run has its turn, not at its click
        with gr.Column(elem_classes="pane-view"):
            status = gr.HTML(empty, elem_id="many-status")
            results = gr.DownloadButton(
                "Download results (ZIP)", variant="primary", visible=False, elem_id="many-results"
            )
            table = gr.HTML(elem_id="many-table")
    bench = Bench(classifier, segmenter, results)

    def nothing():
        return gr.DownloadButton(visible=False), ""

    def begin():
        return secrets.token_hex(TOKEN_BYTES), gr.Button(visible=False), gr.Button(visible=True), WAITING, *nothing()

    def run(files: list[str] | None, chosen: list[str], axial: str, lateral: str, token: str):
        order = None
        try:
            order = bench.order(chosen, axial, lateral)
            for step, path in bench.run(files or [], order, token):
                yield (
                    status_html(step),
                    gr.DownloadButton(value=path, visible=path is not None),
                    table_html(order, step),
                )
        except ValueError as e:
            problem = note_html("These scans can't be used" if order else "This can't be run", str(e), "alert")
            yield problem, *nothing()
        except Exception:
            text = "Something went wrong on the server, and what had been answered is lost. Please run it again."
            yield note_html("The run failed", text, "alert"), *nothing()
            raise

    def over():
        return gr.Button(visible=True), gr.Button("Cancel", interactive=True, visible=False)

    def failed(shown: str):
        return *over(), NOT_RUN if shown == WAITING else gr.skip()  # a run that began says for itself what went wrong

    private = {"api_visibility": "private", "show_progress": "hidden"}
    shown = [status, results, table]
    begun = start.click(begin, None, [token, start, cancel, *shown], queue=False, **private)
    ran = begun.then(run, [upload, wanted, axial, lateral, token], shown, **BATCH, **private)
    ran.then(over, None, [start, cancel], queue=False, **private)
    ran.failure(failed, status, [start, cancel, status], queue=False, **private)  # `then` is for what didn't fail
    cancel.click(bench.end, token, None, queue=False, **private).then(
        lambda: gr.Button("Ends after this scan…", interactive=False), None, cancel, queue=False, **private
    )
    many_api(bench)


def many_api(bench: Bench) -> None:
    """The API endpoint /many; hidden components give it its types, labels and file handling."""

    def many(
        files: list[str] | None,
        classify: bool = True,
        segment: bool = bench.segmenter is not None,
        axial_um: float | None = None,
        lateral_um: float | None = None,
    ) -> Iterator[tuple[dict[str, Any], str | None]]:
        """Classify and segment many retinal OCT B-scans, given as images and ZIPs of images. The table grows as the
        answers come; the ZIP is there at the end. For research and teaching only, not a medical device.

        Args:
            files: B-scans (PNG, JPEG, TIFF, BMP or WebP) and ZIPs of B-scans.
            classify: Whether to classify them.
            segment: Whether to outline and measure their layers and fluid.
            axial_um: Size of a pixel along depth in µm, for mm² and µm; needs lateral_um, too.
            lateral_um: Size of a pixel across the retina in µm.

        Returns:
            JSON with table, a row for each scan (label, probabilities, area of fluid, sha256, why there is no answer)
            and provenance
            and the address of a ZIP with tables, a record of all answers, class ids, overlays and heatmaps.
        """
        wanted = [name for name, is_wanted in ((CLASSIFY, classify), (SEGMENT, segment)) if is_wanted]
        try:
            order = bench.order(wanted, axial_um, lateral_um)
            models = {"classifier": order.classifier, "segmenter": order.segmenter}
            origin = about() | {name: model and model_facts(model) for name, model in models.items()}
            for step, path in bench.run(files or [], order):
                yield {"table": step.rows, "provenance": origin}, path
        except ValueError as e:
            raise gr.Error(str(e), print_exception=False) from e

    with gr.Group(visible=False):
        inputs = [
            file_input("B-scans, and ZIPs of them", "scan.png", "scans.zip"),
            gr.Checkbox(True, label="Classify them"),
            gr.Checkbox(bench.segmenter is not None, label="Segment them"),
            gr.Number(None, label="Size of a pixel along depth in µm; unknown unless given"),
            gr.Number(None, label="Size of a pixel across the retina in µm; unknown unless given"),
        ]
        facts = json_output("A row for each scan, and what the answers came from", ManyFacts)
        outputs = [facts, gr.File(label="Tables, answers and pictures, ZIP")]
        gr.Button().click(many, inputs, outputs, api_name="many", **BATCH)
