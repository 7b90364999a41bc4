"""HTML of the demo's scan viewer (styled by app.css, its buttons wired by app.js); nothing here knows Gradio."""

import base64
import io
from html import escape
from pathlib import Path

import numpy as np
from PIL import Image

from octhub.render import grey, legend

OPACITY = 60
"""The layer's opacity in per cent, until the visitor moves the slider."""


TOOLS = """
      <button type="button" data-viewer="save">Save picture</button>
      <button type="button" data-viewer="full">Full screen</button>
    """
"""What every viewer's buttons are."""


def stem(name: str) -> str:
    """A scan's file name without its suffix: what is saved is named after it."""
    return Path(name).stem


def png_bytes(pixels: np.ndarray) -> bytes:
    """(H, W) or (H, W, 3 or 4) uint8 → a PNG file's bytes."""
    with io.BytesIO() as buffer:
        Image.fromarray(pixels).save(buffer, "PNG", compress_level=3)
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
    height, width = scan.shape
    name, note = escape(name), escape(note)
    return f"""
<figure class="viewer">
  <div class="stage" style="--default: {OPACITY / 100}">
    <img class="scan" alt="B-scan {name}" src="{png_uri(grey(scan))}">
    <img class="layer" alt="{escape(about)}" src="{png_uri(layer)}" data-save="{stem(name)}-octhub.png">
  </div>
  <figcaption>
    <p><b>{name}</b> <span>{width} × {height}</span> <span>{note}</span></p>
    <p class="key">{key}</p>
    <p class="tools">{TOOLS}{links}</p>
  </figcaption>
</figure>"""


def heat_key(class_name: str, found: bool) -> str:
    """The legend of a heatmap; `found` is whether there was any evidence at all."""
    if not found:
        return f"No evidence for {escape(class_name)} found"
    bar = f'<img alt="" src="{png_uri(legend(96))}">'
    return f"Evidence for {escape(class_name)}: <span>less {bar} more</span>"


def message_html(title: str, text: str, role: str = "status") -> str:
    """The viewer without a scan: what to do, or what was wrong with the last one (role "alert")."""
    return f"""
<figure class="viewer">
  <div class="stage message" role="{role}"><p><b>{escape(title)}</b><br>{escape(text)}</p></div>
</figure>"""
