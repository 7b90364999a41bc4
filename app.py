"""The web demo, and a Hugging Face Space as it stands: `python app.py`.

Importing this file launches and downloads nothing. The page's looks are in app.css; what it does in the browser
alone (pasting, dropping, saving a picture) is in app.js.
"""

try:  # on a ZeroGPU Space, `spaces` has to come before anything that touches CUDA
    import spaces
except ImportError:
    spaces = None

import argparse
import os
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path

import gradio as gr
import numpy as np

from octhub import CheckpointError, Classification, Classifier, ScanError, read_scan
from octhub.gallery import EXAMPLES, Example, load
from octhub.hub import DEFAULT_CLASSIFIER
from octhub.render import heat_layer, overlay
from octhub.scan import MAX_BYTES
from octhub.viewer import OPACITY, heat_key, message_html, viewer_html

HERE = Path(__file__).resolve().parent

LIKELIEST = "likeliest"
"""The heatmap's class that stands for whichever class the model finds likeliest."""

MEANINGS = {
    "CNV": "Choroidal neovascularisation: new vessels growing under the retina",
    "DME": "Diabetic macular oedema: fluid that thickens the retina",
    "DRUSEN": "Drusen: deposits under the retina, an early sign of macular degeneration",
    "NORMAL": "None of these three",
}
"""What OCT2017's classes stand for; a checkpoint with other classes just shows their names."""

GPU_SECONDS = 10
"""What one run asks of a visitor's ZeroGPU quota; a run takes less than one, a cold start a few."""

SWEEP_SECONDS, KEEP_SECONDS = 300, 1500
"""Uploads older than KEEP_SECONDS are deleted every SWEEP_SECONDS: gone within half an hour."""

MODEL = {"concurrency_id": "model", "concurrency_limit": 1}
"""One group for every event that runs a model: answers come in the order of the questions, so that a visitor who
clicks faster than the model runs ends up with the last scan asked for."""

