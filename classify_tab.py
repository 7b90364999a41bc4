"""The demo's Classify tab: what a scan shows, and where the model looked."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import gradio as gr
import numpy as np

from octhub import Classification, Classifier, ScanError, read_scan
from octhub.gallery import Example
from octhub.render import heat_layer, overlay
from octhub.tables import doubt_html
from octhub.viewer import OPACITY, heat_key, message_html, viewer_html
from tabs import MODEL, Side, dim, example_gallery, names_html, on_gpu, reveal, uploads_only

LIKELIEST = "likeliest"
"""The heatmap's class that stands for whichever class the model finds likeliest."""

MEANINGS = {
    "CNV": "Choroidal neovascularisation: new vessels growing under the retina",
    "DME": "Diabetic macular oedema: fluid that thickens the retina",
    "DRUSEN": "Drusen: deposits under the retina, an early sign of macular degeneration",
    "NORMAL": "None of these three",
}
"""What OCT2017's classes stand for; a checkpoint with other classes just shows their names."""


def classify_tab(classifier: Classifier, examples: Sequence[Example]) -> Side:
    """Lay out the Classify tab and wire it, with the API endpoint /classify."""
    choices = [LIKELIEST, *classifier.class_names]
    empty = message_html("No scan yet", "Pick an example, or add a scan of your own.")

    @on_gpu
    def run(scan: np.ndarray, heatmap_class: str) -> Classification:
        return classifier(scan, heatmap=True if heatmap_class == LIKELIEST else heatmap_class)

    def show(source: tuple[str, str] | None, heatmap_class: str):
        """(path, note) → what the page shows: viewer, any doubt, probabilities and the way on, or what is wrong."""
        hidden = gr.HTML(visible=False), gr.Label(visible=False), gr.Button(visible=False)
        if source is None:
            return empty, *hidden
        path, note = source
        name = Path(path).name
        if not os.path.exists(path):
            text = "It was deleted from the server, as all uploads are. Please add it again."
            return message_html(f"{name} is no longer here", text, "alert"), *hidden
        try:
            scan = read_scan(path, name)
        except ScanError as e:
            return message_html("This scan can't be used", str(e), "alert"), *hidden
        answer = run(scan, heatmap_class)
        about = f"Grad-CAM heatmap: evidence for {answer.heatmap_class}"
        key = heat_key(answer.heatmap_class, bool(answer.heatmap.any()))
        view = viewer_html(scan, heat_layer(answer.heatmap), about=about, name=name, note=note, key=key)
        notice = doubt_html(answer.decision, answer.reason)
        shown = gr.HTML(notice, visible=bool(notice)), gr.Label(answer.probabilities, visible=True)
        return view, *shown, gr.Button(visible=True)

    def show_upload(path: str | None, heatmap_class: str):
        source = None if path is None else (str(path), "")
        return None, source, *show(source, heatmap_class)  # None empties the drop zone for the next scan

    def show_example(heatmap_class: str, event: gr.SelectData):
        chosen = examples[event.index]
        source = (str(chosen.path), f"graded {chosen.label} in the data set")
        return source, *show(source, heatmap_class)

    def take(source: tuple[str, str] | None, heatmap_class: str):
        return source, *show(source, heatmap_class)

    source = gr.State(None)  # (path, note) of the scan on show; it stays on the server
    with gr.Row(elem_classes="panes"):
        with gr.Column(elem_classes="pane-in"):
            upload = uploads_only(
                gr.File(label="Drop, paste or choose a scan", height=112, elem_classes="drop scan-file")
            )
            gallery = example_gallery([(e.path, e.label) for e in examples])
        with gr.Column(elem_classes="pane-view"):
            viewer = gr.HTML(empty, elem_id="classify-viewer")
            with gr.Row(elem_classes="controls"):
                wanted = gr.Radio(choices, value=LIKELIEST, label="Heatmap: evidence for", elem_classes="wanted")
                opacity = gr.Slider(0, 100, OPACITY, step=1, label="Opacity (%)", elem_classes="opacity")
        with gr.Column(elem_classes="pane-out"):
            doubt = gr.HTML(visible=False, elem_id="classify-doubt")
            label = gr.Label(label="Probability", visible=False, elem_id="classify-label")
            onward = gr.Button("Outline this scan’s layers", visible=False, elem_classes="onward")
            gr.HTML(names_html("What it can tell apart", classifier.class_names, MEANINGS), elem_classes="about")

    private = {**MODEL, "api_visibility": "private", "show_progress": "minimal", "show_progress_on": viewer}
    shown = [viewer, doubt, label, onward]
    upload.upload(show_upload, [upload, wanted], [upload, source, *shown], **private).then(js=reveal(viewer.elem_id))
    # Not "always_last": with it, Gradio 6.31 runs the last click with the first one's event data.
    picked = gallery.select(show_example, wanted, [source, *shown], trigger_mode="multiple", **private)
    picked.then(js=reveal(viewer.elem_id))
    wanted.input(show, [source, wanted], shown, trigger_mode="always_last", **private)
    opacity.change(None, opacity, js=dim(viewer.elem_id))
    classify_api(run, choices)
    return Side("classify", onward, source, lambda held: held, take, [wanted], [source, *shown], viewer)


def classify_api(run: Callable[[np.ndarray, str], Classification], choices: Sequence[str]) -> None:
    """The API endpoint /classify; hidden components give it its types, labels and file handling."""

    def classify(image: str | None, heatmap_class: str, opacity: float) -> tuple[dict, np.ndarray]:
        """Classify one retinal OCT B-scan and show where the model looked (Grad-CAM).

        Returns, as JSON, the likeliest label, the decision (that label, "unsure" or "not an OCT B-scan") with the
        reason why it isn't the label, every class's probability and the heatmap's class; and the scan with the heatmap
        laid over it, a PNG at the scan's own size. Research use only, not a medical device.
        """
        if image is None:
            raise gr.Error("no image, expected the file of one B-scan", print_exception=False)
        try:
            scan = read_scan(image, Path(image).name)
        except ScanError as e:
            raise gr.Error(str(e), print_exception=False) from e
        answer = run(scan, heatmap_class)
        facts = {
            "label": answer.label,
            "decision": answer.decision,
            "reason": answer.reason,
            "probabilities": answer.probabilities,
            "heatmap_class": answer.heatmap_class,
        }
        return facts, overlay(scan, answer.heatmap, opacity / 100)

    with gr.Group(visible=False):
        inputs = [
            uploads_only(gr.File(label="File of one B-scan")),
            gr.Radio(choices, value=LIKELIEST, label="Class whose evidence the heatmap shows"),
            gr.Slider(0, 100, OPACITY, label="Opacity of the heatmap in the picture, in per cent"),
        ]
        outputs = [
            gr.JSON(label="label, decision, reason, probabilities and heatmap_class"),
            gr.Image(format="png", label="Scan with heatmap, PNG at the scan's own size"),
        ]
        gr.Button().click(classify, inputs, outputs, api_name="classify", **MODEL)
