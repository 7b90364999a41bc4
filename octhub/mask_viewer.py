"""HTML of the demo's viewer of outlined scans: the classes in colour, each under its name (see octhub.viewer)."""

import base64
import zlib
from collections.abc import Iterable, Sequence
from html import escape

import numpy as np

from octhub.mask_render import OPACITY, class_colours, disagreement_key, disagreement_layer, is_background, mask_layer
from octhub.render import grey
from octhub.viewer import TOOLS, png_uri, stem

MASK_OPACITY = round(OPACITY * 100)
"""The layers' opacity in per cent, until the visitor moves the slider."""

ABOUT = {
    "model": "The model's classes in colour",
    "expert": "The expert's classes in colour",
    "difference": "Where model and expert disagree",
}
"""The layers, for those who can't see them."""

SHOWN = {"model": "Model", "expert": "Expert", "difference": "Difference"}
"""What the stage can show over the scan, and the buttons' words; the last two need an expert's mask."""


def mask_viewer_html(
    scan: np.ndarray,
    mask: np.ndarray,
    class_names: Sequence[str],
    *,
    name: str,
    note: str = "",
    truth: np.ndarray | None = None,
) -> str:
    """A scan with its classes over it. Which class is where travels along, so that pointing needs no server.

    Args:
        scan: (H, W) float in [0, 1].
        mask: (H, W) uint8 class ids, the model's answer; 255 (UNKNOWN) where there is none.
        class_names: one name per id.
        name, note: the scan's file name and a remark.
        truth: (H, W) uint8 class ids, the expert's.
    """
    height, width = scan.shape
    layers = {"model": mask_layer(mask, class_names)}
    ids = {"model": mask}
    if truth is not None:
        layers |= {"expert": mask_layer(truth, class_names), "difference": disagreement_layer(mask, truth, class_names)}
        ids["expert"] = truth
    images = "".join(_layer_img(view, layer, name) for view, layer in layers.items())
    data = " ".join(f'data-{view}="{deflate(i)}"' for view, i in ids.items())
    name, note = escape(name), escape(note)
    return f"""
<figure class="viewer" data-width="{width}" data-height="{height}" {data}>
  <div class="stage" style="--default: {MASK_OPACITY / 100}">
    <img class="scan" alt="B-scan {name}" src="{png_uri(grey(scan))}">
    {images}
    <canvas class="single" aria-hidden="true" hidden></canvas>
    <span class="tip" aria-hidden="true" hidden></span>
  </div>
  <figcaption>
    <p><b>{name}</b> <span>{width} × {height}</span> <span>{note}</span></p>
    {_legend(mask, class_names)}
    {"" if truth is None else _difference_key(class_names)}
    {"" if truth is None else _view_buttons(layers)}
    <p class="tools">{TOOLS}</p>
  </figcaption>
</figure>"""


def _layer_img(view: str, layer: np.ndarray, name: str) -> str:
    save = f"{escape(stem(name))}-{'overlay' if view == 'model' else view}.png"
    hidden = "" if view == "model" else " hidden"
    return (
        f'<img class="layer" alt="{ABOUT[view]}" src="{png_uri(layer)}" data-layer="{view}" data-save="{save}"{hidden}>'
    )


def deflate(ids: np.ndarray) -> str:
    """(H, W) uint8 → what app.js inflates: zlib in base64, a few kilobytes."""
    return base64.b64encode(zlib.compress(ids.tobytes(), 6)).decode()


def _legend(mask: np.ndarray, class_names: Sequence[str]) -> str:
    """A button for every class: pointing at it or focusing it singles the class out, a click keeps it so."""
    counts = np.bincount(mask.ravel(), minlength=256)
    known = max(int(counts[: len(class_names)].sum()), 1)
    colours, background = class_colours(class_names).tolist(), is_background(class_names)
    buttons = []
    for id, (name, (r, g, b)) in enumerate(zip(class_names, colours, strict=True)):
        alpha = 80 if background[id] else 255  # singled out, too, what isn't tissue is a backdrop
        found = f"{counts[id] / known:.1%} of the scan" if counts[id] else "not found"
        buttons.append(
            f'<button type="button" data-class="{id}" data-name="{escape(name)}" data-colour="{r} {g} {b} {alpha}" '
            f'aria-pressed="false" aria-label="{escape(name)}, {found}" title="{found}"'
            f"{'' if counts[id] else ' class=absent'}>"
            f'<i style="background: rgb({r} {g} {b})"></i>{escape(name)}</button>'
        )
    return f'<div class="legend" role="group" aria-label="Classes: single one out">{"".join(buttons)}</div>'


def _difference_key(class_names: Sequence[str]) -> str:
    spans = "".join(
        f'<span><i style="background: rgb({r} {g} {b})"></i>{escape(text)}</span>'
        for text, (r, g, b) in disagreement_key(class_names)
    )
    return f'<p class="key difference" hidden>{spans}</p>'


def _view_buttons(layers: Iterable[str]) -> str:
    buttons = "".join(
        f'<button type="button" data-view="{view}" aria-pressed="{str(view == "model").lower()}">{SHOWN[view]}</button>'
        for view in layers
    )
    return f'<p class="views" role="group" aria-label="Show">{buttons}</p>'
