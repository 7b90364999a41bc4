"""The demo's Classify tab: what a scan shows, and where the model looked."""

from collections.abc import Callable, Sequence
from pathlib import Path

import gradio as gr
import numpy as np

from classify_desk import LIKELIEST, Desk, Seen, empty_html, facts_of
from endpoints import SCAN, ClassFacts, file_input, json_output
from octhub import Classification, Classifier, ScanError, Segmenter
from octhub.gallery import Example
from octhub.provenance import read_input
from octhub.render import overlay
from octhub.viewer import OPACITY, png_bytes, stem
from tabs import KEEP_SECONDS, MODEL, Side, dim, download, example_gallery, names_html, reveal, uploads_only

MEANINGS = {
    "CNV": "Choroidal neovascularisation: new vessels growing under the retina",
    "DME": "Diabetic macular oedema: fluid that thickens the retina",
    "DRUSEN": "Drusen: deposits under the retina, an early sign of macular degeneration",
    "NORMAL": "None of these three",
}
"""What OCT2017's classes stand for; a checkpoint with other classes just shows their names."""


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
            gallery = example_gallery([(e, e.label) for e in examples])
        with gr.Column(elem_classes="pane-view"):
            viewer = gr.HTML(empty_html(), elem_id="classify-viewer")
            with gr.Row(elem_classes="controls"):
                wanted = gr.Radio(choices, value=LIKELIEST, label="Heatmap: evidence for", elem_classes="wanted")
                opacity = gr.Slider(0, 100, OPACITY, step=1, label="Heatmap opacity (%)", elem_classes="opacity")
        with gr.Column(elem_classes="pane-out"):
            doubt = gr.HTML(visible=False, elem_id="classify-doubt")
            label = gr.Label(label="Probability", visible=False, elem_id="classify-label")
            heat = gr.HTML(visible=False, elem_id="classify-heat")
            onward = gr.Button("Outline this scan’s layers", visible=False, elem_classes="onward")
            gr.HTML(names_html("What it can tell apart", classifier.class_names, MEANINGS), elem_classes="about")

    desk = Desk(classifier, examples, segmenter)
    private = {**MODEL, "api_visibility": "private", "show_progress": "minimal", "show_progress_on": viewer}
    given, shown = [wanted, seen], [viewer, doubt, label, onward, heat, seen]
    reached = reveal(viewer.elem_id)
    upload.upload(desk.add_scan, [upload, *given], [upload, source, *shown], **private).then(js=reached)
    # Not "always_last": with it, Gradio 6.31 runs the last click with the first one's event data.
    picked = gallery.select(desk.add_example, given, [source, *shown], trigger_mode="multiple", **private)
    picked.then(js=reached)
    wanted.input(desk.show, [source, *given], shown, trigger_mode="always_last", **private)
    if segmenter is not None:
        seen.change(desk.find_retina, seen, [heat, seen], **{**private, "show_progress": "hidden"})
    opacity.change(None, opacity, js=dim(viewer.elem_id))
    classify_api(desk.run, choices, classifier)
    outputs = [source, *shown]
    return Side("classify", onward, source, lambda held: held, desk.take, given, outputs, viewer, examples, desk.open)


def classify_api(
    run: Callable[[np.ndarray, str], Classification], choices: Sequence[str], classifier: Classifier
) -> None:
    """The API endpoint /classify; hidden components give it its types, labels and file handling."""

    def classify(image: str | None, heatmap_class: str, opacity: float) -> tuple[dict, str]:
        """Classify one retinal OCT B-scan and show where the model looked (Grad-CAM). For research and teaching only,
        not a medical device.

        Args:
            image: One B-scan (PNG, JPEG, TIFF, BMP or WebP).
            heatmap_class: The class whose evidence the heatmap shows, or "likeliest" for the answer's.
            opacity: Opacity of the heatmap in the picture, in per cent.

        Returns:
            JSON with the likeliest label
            the decision (that label, "unsure" or "not an OCT B-scan") and the reason why it isn't the label
            every class's calibrated probability, the heatmap's class and where they came from
            and the scan with the heatmap laid over it, a PNG at the scan's own size.
        """
        if image is None:
            raise gr.Error("no image, expected the file of one B-scan", print_exception=False)
        try:
            scan, given = read_input(image, Path(image).name)
        except ScanError as e:
            raise gr.Error(str(e), print_exception=False) from e
        answer = run(scan, heatmap_class)
        picture = png_bytes(overlay(scan, answer.heatmap, opacity / 100))
        # Gradio would write it in place under its hash, where another's download of the same picture may be reading
        return facts_of(answer, classifier, given), download(outputs[1], f"{stem(given.file)}-heatmap.png", picture)

    with gr.Group(visible=False):
        inputs = [
            file_input(SCAN, "scan.png"),
            gr.Radio(choices, value=LIKELIEST, label="Class whose evidence the heatmap shows"),
            gr.Slider(0, 100, OPACITY, label="Opacity of the heatmap in the picture, 0 to 100 per cent"),
        ]
        outputs = [
            json_output(
                "The likeliest class, the decision (that class, unsure, or not an OCT B-scan) and the reason for it, "
                "each class's probability, the heatmap's class, and provenance: which model, preprocessing and file "
                "they came from",
                ClassFacts,
            ),
            gr.Image(format="png", label="Scan with heatmap, PNG at the scan's own size"),
        ]
        gr.Button().click(classify, inputs, outputs, api_name="classify", **MODEL)
