"""The web demo, and a Hugging Face Space as it stands: `python app.py`.

Importing this file launches and downloads nothing. Beside it, classify_tab.py, segment_tab.py, many_tab.py and
about_tab.py lay out the tabs and tabs.py holds what they share; the page's looks are in app.css and about.css, and what
it does in the browser alone is in page/; assistants.py serves the API as an assistant's tools. What is let in, who
waits, what is remembered and how memory is kept: closed_routes.py and door.py, waiting_room.py, visits.py, heap.py.
"""

import tabs  # isort: skip  # first of all: on a ZeroGPU Space it imports `spaces`, before anything touches CUDA

import argparse
import os
from collections.abc import Sequence
from html import escape
from pathlib import Path

import gradio as gr
from starlette.middleware import Middleware

import assistants
import heap
import page
import visits
from about_tab import about_tab
from classify_tab import classify_tab
from closed_routes import ClosedRoutes
from deep_link import deep_links
from door import Door
from many_tab import many_tab
from octhub import CheckpointError, Classifier, Segmenter
from octhub.gallery import EXAMPLES, Example, load
from octhub.hub import DEFAULT_CLASSIFIER, DEFAULT_SEGMENTER
from octhub.pins import read_pins
from octhub.scan import MAX_BYTES
from octhub.served import served
from segment_tab import segment_tab
from waiting_room import WaitingRoom

HERE = Path(__file__).resolve().parent

THEME = gr.themes.Base(
    primary_hue="teal",
    neutral_hue="slate",
    radius_size="lg",
    font=["system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "Arial", "sans-serif"],
    font_mono=["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace"],
).set(
    body_background_fill="*neutral_50",
    body_text_color_subdued="*neutral_500",
    color_accent="*primary_700",  # app.css has the dark page's, which a theme can't
    button_primary_background_fill="*primary_700",
    button_primary_background_fill_hover="*primary_800",
    button_primary_background_fill_dark="*primary_700",
    button_primary_background_fill_hover_dark="*primary_800",
    link_text_color="*primary_700",
    link_text_color_visited="*primary_700",
    link_text_color_dark="*primary_300",
    link_text_color_visited_dark="*primary_300",
)

CLASSIFIES = "a small network names what it sees and shows where it looked"
SEGMENTS = "another outlines its layers and fluid"
"""What the page's head says of the tabs that there are."""


def header_html(promises: Sequence[str]) -> str:
    """The page's head: what it does, and what it isn't for."""
    return f"""
<header class="masthead">
  <div><h1>octhub</h1><p>Add a retinal OCT scan: {"; ".join(promises)}.</p></div>
  <p class="notice" role="note"><strong>Research use only.</strong> Not a medical device.</p>
</header>
"""


def footer_html(examples: Sequence[Example]) -> str:
    """Where uploads go and where the examples come from."""
    credits = "; ".join(sorted({f"{e.source}, {e.licence}" for e in examples}))
    return f"""
<footer class="colophon"><p>What you add is used for your answer only and deleted from the server within half an hour;
the results of many scans half an hour after their run.
{f"Example scans: {escape(credits)}." if credits else ""}</p></footer>"""


def load_examples() -> list[Example]:
    """The example gallery; empty where there is none."""
    return load() if EXAMPLES.is_dir() else []


def build_demo(classifier: Classifier, segmenter: Segmenter | None = None) -> gr.Blocks:
    """The whole page; `main` launches it. Without a segmenter there is no Segment tab."""
    examples = load_examples()
    sweep = (tabs.SWEEP_SECONDS, tabs.KEEP_SECONDS)
    with gr.Blocks(title="octhub", analytics_enabled=False, fill_width=True, delete_cache=sweep) as demo:
        gr.HTML(header_html([CLASSIFIES] if segmenter is None else [CLASSIFIES, SEGMENTS]))
        with gr.Tabs() as pages:
            with gr.Tab("Classify", id="classify"):
                classify = classify_tab(classifier, [e for e in examples if e.label], segmenter)
            if segmenter is not None:
                with gr.Tab("Segment", id="segment"):
                    segment = segment_tab(segmenter, [e for e in examples if e.segment])
                tabs.hand_on(pages, classify, segment)
                tabs.hand_on(pages, segment, classify)
            with gr.Tab("Many scans", id="many"):
                many_tab(classifier, segmenter)
            with gr.Tab("About", id="about"):
                models = {"classifier": classifier, "segmenter": segmenter}
                about_tab({role: served(m.model) for role, m in models.items() if m is not None}, examples)
        sides = [classify] if segmenter is None else [classify, segment]
        deep_links(demo, pages, sides, ["many", "about"])
        gr.HTML(footer_html(examples))
    demo.queue(api_open=False)  # whoever asks waits in line; /run would pass by it
    demo._queue = WaitingRoom(demo)
    return demo


def options(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line, with defaults from the environment; a Space's models.json says which models are its own."""
    env = os.environ
    models = {"classifier": DEFAULT_CLASSIFIER, "segmenter": DEFAULT_SEGMENTER, **read_pins(HERE)}
    parser = argparse.ArgumentParser(description="The octhub web demo.")
    parser.add_argument(
        "--classifier",
        default=env.get("OCTHUB_CLASSIFIER", models["classifier"]),
        help="checkpoint folder or Hub repo 'owner/name@revision' (env OCTHUB_CLASSIFIER; default %(default)s)",
    )
    parser.add_argument(
        "--segmenter",
        default=env.get("OCTHUB_SEGMENTER", models["segmenter"]),
        help="likewise, for the Segment tab (env OCTHUB_SEGMENTER; default %(default)s)",
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
    """Read the options, load the checkpoints and serve until stopped."""
    heap.few_arenas()
    try:
        args = options(argv)
        classifier = Classifier.from_pretrained(args.classifier)
        segmenter = Segmenter.from_pretrained(args.segmenter)
    except CheckpointError as e:
        raise SystemExit(f"app.py: {e}") from e
    assistants.install()
    visits.install()
    launch(
        build_demo(classifier, segmenter),
        server_name=args.host,
        server_port=args.port,
        share=args.share,
        ssr_mode=False,
        mcp_server=True,
    )


def launch(demo: gr.Blocks, **options) -> None:
    """Serve the page as it has to be served, wherever."""
    demo.launch(
        theme=THEME,
        css_paths=[HERE / "app.css", HERE / "about.css"],
        head=page.head(),
        js=page.script(),
        max_file_size=MAX_BYTES,
        run_history=False,  # it would keep visitors' scans in their browsers
        state_session_capacity=visits.VISITS,
        footer_links=["api"],
        app_kwargs={"lifespan": visits.forgetful, "middleware": [Middleware(ClosedRoutes), Middleware(Door)]},
        **options,
    )


if __name__ == "__main__":
    main()
