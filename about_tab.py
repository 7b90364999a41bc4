"""The demo's About tab: what is served here, how good it is, and how to use and cite it; and the same for programs."""

import os
import platform
from collections.abc import Mapping, Sequence

import gradio as gr
import torch

from endpoints import AppFacts, json_output
from octhub.about import about_html
from octhub.gallery import Example
from octhub.served import Served, app_facts


def about_tab(models: Mapping[str, Served], examples: Sequence[Example]) -> None:
    """Lay out the About tab, with the API endpoint /about.

    Args:
        models: by what they are there for: "classifier", "segmenter".
    """
    credits = sorted({(e.source, e.licence, e.attribution) for e in examples})
    versions = {"Python": platform.python_version(), "PyTorch": torch.__version__, "Gradio": gr.__version__}
    host = os.environ.get("SPACE_HOST")
    where = {"address": f"https://{host}"} if host else {}
    gr.HTML(about_html(models, credits, versions, **where), elem_id="about-page", padding=False)
    about_api(models)


def about_api(models: Mapping[str, Served]) -> None:
    """The API endpoint /about; it runs no model and waits for none."""
    facts = app_facts(models)

    def about() -> dict:
        """Say which version of octhub answers and which models it serves: source, commit, hashes of weights and
        configuration, and class names. It runs no model, so it suits monitoring.

        Returns:
            JSON with octhub's version, the models by what they are there for, and what they aren't for.
        """
        return facts

    with gr.Group(visible=False):
        gr.Button().click(
            about,
            None,
            json_output("Version, and the models by what they are there for", AppFacts),
            api_name="about",
            queue=False,
        )
