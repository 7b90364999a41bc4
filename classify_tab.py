"""The demo's Classify tab: what a scan shows, and where the model looked."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import gradio as gr
import numpy as np

from octhub import Classification, Classifier, ScanError, Segmenter, read_scan
from octhub.gallery import Example
from octhub.heat_share import heat_inside, share_html
from octhub.render import grey, heat_layer, overlay
from octhub.viewer import OPACITY, heat_key, message_html, viewer_html
from segment_case import Packed
from tabs import KEEP_SECONDS, MODEL, Side, dim, example_gallery, names_html, on_gpu, reveal, uploads_only

LIKELIEST = "likeliest"
"""The heatmap's class that stands for whichever class the model finds likeliest."""

MEANINGS = {
    "CNV": "Choroidal neovascularisation: new vessels growing under the retina",
    "DME": "Diabetic macular oedema: fluid that thickens the retina",
    "DRUSEN": "Drusen: deposits under the retina, an early sign of macular degeneration",
    "NORMAL": "None of these three",
}
"""What OCT2017's classes stand for; a checkpoint with other classes just shows their names."""


FOOT = '<p class="key">The heatmap will show where the network looked.</p>'
"""What stands under the viewer before there is a heatmap."""


@dataclass(frozen=True)
class Seen:
    """What tells how much of a heatmap lies within the retina.

    Attributes:
        path: the scan's file.
        heat: its heatmap in 256 levels; None without a scan.
        mask: the segmenter's class ids; None until it has outlined the scan.
    """

    path: str = ""
    heat: Packed | None = None
    mask: Packed | None = None


class Desk:
    """What a visitor can do: each method is an event's, and gives what the page shows then.

    `source` is (path, note) of the scan on show, or None.
    """

    def __init__(self, classifier: Classifier, examples: Sequence[Example], segmenter: Segmenter | None):
        self.examples, self.segmenter = examples, segmenter
        # On an accelerator outlining takes hundredths of a second, and coming back to it takes longer; on a CPU it
        # takes longer than everything else, so there it comes after the answer.
        self.at_once = segmenter is not None and segmenter.device.type != "cpu"

        def classify(scan: np.ndarray, heatmap_class: str) -> Classification:
            return classifier(scan, heatmap=True if heatmap_class == LIKELIEST else heatmap_class)

        def outline(scan: np.ndarray) -> np.ndarray:
            return segmenter(scan).mask

        def both(scan: np.ndarray, heatmap_class: str) -> tuple[Classification, np.ndarray]:
            return classify(scan, heatmap_class), outline(scan)

        self.run, self.outline, self.run_both = on_gpu(classify), on_gpu(outline), on_gpu(both)

    def show(self, source: tuple[str, str] | None, heatmap_class: str, seen: Seen):
        """The viewer, the probabilities, the way on and the heat within the retina, or what is wrong; and what tells
        the last."""
        hidden = gr.Label(visible=False), gr.Button(visible=False), gr.HTML(visible=False), Seen()
        if source is None:
            return empty_html(), *hidden
        path, note = source
        name = Path(path).name
        if not os.path.exists(path):
            text = "It was deleted from the server, as all uploads are. Please add it again."
            return message_html(f"{name} is no longer here", text, "alert", FOOT), *hidden
        try:
            scan = read_scan(path, name)
        except ScanError as e:
            return message_html("This scan can't be used", str(e), "alert", FOOT), *hidden
        mask = seen.mask if seen.path == path else None
        if self.at_once and mask is None:
            answer, ids = self.run_both(scan, heatmap_class)
            mask = Packed.of(ids)
        else:
            answer = self.run(scan, heatmap_class)
        about = f"Grad-CAM heatmap: evidence for {answer.heatmap_class}"
        key = heat_key(answer.heatmap_class, bool(answer.heatmap.any()))
        view = viewer_html(scan, heat_layer(answer.heatmap), about=about, name=name, note=note, key=key)
        seen = Seen(path, Packed.of(grey(answer.heatmap)), mask)
        return view, gr.Label(answer.probabilities, visible=True), gr.Button(visible=True), self.share(seen), seen

    def share(self, seen: Seen):
        """How much of the heat lies within the retina, as far as it is known."""
        if self.segmenter is None:
            return gr.HTML(visible=False)
        heat = seen.heat.ids()
        known = seen.mask is not None or not heat.any()
        mask = seen.mask.ids() if seen.mask else np.zeros_like(heat)
        html = share_html(heat_inside(heat, mask, self.segmenter.class_names) if known else None)
        return gr.HTML(html, visible=bool(html))

    def find_retina(self, seen: Seen):
        """Outline the scan on show, if that is still to be done."""
        if seen.heat is None or seen.mask is not None or not os.path.exists(seen.path):
            return gr.skip(), gr.skip()
        seen = replace(seen, mask=Packed.of(self.outline(read_scan(seen.path))))
        return self.share(seen), seen

    def add_scan(self, path: str | None, heatmap_class: str, seen: Seen):
        source = None if path is None else (str(path), "")
        return None, source, *self.show(source, heatmap_class, seen)  # None empties the drop zone for the next scan

    def add_example(self, heatmap_class: str, seen: Seen, event: gr.SelectData):
        chosen = self.examples[event.index]
        return self.take((str(chosen.path), f"graded {chosen.label} in the data set"), heatmap_class, seen)

    def take(self, source: tuple[str, str] | None, heatmap_class: str, seen: Seen):
        return source, *self.show(source, heatmap_class, seen)


