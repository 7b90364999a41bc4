"""What the page does in the browser alone, and its viewers' looks: scripts of one idea each, and a stylesheet."""

from pathlib import Path

HERE = Path(__file__).resolve().parent

SCRIPTS = ("drop", "fresh", "ids", "classes", "point", "compare", "profile", "save", "link", "clicks")
"""The scripts, which share one scope; in this order, since a constant has to be there before it is used."""


def head() -> str:
    """The viewers' stylesheet, for the page's head: what Gradio takes as `css` it repeats with a prefix, which outdoes
    rules that start above the page's container, as those for the way of comparing do."""
    return f"<style>\n{(HERE / 'viewer.css').read_text(encoding='utf-8')}</style>"


def script() -> str:
    """The scripts as the one function that Gradio calls when the page is built. Tests wait for what it says last."""
    parts = [f"// {name}.js\n{(HERE / f'{name}.js').read_text(encoding='utf-8')}" for name in SCRIPTS]
    return "\n".join(["() => {", *parts, 'document.documentElement.dataset.octhub = "ready";', "}"])
