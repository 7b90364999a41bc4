"""HTML of the demo's scan viewer (styled by page/viewer.css, wired by page/*.js); nothing here knows Gradio."""

import base64
import io
from html import escape
from pathlib import Path

import numpy as np
from PIL import Image

from octhub.render import grey, legend

OPACITY = 60
"""The layer's opacity in per cent, until the visitor moves the slider."""

COMPARE = {"overlay": "Overlay", "slider": "Slider", "side": "Side by side"}
"""How a scan and its layer can be compared, and the buttons' words: the layer over the scan, the layer right of a
handle that can be dragged, or the plain scan beside the overlay."""

TOOLS = """
      <button type="button" data-viewer="save">Save picture</button>
      <button type="button" data-viewer="full">Full screen</button>
    """
"""What every viewer's buttons are."""


def copy_link_html(link: str) -> str:
    """A button that copies a link, relative to the page; empty without one."""
    return f'<button type="button" data-viewer="link" data-link="{escape(link)}">Copy link</button>' if link else ""


def stem(name: str) -> str:
    """A scan's file name without its suffix: what is saved is named after it."""
    return Path(name).stem


def png_bytes(pixels: np.ndarray) -> bytes:
    """(H, W) or (H, W, 3 or 4) uint8 → a PNG file's bytes."""
    with io.BytesIO() as buffer:
        Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)  # a third less time than 3, a tenth more bytes
        return buffer.getvalue()


def png_uri(pixels: np.ndarray) -> str:
    """A picture as a data URI: it reaches the visitor's browser and is never written to the server's disk."""
    return "data:image/png;base64," + base64.b64encode(png_bytes(pixels)).decode()


def viewer_html(
    scan: np.ndarray, layer: np.ndarray, *, about: str, name: str, note: str = "", key: str = "", links: str = ""
) -> str:
    """A scan with a layer over it, as two pictures: the browser blends them, so opacity needs no server.

    Args:
        scan: (H, W) float in [0, 1].
        layer: (H, W, 4) uint8 RGBA.
        about: what the layer shows, for those who can't see it.
        name, note: the scan's file name and a remark.
        key: HTML that explains the layer's colours.
        links: HTML of what else can be saved.
    """
    image = (
        f'<img class="layer" alt="{escape(about)}" src="{png_uri(layer)}" data-save="{escape(stem(name))}-octhub.png">'
    )
    return f"""
<figure class="viewer">
  {bar_html()}
  {stage_html(scan, image, name=name, word="Heatmap", opacity=OPACITY)}
  <figcaption>
    {title_html(scan, name, note)}
    <p class="tools">{TOOLS}{links}</p>
    <p class="key">{key}</p>
  </figcaption>
</figure>"""


def bar_html(more: str = "") -> str:
    """The viewer's head: how to compare, and `more` HTML. Which button is pressed, the browser says: the choice
    outlives the scan."""
    buttons = "".join(
        f'<button type="button" data-mode="{mode}" aria-pressed="{str(mode == "overlay").lower()}">{word}</button>'
        for mode, word in COMPARE.items()
    )
    return f'<div class="bar"><p class="choice modes" role="group" aria-label="Compare">{buttons}</p>{more}</div>'


def stage_html(scan: np.ndarray, layers: str, *, name: str, word: str, opacity: float) -> str:
    """The pictures: a frame of the scan's shape with its layers, and one beside it for the plain scan.

    Args:
        scan: (H, W) float in [0, 1].
        layers: HTML of what lies over it.
        name: the scan's file name.
        word: what the layers are called.
        opacity: of the layers, in per cent, until the visitor moves the slider.
    """
    height, width = scan.shape
    name = escape(name)
    return f"""<div class="stage" style="--default: {opacity / 100:g}; --w: {width}; --h: {height}">
    <div class="frame plain"><canvas role="img" aria-label="B-scan {name}, plain"></canvas>
      <span class="tag" aria-hidden="true">Scan</span></div>
    <div class="frame main">
      <img class="scan" alt="B-scan {name}" src="{png_uri(grey(scan))}">
      {layers}
      <span class="tag left" aria-hidden="true">Scan</span><span class="tag" aria-hidden="true">{word}</span>
      <input class="split" type="range" min="0" max="100" step="1" value="50"
        aria-label="Plain scan on the left, {word.lower()} on the right of here, in per cent of the width">
    </div>
  </div>"""


def title_html(scan: np.ndarray, name: str, note: str) -> str:
    """Which scan it is: the file's name, its size and a remark."""
    height, width = scan.shape
    size = f"<span>{width} × {height}</span>"
    return f'<p class="title"><b>{escape(name)}</b> {size} <span>{escape(note)}</span></p>'


def heat_key(class_name: str, found: bool) -> str:
    """The legend of a heatmap; `found` is whether there was any evidence at all."""
    name = escape(class_name)
    if not found:
        return f"No evidence for {name} found"
    bar = f'<img alt="from dark to bright" src="{png_uri(legend(160))}">'
    text = "Relative to the strongest place in this scan"
    return f'<span class="ramp">less {bar} more evidence for {name}</span> <small>{text}</small>'


def message_html(title: str, text: str, role: str = "status", foot: str | None = None) -> str:
    """The viewer without a scan: what to do, or what was wrong with the last one (role "alert").

    Args:
        title, text: the message.
        role: "status" or "alert".
        foot: HTML that stands where a scan's legend will, so that nothing jumps when the scan comes; None for the
            message alone.
    """
    message = f'<div class="stage message" role="{role}"><p><b>{escape(title)}</b><br>{escape(text)}</p></div>'
    if foot is not None:
        message = f"{bar_html()}\n  {message}\n  <figcaption><p class=title></p>{foot}</figcaption>"
    return f"""
<figure class="viewer">
  {message}
</figure>"""