def empty_html() -> str:
    """The viewer before there is a scan."""
    return message_html("No scan yet", "Pick an example, or add a scan of your own.", foot=FOOT)


def classify_tab(classifier: Classifier, examples: Sequence[Example], segmenter: Segmenter | None = None) -> Side:
    """Lay out the Classify tab and wire it, with the API endpoint /classify. A segmenter tells where the retina is."""
    choices = [LIKELIEST, *classifier.class_names]
    source = gr.State(None)  # (path, note) of the scan on show; it stays on the server
    seen = gr.State(Seen(), time_to_live=KEEP_SECONDS)
    with gr.Row(elem_classes="panes"):
        with gr.Column(elem_classes="pane-in"):
            upload = uploads_only(
                gr.File(label="Drop, paste or choose a scan", height=112, elem_classes="drop scan-file")
            )
            gallery = example_gallery([(e.path, e.label) for e in examples])
        with gr.Column(elem_classes="pane-view"):
            viewer = gr.HTML(empty_html(), elem_id="classify-viewer")
            with gr.Row(elem_classes="controls"):
                wanted = gr.Radio(choices, value=LIKELIEST, label="Heatmap: evidence for", elem_classes="wanted")
                opacity = gr.Slider(0, 100, OPACITY, step=1, label="Heatmap opacity (%)", elem_classes="opacity")
        with gr.Column(elem_classes="pane-out"):
            label = gr.Label(label="Probability", visible=False, elem_id="classify-label")
            heat = gr.HTML(visible=False, elem_id="classify-heat")
            onward = gr.Button("Outline this scan’s layers", visible=False, elem_classes="onward")
            gr.HTML(names_html("What it can tell apart", classifier.class_names, MEANINGS), elem_classes="about")

    desk = Desk(classifier, examples, segmenter)
    private = {**MODEL, "api_visibility": "private", "show_progress": "minimal", "show_progress_on": viewer}
    given, shown = [wanted, seen], [viewer, label, onward, heat, seen]
    reached = reveal(viewer.elem_id)
    upload.upload(desk.add_scan, [upload, *given], [upload, source, *shown], **private).then(js=reached)
    # Not "always_last": with it, Gradio 6.31 runs the last click with the first one's event data.
    picked = gallery.select(desk.add_example, given, [source, *shown], trigger_mode="multiple", **private)
    picked.then(js=reached)
    wanted.input(desk.show, [source, *given], shown, trigger_mode="always_last", **private)
    if segmenter is not None:
        seen.change(desk.find_retina, seen, [heat, seen], **{**private, "show_progress": "hidden"})
    opacity.change(None, opacity, js=dim(viewer.elem_id))
    classify_api(desk.run, choices)
    return Side("classify", onward, source, lambda held: held, desk.take, given, [source, *shown], viewer)


def classify_api(run: Callable[[np.ndarray, str], Classification], choices: Sequence[str]) -> None:
    """The API endpoint /classify; hidden components give it its types, labels and file handling."""

    def classify(image: str | None, heatmap_class: str, opacity: float) -> tuple[dict, np.ndarray]:
        """Classify one retinal OCT B-scan and show where the model looked (Grad-CAM).

        Returns the label, every class's probability and the heatmap's class as JSON; and the scan with the
        heatmap laid over it, a PNG at the scan's own size. Research use only, not a medical device.
        """
        if image is None:
            raise gr.Error("no image, expected the file of one B-scan", print_exception=False)
        try:
            scan = read_scan(image, Path(image).name)
        except ScanError as e:
            raise gr.Error(str(e), print_exception=False) from e
        answer = run(scan, heatmap_class)
        facts = {"label": answer.label, "probabilities": answer.probabilities, "heatmap_class": answer.heatmap_class}
        return facts, overlay(scan, answer.heatmap, opacity / 100)

    with gr.Group(visible=False):
        inputs = [
            uploads_only(gr.File(label="File of one B-scan")),
            gr.Radio(choices, value=LIKELIEST, label="Class whose evidence the heatmap shows"),
            gr.Slider(0, 100, OPACITY, label="Opacity of the heatmap in the picture, in per cent"),
        ]
        outputs = [
            gr.JSON(label="label, probabilities and heatmap_class"),
            gr.Image(format="png", label="Scan with heatmap, PNG at the scan's own size"),
        ]
        gr.Button().click(classify, inputs, outputs, api_name="classify", **MODEL)
