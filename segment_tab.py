"""The demo's Segment tab: a scan's layers and fluid, their sizes and, beside an expert's mask, how right they are."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import gradio as gr
import numpy as np

from deep_link import links_to
from endpoints import SCAN, MaskFacts, file_input, json_output
from octhub import ScanError, Segmentation, Segmenter
from octhub.gallery import Example
from octhub.mask import read_mask
from octhub.mask_render import label_png, mask_overlay
from octhub.mask_viewer import MASK_OPACITY, legend_html
from octhub.measure import measure
from octhub.provenance import Input, columns, provenance, read_input
from octhub.results import decided
from octhub.tables import csv_text
from octhub.viewer import message_html, png_bytes, stem
from segment_case import Case, Packed, areas_of, facts_of, profile_of, scale_of, scores_of, viewer_of
from tabs import (
    KEEP_SECONDS,
    MODEL,
    Side,
    dim,
    download,
    example_gallery,
    names_html,
    on_gpu,
    remembering,
    reveal,
    uploads_only,
)

MEANINGS = {
    "above retina": "Vitreous: the gel in front of the retina",
    "NFL": "Nerve fibre layer",
    "GCL-IPL": "Ganglion cells and inner plexiform layer",
    "INL": "Inner nuclear layer",
    "OPL": "Outer plexiform layer",
    "ONL-ISM": "Outer nuclear layer and inner segments (myoid)",
    "ISE": "Inner segments (ellipsoid)",
    "OS-RPE": "Outer segments and pigment epithelium",
    "below retina": "Choroid and sclera",
    "fluid": "Fluid in the retina",
}
"""What Duke DME's classes stand for (Chiu et al. 2015); a checkpoint with other classes just shows their names."""


MEASURED = areas_of, profile_of
"""What changes with the size of a pixel."""


class Desk:
    """What a visitor can do: each method is an event's, takes the case on show and the pixel's size, and gives the
    new case and what the page shows of it."""

    def __init__(
        self,
        run: Callable[[np.ndarray], Segmentation],
        names: Sequence[str],
        examples: Sequence[Example],
        describe: Callable[[Input], dict],
    ):
        self.run, self.names, self.examples, self.describe = run, names, examples, describe
        self._links = links_to("segment", examples)

        def outline(scan: np.ndarray) -> tuple[Packed, dict[str, str]]:
            answer = run(scan)
            return Packed.of(answer.mask), decided(answer)

        self._outline = remembering(outline, examples)

    def show(self, case: Case, *scale: str):
        """A case → the case, the button that removes its mask, the viewer, the scores, the areas, the way on and the
        thickness profile."""
        remove = gr.Button(f"Remove mask {case.mask_name}", visible=case.mask is not None)
        onward, (areas, profile) = gr.Button(visible=case.answer is not None), self.rescale(case, *scale)
        return case, remove, viewer_of(case, self.names), scores_of(case, self.names), areas, onward, profile

    def rescale(self, case: Case, *scale: str):
        """What is measured: the areas and the profile."""
        return tuple(gr.HTML(f(case, self.names, *scale), visible=case.answer is not None) for f in MEASURED)

    def add_scan(self, path: str | None, case: Case, *scale: str):
        case = case if path is None else case.with_scan(str(path))
        return None, *self.answer(case, *scale)  # None empties the drop zone for the next scan

    def take(self, source: tuple[str, str] | None, case: Case, *scale: str):
        """Show the scan of another tab, given as (path, note); the one on show stays as it is, with its mask."""
        if source is None or (source[0] == case.path and case.answer is not None):
            return self.show(case, *scale)
        return self.answer(case.with_scan(*source), *scale)

    def add_example(self, case: Case, axial: str, lateral: str, event: gr.SelectData):
        return self.open(self.examples[event.index], case, axial, lateral)

    def open(self, chosen: Example, case: Case, *scale: str):
        """Show an example, with its mask if there is one, in place of the case on show."""
        case = Case(str(chosen.path), chosen.origin)
        case = case if chosen.mask is None else case.with_mask(chosen.mask, self.names)
        return self.answer(case, *scale)

    def add_mask(self, path: str | None, case: Case, *scale: str):
        case = case if path is None else case.with_mask(path, self.names)
        return None, *self.show(case, *scale)

    def remove_mask(self, case: Case, *scale: str):
        return self.show(case.without_mask(), *scale)

    def answer(self, case: Case, *scale: str):
        """Run the model on the case's scan and show the answer, or what is wrong with the scan."""
        try:
            scan, given = read_input(case.path, case.name)
        except ScanError as e:
            case, button, _, *rest = self.show(replace(case, path=""), *scale)
            problem = message_html("This scan can't be used", str(e), "alert", legend_html(self.names))
            return case, button, problem, *rest
        answer, said = self._outline(case.path, scan)
        link = self._links.get(case.path, "")
        return self.show(replace(case, answer=answer, link=link, provenance=self.describe(given), **said), *scale)