THEME = gr.themes.Base(
    primary_hue="teal",
    neutral_hue="slate",
    radius_size="lg",
    font=["system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "Arial", "sans-serif"],
    font_mono=["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace"],
).set(body_background_fill="*neutral_50", body_text_color_subdued="*neutral_500")

HEADER = """
<header class="masthead">
  <div><h1>octhub</h1><p>Add a retinal OCT scan: a small network names what it sees and shows where it looked.</p></div>
  <p class="notice" role="note"><strong>Research use only.</strong> Not a medical device.</p>
</header>
"""


def uploads_only(file: gr.File) -> gr.File:
    """Keep a file input from URLs: whatever one names, Gradio would fetch it whole, of any size."""
    move = file.async_move_resource_to_block_cache

    async def move_upload(path: str | Path | None) -> str | None:
        if str(path).lower().startswith(("http:", "https:")):
            raise gr.Error(f"{path}: a URL, expected an uploaded file", print_exception=False)
        return await move(path)

    file.async_move_resource_to_block_cache = move_upload
    return file


def on_gpu(fn: Callable) -> Callable:
    """Run `fn` on a ZeroGPU Space's accelerator; anywhere else, `fn` itself.

    There it runs in a fork: arguments and results are pickled, so it gets pixels and gives a Classification,
    and everything that can fail because of the visitor's scan happens before (the fork loses error messages).
    """
    return fn if spaces is None else spaces.GPU(duration=GPU_SECONDS)(fn)


def load_examples() -> list[Example]:
    """The example gallery; empty where there is none."""
    return load() if EXAMPLES.is_dir() else []


def classes_html(names: Sequence[str]) -> str:
    """What the classes mean."""
    rows = "".join(f"<dt>{escape(n)}</dt><dd>{escape(MEANINGS.get(n, ''))}</dd>" for n in names)
    return f'<section class="classes"><h2>What it can tell apart</h2><dl>{rows}</dl></section>'


def footer_html(examples: Sequence[Example]) -> str:
    """Where uploads go and where the examples come from."""
    credits = "; ".join(sorted({f"{e.source}, {e.licence}" for e in examples}))
    return f"""
<footer class="colophon"><p>A scan you add is used for your answer only and deleted from the server within half an hour.
{f"Example scans: {escape(credits)}." if credits else ""}</p></footer>"""


def classify_tab(classifier: Classifier) -> None:
    """Lay out the Classify tab and wire it, with the API endpoint /classify."""
    examples = load_examples()
    choices = [LIKELIEST, *classifier.class_names]
    empty = message_html("No scan yet", "Pick an example, or add a scan of your own.")

    @on_gpu
    def run(scan: np.ndarray, heatmap_class: str) -> Classification:
        return classifier(scan, heatmap=True if heatmap_class == LIKELIEST else heatmap_class)

    def show(source: tuple[str, str] | None, heatmap_class: str):
        """(path, note) → what the page shows: the viewer and the probabilities, or what is wrong with the scan."""
        if source is None:
            return empty, gr.Label(visible=False)
        path, note = source
        name = Path(path).name
        if not os.path.exists(path):
            text = "It was deleted from the server, as all uploads are. Please add it again."
            return message_html(f"{name} is no longer here", text, "alert"), gr.Label(visible=False)
        try:
            scan = read_scan(path, name)
        except ScanError as e:
            return message_html("This scan can't be used", str(e), "alert"), gr.Label(visible=False)
        answer = run(scan, heatmap_class)
        about = f"Grad-CAM heatmap: evidence for {answer.heatmap_class}"
        key = heat_key(answer.heatmap_class, bool(answer.heatmap.any()))
        view = viewer_html(scan, heat_layer(answer.heatmap), about=about, name=name, note=note, key=key)
        return view, gr.Label(answer.probabilities, visible=True)

    def show_upload(path: str | None, heatmap_class: str):
        source = None if path is None else (str(path), "")
        return None, source, *show(source, heatmap_class)  # None empties the drop zone for the next scan

    def show_example(heatmap_class: str, event: gr.SelectData):
        chosen = examples[event.index]
        source = (str(chosen.path), f"graded {chosen.label} in the data set")
        return source, *show(source, heatmap_class)

    source = gr.State(None)  # (path, note) of the scan on show; it stays on the server
    with gr.Row(elem_classes="panes"):
        with gr.Column(elem_classes="pane-in"):
            upload = uploads_only(gr.File(label="Drop, paste or choose a scan", height=112, elem_classes="scan-file"))
            gallery = gr.Gallery(
                [(e.path, e.label) for e in examples],
                label="Examples",
                columns=2,
                height="auto",
                allow_preview=False,
                object_fit="cover",
                buttons=[],
                interactive=False,
                visible=bool(examples),
                elem_classes="examples",
            )
        with gr.Column(elem_classes="pane-view"):
            viewer = gr.HTML(empty, elem_id="classify-viewer")
            with gr.Row(elem_classes="controls"):
                wanted = gr.Radio(choices, value=LIKELIEST, label="Heatmap: evidence for", elem_classes="wanted")
                opacity = gr.Slider(0, 100, OPACITY, step=1, label="Opacity (%)", elem_classes="opacity")
        with gr.Column(elem_classes="pane-out"):
            label = gr.Label(label="Probability", visible=False, elem_id="classify-label")
            gr.HTML(classes_html(classifier.class_names), elem_classes="about")

    private = {**MODEL, "api_visibility": "private", "show_progress": "minimal", "show_progress_on": viewer}
    reveal = "() => document.getElementById('classify-viewer').scrollIntoView({block: 'nearest', behavior: 'smooth'})"
    upload.upload(show_upload, [upload, wanted], [upload, source, viewer, label], **private).then(js=reveal)
    # Not "always_last": with it, Gradio 6.31 runs the last click with the first one's event data.
    picked = gallery.select(show_example, wanted, [source, viewer, label], trigger_mode="multiple", **private)
    picked.then(js=reveal)
    wanted.input(show, [source, wanted], [viewer, label], trigger_mode="always_last", **private)
    dim = "v => document.getElementById('classify-viewer').style.setProperty('--opacity', v / 100)"
    opacity.change(None, opacity, js=dim)
    classify_api(run, choices)


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


def build_demo(classifier: Classifier) -> gr.Blocks:
    """The whole page; `main` launches it."""
    sweep = (SWEEP_SECONDS, KEEP_SECONDS)
    with gr.Blocks(title="octhub", analytics_enabled=False, fill_width=True, delete_cache=sweep) as demo:
        gr.HTML(HEADER)
        with gr.Tabs(), gr.Tab("Classify", id="classify"):
            classify_tab(classifier)
        gr.HTML(footer_html(load_examples()))
    return demo.queue(max_size=32)


def options(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line, with defaults from the environment."""
    env = os.environ
    parser = argparse.ArgumentParser(description="The octhub web demo.")
    parser.add_argument(
        "--classifier",
        default=env.get("OCTHUB_CLASSIFIER", DEFAULT_CLASSIFIER),
        help="checkpoint folder or Hub repo 'owner/name' (env OCTHUB_CLASSIFIER; default %(default)s)",
    )
    parser.add_argument(
        "--host",
        default=env.get("OCTHUB_HOST", "0.0.0.0" if "SPACE_ID" in env else "127.0.0.1"),
        help="address to listen on (env OCTHUB_HOST; default %(default)s)",
    )
    parser.add_argument(
        "--port",
        type=int,
        default=env.get("OCTHUB_PORT"),
        help="port (env OCTHUB_PORT; by default GRADIO_SERVER_PORT, or the first free one from 7860)",
    )
    parser.add_argument("--share", action="store_true", help="also open a temporary public gradio.live link")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Read the options, load the checkpoint and serve until stopped."""
    args = options(argv)
    try:
        classifier = Classifier.from_pretrained(args.classifier)
    except CheckpointError as e:
        raise SystemExit(f"app.py: {e}") from e
    build_demo(classifier).launch(
        server_name=args.host,
        server_port=args.port,
        share=args.share,
        theme=THEME,
        css_paths=HERE / "app.css",
        js=(HERE / "app.js").read_text(),
        max_file_size=MAX_BYTES,
        run_history=False,  # it would keep visitors' scans in their browsers
        ssr_mode=False,
        footer_links=["api"],
    )


if __name__ == "__main__":
    main()
