"""What the demo's tabs share: uploads, the accelerator, and how long what visitors brought is kept."""

try:  # on a ZeroGPU Space, `spaces` has to come before anything that touches CUDA
    import spaces
except ImportError:
    spaces = None

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from pathlib import Path

import gradio as gr

from octhub import read_scan
from octhub.gallery import Example

GPU_SECONDS = 10
"""What one run asks of a visitor's ZeroGPU quota; a run takes less than one, a cold start a few."""

SWEEP_SECONDS, KEEP_SECONDS = 300, 1500
"""What is older than KEEP_SECONDS is deleted every SWEEP_SECONDS: gone within half an hour."""

MODEL = {"concurrency_id": "model", "concurrency_limit": 1}
"""One group for every event that runs a model: answers come in the order of the questions, so that a visitor who
clicks faster than the model runs ends up with the last scan asked for."""

BATCH = {"concurrency_id": "many", "concurrency_limit": 1}
"""One run over many scans at a time, in a group of its own, beside which visitors of the other tabs have their turn."""


@dataclass(frozen=True)
class Side:
    """A tab, for whatever shows a scan in it from outside: another tab, or a link.

    Attributes:
        page: the tab's id.
        button: hands the tab's scan on; it shows while there is one.
        scan: the state that holds what the tab has on show.
        source: that state's value → (path, note) of its scan, or None.
        take: (path, note) or None, values of `inputs` → values of `outputs`: shows another tab's scan in this one.
        viewer: where this tab shows a scan.
        examples: the tab's examples.
        open: an example, values of `inputs` → values of `outputs`: shows the example.
    """

    page: str
    button: gr.Button
    scan: gr.State
    source: Callable[[object], tuple[str, str] | None]
    take: Callable
    inputs: Sequence[gr.components.Component]
    outputs: Sequence[gr.components.Component]
    viewer: gr.HTML
    examples: Sequence[Example]
    open: Callable


def hand_on(pages: gr.Tabs, giver: Side, taker: Side) -> None:
    """Wire the giver's button: the page turns to the taker's tab at once, and the taker's model runs on the scan."""

    def take(held, *inputs):
        return taker.take(giver.source(held), *inputs)

    turned = giver.button.click(
        lambda: gr.Tabs(selected=taker.page), None, pages, api_visibility="private", show_progress="hidden", queue=False
    )
    shown = {"show_progress": "minimal", "show_progress_on": taker.viewer, "api_visibility": "private"}
    answered = turned.then(take, [giver.scan, *taker.inputs], taker.outputs, **MODEL, **shown)
    answered.then(js=reveal(taker.viewer.elem_id))


def uploads_only(file: gr.File) -> gr.File:
    """Keep a file input from URLs: whatever one names, Gradio would fetch it whole, of any size."""
    move = file.async_move_resource_to_block_cache

    async def move_upload(path: str | Path | None) -> str | None:
        if str(path).lower().startswith(("http:", "https:")):
            raise gr.Error(f"{path}: a URL, expected an uploaded file", print_exception=False)
        return await move(path)

    file.async_move_resource_to_block_cache = move_upload
    return file


def download(file: gr.File, name: str, data: bytes) -> str:
    """Write what a file output hands out into its own cache, which is swept; returns the path."""
    path = download_path(file, name)
    path.write_bytes(data)
    return str(path)


def download_path(file: gr.File | gr.DownloadButton, name: str) -> Path:
    """Where to write such a file piece by piece. It is swept from now on, KEEP_SECONDS after it was last written to."""
    path = Path(file.GRADIO_CACHE) / secrets.token_hex(16) / name
    path.parent.mkdir(parents=True)
    file.temp_files.add(str(path))
    return path


def on_gpu(fn: Callable) -> Callable:
    """Run `fn` on a ZeroGPU Space's accelerator; anywhere else, `fn` itself.

    There it runs in a fork: arguments and results are pickled, so it gets pixels and gives an answer's dataclass,
    and everything that can fail because of the visitor's scan happens before (the fork loses error messages).
    """
    return fn if spaces is None else spaces.GPU(duration=GPU_SECONDS)(fn)


def remembering(run: Callable, examples: Sequence[Example]) -> Callable:
    """run(scan, …) → run(path, scan, …), which runs once for an example: those and the models stay as they are for as
    long as a page is served."""
    ours = {str(e.path) for e in examples}
    run_example = cache(lambda path, *rest: run(read_scan(path), *rest))
    return lambda path, scan, *rest: run_example(path, *rest) if path in ours else run(scan, *rest)


def example_gallery(examples: Sequence[tuple[Example, str]]) -> gr.Gallery:
    """Examples to pick from, each with what it shows; nothing where there are none."""
    return gr.Gallery(
        [(e.path, f"{caption}\n{e.origin}") for e, caption in examples],
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


def names_html(title: str, names: Sequence[str], meanings: dict[str, str]) -> str:
    """What a model's classes mean."""
    rows = "".join(f"<dt>{escape(n)}</dt><dd>{escape(meanings.get(n, ''))}</dd>" for n in names)
    return f'<section class="classes"><h2>{escape(title)}</h2><dl>{rows}</dl></section>'


def reveal(viewer_id: str) -> str:
    """JavaScript that scrolls a viewer into view, and tells the page that it shows another scan (see page/link.js)."""
    return f"""() => {{
      const viewer = document.getElementById("{viewer_id}");
      viewer.scrollIntoView({{ block: "nearest", behavior: "smooth" }});
      viewer.dispatchEvent(new CustomEvent("octhub-scan", {{ bubbles: true }}));
    }}"""


def dim(viewer_id: str) -> str:
    """JavaScript that makes a slider's per cent the opacity of a viewer's layers."""
    return f"v => document.getElementById('{viewer_id}').style.setProperty('--opacity', v / 100)"