def caption(example: Example) -> str:
    """What an example is there for."""
    return "with mask" if example.mask else example.segment.name


def source_of(case: Case) -> tuple[str, str] | None:
    """(path, note) of a case's scan, for another tab."""
    return (case.path, case.note) if case.path else None


def segment_tab(segmenter: Segmenter, examples: Sequence[Example]) -> Side:
    """Lay out the Segment tab and wire it, with the API endpoint /segment."""
    names = segmenter.class_names

    @on_gpu
    def run(scan: np.ndarray) -> Segmentation:
        return segmenter(scan)

    def describe(given: Input) -> dict:
        return provenance(segmenter, given)

    case = gr.State(Case(), time_to_live=KEEP_SECONDS)  # it stays on the server
    with gr.Row(elem_classes="panes segment"):
        with gr.Column(elem_classes="pane-in"):
            with gr.Row(elem_classes="zones"):
                upload = uploads_only(gr.File(label="Scan", height=96, elem_classes="drop scan-file"))
                mask_upload = uploads_only(gr.File(label="Expert mask", height=96, elem_classes="drop mask-file"))
            remove = gr.Button("Remove mask", size="sm", visible=False, elem_classes="remove-mask")
            gallery = example_gallery([(e, caption(e)) for e in examples])
        with gr.Column(elem_classes="pane-view"):
            viewer = gr.HTML(viewer_of(Case(), names), elem_id="segment-viewer")
            with gr.Row(elem_classes="controls"):
                # Text, since gr.Number shows 0 for None
                axial, lateral = (
                    gr.Textbox(label=f"{side} (µm/pixel)", placeholder="unknown", max_lines=1)
                    for side in ("Axial", "Lateral")
                )
                opacity = gr.Slider(0, 100, MASK_OPACITY, step=1, label="Layer opacity (%)", elem_classes="opacity")
            profile = gr.HTML(visible=False, elem_id="segment-profile")
            areas = gr.HTML(visible=False, elem_id="segment-areas")
        with gr.Column(elem_classes="pane-out"):
            scores = gr.HTML(scores_of(Case(), names), elem_id="segment-scores")
            onward = gr.Button("Classify this scan", visible=False, elem_classes="onward")
            gr.HTML(names_html("What it outlines", names, MEANINGS), elem_classes="about")

    desk = Desk(run, names, examples, describe)
    given, shown = [case, axial, lateral], [case, remove, viewer, scores, areas, onward, profile]
    # All in one group, those that run no model, too: what a visitor does takes effect in its order
    private = {**MODEL, "api_visibility": "private", "show_progress": "minimal", "show_progress_on": viewer}
    seen = reveal(viewer.elem_id)
    upload.upload(desk.add_scan, [upload, *given], [upload, *shown], **private).then(js=seen)
    # Not "always_last": with it, Gradio 6.31 runs the last click with the first one's event data.
    gallery.select(desk.add_example, given, shown, trigger_mode="multiple", **private).then(js=seen)
    mask_upload.upload(desk.add_mask, [mask_upload, *given], [mask_upload, *shown], **private)
    remove.click(desk.remove_mask, given, shown, **private)
    quiet = {**private, "show_progress": "hidden", "trigger_mode": "always_last"}
    gr.on([axial.change, lateral.change], desk.rescale, given, [areas, profile], **quiet)
    opacity.change(None, opacity, js=dim(viewer.elem_id))
    segment_api(run, names, describe)
    return Side("segment", onward, case, source_of, desk.take, given, shown, viewer, examples, desk.open)


