"""Links into the demo: `/?tab=segment&example=dme-1` opens a tab, with an example on show.

Only examples have links. A visitor's own scan is kept nowhere that a link could lead to.
"""

from collections.abc import Callable, Sequence
from html import escape
from urllib.parse import urlencode

import gradio as gr

from octhub.gallery import Example
from tabs import MODEL, Side, reveal

OPEN = """() => {
  const tab = new URLSearchParams(location.search).get("tab");
  const ask = (patience) => {
    const button = document.getElementById(`open-${tab}`);
    if (button) button.click();
    else if (patience) setTimeout(ask, 100, patience - 1); // Gradio calls this before all of the page is there
  };
  if (tab) ask(100);
}"""
"""JavaScript that asks for what the page's address asks for; a plain one asks for nothing."""

READ = """(_, ...inputs) => [new URLSearchParams(location.search).get("example") ?? "", ...inputs]"""
"""JavaScript that puts the example's name from the page's address before an event's other inputs."""


def links_to(page: str, examples: Sequence[Example]) -> dict[str, str]:
    """An example's path → the query of a link to it in a tab."""
    return {str(e.path): "?" + urlencode({"tab": page, "example": e.path.stem}) for e in examples}


def deep_links(demo: gr.Blocks, pages: gr.Tabs, sides: Sequence[Side], others: Sequence[str]) -> None:
    """Wire what the page's address asks for: a tab with an example, or a tab that has none, of those with these ids."""
    private = {"api_visibility": "private", "show_progress": "hidden"}
    name = gr.Textbox(visible="hidden")  # not a State, which takes no value from JavaScript
    for side in sides:
        button = gr.Button(visible="hidden", elem_id=f"open-{side.page}")
        turned = button.click(turn_to(side.page), None, pages, queue=False, **private)
        opened = turned.then(opener(side), [name, *side.inputs], side.outputs, js=READ, **MODEL, **private)
        opened.then(js=reveal(side.viewer.elem_id))
    for page in others:
        button = gr.Button(visible="hidden", elem_id=f"open-{page}")
        button.click(turn_to(page), None, pages, queue=False, **private)
    demo.load(js=OPEN)


def turn_to(page: str) -> Callable[[], gr.Tabs]:
    """An event's function that turns to a tab."""
    return lambda: gr.Tabs(selected=page)


def opener(side: Side) -> Callable:
    """(an example's name, values of the side's inputs) → values of its outputs, which stay as they are if the name is
    empty or no example's."""

    def open_example(name: str, *inputs):
        if not name:
            return [gr.skip()] * len(side.outputs)
        found = next((e for e in side.examples if e.path.stem == name), None)
        if found is None:
            gr.Warning(f"The link asks for the example “{escape(name)}”, which isn't among these.")
            return [gr.skip()] * len(side.outputs)
        return side.open(found, *inputs)

    return open_example
