"""The demo's Segment tab: a scan's layers and fluid, their sizes and, beside an expert's mask, how right they are."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import gradio as gr
import numpy as np

from octhub import ScanError, Segmentation, Segmenter, read_scan
from octhub.gallery import Example
from octhub.mask import read_mask
from octhub.mask_render import label_png, mask_overlay
from octhub.mask_viewer import MASK_OPACITY
from octhub.measure import measure
from octhub.tables import csv_text, doubt_html
from octhub.viewer import message_html, png_bytes, stem
from segment_case import Case, Packed, areas_of, scale_of, scores_of, viewer_of
from tabs import KEEP_SECONDS, MODEL, Side, dim, download, example_gallery, names_html, on_gpu, reveal, uploads_only

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


class Desk:
    """What a visitor can do: each method is an event's, takes the case on show and the pixel's size, and gives the
    new case and what the page shows of it."""

    def __init__(self, run: Callable[[np.ndarray], Segmentation], names: Sequence[str], examples: Sequence[Example]):
        self.run, self.names, self.examples = run, names, examples

    def show(self, case: Case, *scale: str):
        """A case → the case, the button that removes its mask, the viewer, the scores, the areas and the way on."""
        remove = gr.Button(f"Remove mask {case.mask_name}", visible=case.mask is not None)
        onward, areas = gr.Button(visible=case.answer is not None), self.rescale(case, *scale)
        return case, remove, viewer_of(case, self.names), scores_of(case, self.names), areas, onward

    def rescale(self, case: Case, *scale: str):
        html = areas_of(case, self.names, *scale)
        return gr.HTML(html, visible=bool(html))

    def add_scan(self, path: str | None, case: Case, *scale: str):
        case = case if path is None else case.with_scan(str(path))
        return None, *self.answer(case, *scale)  # None empties the drop zone for the next scan

    def take(self, source: tuple[str, str] | None, case: Case, *scale: str):
        """Show the scan of another tab, given as (path, note); the one on show stays as it is, with its mask."""
        if source is None or (source[0] == case.path and case.answer is not None):
            return self.show(case, *scale)
        return self.answer(case.with_scan(*source), *scale)

    def add_example(self, case: Case, axial: str, lateral: str, event: gr.SelectData):
        chosen = self.examples[event.index]
        case = Case(str(chosen.path))
        case = case if chosen.mask is None else case.with_mask(chosen.mask, self.names)
        return self.answer(case, axial, lateral)

    def add_mask(self, path: str | None, case: Case, *scale: str):
        case = case if path is None else case.with_mask(path, self.names)
        return None, *self.show(case, *scale)

    def remove_mask(self, case: Case, *scale: str):
        return self.show(case.without_mask(), *scale)

    def answer(self, case: Case, *scale: str):
        """Run the model on the case's scan and show the answer, or what is wrong with the scan."""
        try:
            scan = read_scan(case.path, case.name)
        except ScanError as e:
            case, button, _, *rest = self.show(replace(case, path=""), *scale)
            return case, button, message_html("This scan can't be used", str(e), "alert"), *rest
        answer = self.run(scan)
        doubt = doubt_html(answer.decision, answer.reason)
        return self.show(replace(case, answer=Packed.of(answer.mask), doubt=doubt), *scale)


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

    case = gr.State(Case(), time_to_live=KEEP_SECONDS)  # it stays on the server
    with gr.Row(elem_classes="panes segment"):
        with gr.Column(elem_classes="pane-in"):
            with gr.Row(elem_classes="zones"):
                upload = uploads_only(gr.File(label="Scan", height=96, elem_classes="drop scan-file"))
                mask_upload = uploads_only(gr.File(label="Expert mask", height=96, elem_classes="drop mask-file"))
            remove = gr.Button("Remove mask", size="sm", visible=False, elem_classes="remove-mask")
            gallery = example_gallery([(e.path, caption(e)) for e in examples])
        with gr.Column(elem_classes="pane-view"):
            viewer = gr.HTML(viewer_of(Case(), names), elem_id="segment-viewer")
            with gr.Row(elem_classes="controls"):
                # Text, since gr.Number shows 0 for None
                axial, lateral = (
                    gr.Textbox(label=f"{side} (µm/pixel)", placeholder="unknown", max_lines=1)
                    for side in ("Axial", "Lateral")
                )
                opacity = gr.Slider(0, 100, MASK_OPACITY, step=1, label="Opacity (%)", elem_classes="opacity")
            areas = gr.HTML(visible=False, elem_id="segment-areas")
        with gr.Column(elem_classes="pane-out"):
            scores = gr.HTML(scores_of(Case(), names), elem_id="segment-scores")
            onward = gr.Button("Classify this scan", visible=False, elem_classes="onward")
            gr.HTML(names_html("What it outlines", names, MEANINGS), elem_classes="about")

    desk = Desk(run, names, examples)
    given, shown = [case, axial, lateral], [case, remove, viewer, scores, areas, onward]
    # All in one group, those that run no model, too: what a visitor does takes effect in its order
    private = {**MODEL, "api_visibility": "private", "show_progress": "minimal", "show_progress_on": viewer}
    seen = reveal(viewer.elem_id)
    upload.upload(desk.add_scan, [upload, *given], [upload, *shown], **private).then(js=seen)
    # Not "always_last": with it, Gradio 6.31 runs the last click with the first one's event data.
    gallery.select(desk.add_example, given, shown, trigger_mode="multiple", **private).then(js=seen)
    mask_upload.upload(desk.add_mask, [mask_upload, *given], [mask_upload, *shown], **private)
    remove.click(desk.remove_mask, given, shown, **private)
    quiet = {**private, "show_progress": "hidden", "trigger_mode": "always_last"}
    gr.on([axial.change, lateral.change], desk.rescale, given, areas, **quiet)
    opacity.change(None, opacity, js=dim(viewer.elem_id))
    segment_api(run, names)
    return Side("segment", onward, case, source_of, desk.take, given, shown, viewer)


