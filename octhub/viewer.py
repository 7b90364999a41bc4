"""HTML of the demo's scan viewer (styled by app.css, its buttons wired by app.js); nothing here knows Gradio."""

import base64
import io
from html import escape

import numpy as np
from PIL import Image

from octhub.render import grey, legend

OPACITY = 60
"""The layer's opacity in per cent, until the visitor moves the slider."""


def png_uri(pixels: np.ndarray) -> str:
    """A picture as a data URI: it reaches the visitor's browser and is never written to the server's disk."""
    with io.BytesIO() as buffer:
        Image.fromarray(pixels).save(buffer, "PNG", compress_level=3)
        return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def viewer_html(scan: np.ndarray, layer: np.ndarray, *, about: str, name: str, note: str = "", key: str = "") -> str:
    """A scan with a layer over it, as two pictures: the browser blends them, so opacity needs no server.

    Args:
        scan: (H, W) float in [0, 1].
        layer: (H, W, 4) uint8 RGBA.
        about: what the layer shows, for those who can't see it.
        name, note: the scan's file name and a remark.
        key: HTML that explains the layer's colours.
    """
    height, width = scan.shape
    name, note = escape(name), escape(note)
    return f"""
<figure class="viewer">
  <div class="stage">
    <img class="scan" alt="B-scan {name}" src="{png_uri(grey(scan))}">
    <img class="layer" alt="{escape(about)}" src="{png_uri(layer)}" style="opacity: var(--opacity, {OPACITY / 100})">
  </div>
  <figcaption>
    <p><b>{name}</b> <span>{width} × {height}</span> <span>{note}</span></p>
    <p class="key">{key}</p>
    <p class="tools">
      <button type="button" data-viewer="save" data-name="{name}">Save picture</button>
      <button type="button" data-viewer="full">Full screen</button>
    </p>
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