def segment_api(
    run: Callable[[np.ndarray], Segmentation], names: Sequence[str], describe: Callable[[Input], dict]
) -> None:
    """The API endpoint /segment; hidden components give it its types, labels and file handling."""

    def segment(
        image: str | None, mask: str | None = None, axial_um: float | None = None, lateral_um: float | None = None
    ):
        """Outline the layers and fluid in one retinal OCT B-scan, measure them, and score the answer (mIoU, IoU and
        Dice by class) if an expert's mask is given. What doesn't exist is null, such as mm² without the size of a
        pixel. For research and teaching only, not a medical device.

        Args:
            image: One B-scan (PNG, JPEG, TIFF, BMP or WebP).
            mask: An expert's mask of the same size, to score the answer: class ids as grey levels, 255 for unknown.
            axial_um: Size of a pixel along depth in µm, for mm² and µm; needs lateral_um, too.
            lateral_um: Size of a pixel across the retina in µm.

        Returns:
            JSON with the decision ("outlined" or "not an OCT B-scan") and the reason why it is none
            areas, a row for each class in the order of the class ids
            scores and where they came from
            class ids as a PNG at the scan's own size
            the classes in colour over the scan, a PNG
            and the address of the figures as CSV.
        """
        if image is None:
            raise gr.Error("no image, expected the file of one B-scan", print_exception=False)
        try:  # all that can be wrong, before the model runs
            scan, given = read_input(image, Path(image).name)
            truth = None if mask is None else read_mask(mask, scan.shape, names, Path(mask).name)
            scale = scale_of(axial_um, lateral_um)
        except ValueError as e:
            raise gr.Error(str(e), print_exception=False) from e
        answer = run(scan)
        rows = measure(answer.mask, names, scale)
        score = None if truth is None else answer.score(truth)
        origin = describe(given)
        facts = facts_of(rows, scale, score, "" if mask is None else Path(mask).name, decided(answer), origin)
        picture = mask_overlay(scan, answer.mask, names, MASK_OPACITY / 100)
        named = stem(Path(image).name)
        return (
            facts,
            download(labels, f"{named}-labels.png", label_png(answer.mask, names)),
            download(overlay, f"{named}-overlay.png", png_bytes(picture)),
            download(table, f"{named}-areas.csv", csv_text(rows, score, decided(answer) | columns(origin)).encode()),
        )

    with gr.Group(visible=False):
        inputs = [
            file_input(SCAN, "scan.png"),
            file_input("Its expert mask: class ids as grey levels or palette indices, 255 unknown", "mask.png"),
            gr.Number(None, label="Size of a pixel along depth in µm; unknown unless given"),
            gr.Number(None, label="Size of a pixel across the retina in µm; unknown unless given"),
        ]
        facts = json_output(
            "The decision (outlined, or not an OCT B-scan) and the reason for it; a row for each class, in the order "
            "of the class ids; the scores, if any; and provenance: which model, preprocessing and file they came from",
            MaskFacts,
        )
        labels = gr.File(label="Class ids, PNG at the scan's own size")
        overlay = gr.File(label="Scan with the classes in colour, PNG at the scan's own size")
        table = gr.File(label="Figures by class, CSV")
        outputs = [facts, labels, overlay, table]
        gr.Button().click(segment, inputs, outputs, api_name="segment", **MODEL)