def segment_api(run: Callable[[np.ndarray], Segmentation], names: Sequence[str]) -> None:
    """The API endpoint /segment; hidden components give it its types, labels and file handling."""

    def segment(
        image: str | None, mask: str | None = None, axial_um: float | None = None, lateral_um: float | None = None
    ):
        """Outline the layers and fluid in one retinal OCT B-scan and measure them.

        Returns JSON: areas, a list in the order of the class ids (name, pixels, share of the scan, regions, thickness
        in pixels; mm² and µm if the size of a pixel is given), and scores (mIoU, pixel accuracy, IoU and Dice by
        class) if an expert's mask is given; what doesn't exist is null; and decision ("outlined" or "not an OCT
        B-scan") and the reason why it is none. Then files, named after the scan: the class ids as a PNG, the classes in
        colour over the scan as a PNG, both at the scan's own size, and the figures as CSV. Research use only, not a
        medical device.
        """
        if image is None:
            raise gr.Error("no image, expected the file of one B-scan", print_exception=False)
        try:  # all that can be wrong, before the model runs
            scan = read_scan(image, Path(image).name)
            truth = None if mask is None else read_mask(mask, scan.shape, names, Path(mask).name)
            scale = scale_of(axial_um, lateral_um)
        except ValueError as e:
            raise gr.Error(str(e), print_exception=False) from e
        answer = run(scan)
        rows = measure(answer.mask, names, scale)
        score = None if truth is None else answer.score(truth)
        facts = {"areas": [asdict(m) for m in rows], "scores": None if score is None else score.as_dict()}
        facts |= {"decision": answer.decision, "reason": answer.reason}
        picture = mask_overlay(scan, answer.mask, names, MASK_OPACITY / 100)
        named = stem(Path(image).name)
        return (
            facts,
            download(labels, f"{named}-labels.png", label_png(answer.mask, names)),
            download(overlay, f"{named}-overlay.png", png_bytes(picture)),
            download(table, f"{named}-areas.csv", csv_text(rows, score).encode()),
        )

    with gr.Group(visible=False):
        inputs = [
            uploads_only(gr.File(label="File of one B-scan")),
            uploads_only(
                gr.File(label="File of its expert mask: class ids as grey levels or palette indices, 255 unknown")
            ),
            gr.Number(None, label="Size of a pixel along depth in µm; unknown unless given"),
            gr.Number(None, label="Size of a pixel across the retina in µm; unknown unless given"),
        ]
        facts = gr.JSON(label="areas, scores, decision and reason")
        labels = gr.File(label="Class ids, PNG at the scan's own size")
        overlay = gr.File(label="Scan with the classes in colour, PNG at the scan's own size")
        table = gr.File(label="Figures by class, CSV")
        outputs = [facts, labels, overlay, table]
        gr.Button().click(segment, inputs, outputs, api_name="segment", **MODEL)
