"""What the page does in the browser alone, and the looks of that: scripts of one idea each, and stylesheets."""

from pathlib import Path

HERE = Path(__file__).resolve().parent

SCRIPTS = ("busy", "drop", "fresh", "ids", "classes", "point", "compare", "profile", "save", "link", "clicks")
"""The scripts, which share one scope; in this order, since a constant has to be there before it is used."""

STYLES = ("viewer", "busy")


def head() -> str:
    """The stylesheets, for the page's head: what Gradio takes as `css` it repeats with a prefix, which outdoes rules
    that start above the page's container, as those for the way of comparing do, and leaves out what is beside it."""
    return "\n".join(f"<style>\n{(HERE / f'{name}.css').read_text(encoding='utf-8')}</style>" for name in STYLES)


def script() -> str:
    """The scripts as the one function that Gradio calls when the page is built. Tests wait for what it says last."""
    parts = [f"// {name}.js\n{(HERE / f'{name}.js').read_text(encoding='utf-8')}" for name in SCRIPTS]
    return "\n".join(["() => {", *parts, 'document.documentElement.dataset.octhub = "ready";', "}"])
