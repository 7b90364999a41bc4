"""HTML of the demo's viewer of outlined scans: the classes in colour, each under its name (see octhub.viewer)."""

import base64
import zlib
from collections.abc import Iterable, Sequence
from html import escape

import numpy as np

from octhub.mask_render import OPACITY, class_colours, disagreement_key, disagreement_layer, is_background, mask_layer
from octhub.viewer import TOOLS, bar_html, png_uri, stage_html, stem, title_html

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
    links: str = "",
) -> str:
    """A scan with its classes over it. Which class is where travels along, so that pointing needs no server.

    Args:
        scan: (H, W) float in [0, 1].
        mask: (H, W) uint8 class ids, the model's answer; 255 (UNKNOWN) where there is none.
        class_names: one name per id.
        name, note: the scan's file name and a remark.
        truth: (H, W) uint8 class ids, the expert's.
        links: HTML of what else can be done with it.
    """
    height, width = scan.shape
    layers = {"model": mask_layer(mask, class_names)}
    ids = {"model": mask}
    if truth is not None:
        layers |= {"expert": mask_layer(truth, class_names), "difference": disagreement_layer(mask, truth, class_names)}
        ids["expert"] = truth
    images = "".join(_layer_img(view, layer, name) for view, layer in layers.items())
    images += """
      <canvas class="toggled" aria-hidden="true"></canvas>
      <canvas class="single" aria-hidden="true" hidden></canvas>
      <span class="tip" aria-hidden="true" hidden></span>"""
    data = " ".join(f'data-{view}="{deflate(i)}"' for view, i in ids.items())
    return f"""
<figure class="viewer" data-width="{width}" data-height="{height}" {data}>
  {bar_html("" if truth is None else _view_buttons(layers))}
  {stage_html(scan, images, name=name, word="Layers", opacity=MASK_OPACITY)}
  <figcaption>
    {title_html(scan, name, note)}
    <p class="tools">{TOOLS}{links}</p>
    {legend_html(class_names, mask)}
    {"" if truth is None else _difference_key(class_names)}
  </figcaption>
</figure>"""


def _layer_img(view: str, layer: np.ndarray, name: str) -> str:
    save = f"{escape(stem(name))}-{'overlay' if view == 'model' else view}.png"
    hidden = "" if view == "model" else " hidden"
    return (
        f'<img class="layer" alt="{ABOUT[view]}" src="{png_uri(layer)}" data-layer="{view}" data-save="{save}"{hidden}>'
    )


def deflate(ids: np.ndarray) -> str:
    """(H, W) uint8 → what page/ids.js inflates: zlib in base64, a few kilobytes."""
    return base64.b64encode(zlib.compress(ids.tobytes(), 6)).decode()


def legend_html(class_names: Sequence[str], mask: np.ndarray | None = None) -> str:
    """Every class's name and colour; with a mask, they are what the visitor steers the picture with.

    Pointing at a name or focusing it singles the class out, a click keeps it so; the eye beside it takes the class out
    of the picture or puts it back. What isn't tissue has no eye: it is clear anyway.

    Args:
        class_names: one name per id.
        mask: (H, W) uint8 class ids; None before there is an answer, when the legend only holds its place.
    """
    counts = np.zeros(256, int) if mask is None else np.bincount(mask.ravel(), minlength=256)
    known = max(int(counts[: len(class_names)].sum()), 1)
    colours, background = class_colours(class_names).tolist(), is_background(class_names)
    locked = " disabled" if mask is None else ""
    entries = []
    for id, (name, (r, g, b)) in enumerate(zip(map(escape, class_names), colours, strict=True)):
        alpha = 80 if background[id] else 255  # singled out, too, what isn't tissue is a backdrop
        found = f"{counts[id] / known:.1%} of the scan" if counts[id] else "not found"
        eye = (
            f'<label class="eye" title="Show {name}"><input type="checkbox" data-toggle="{id}" '
            f'aria-label="Show {name}" checked{locked}><span></span></label>'
        )
        entries.append(
            f'<span class="entry{"" if counts[id] else " absent"}">'
            f'<button type="button" data-class="{id}" data-name="{name}" data-colour="{r} {g} {b} {alpha}" '
            f'aria-pressed="false" aria-label="{name}, {found}" title="{found}"{locked}>'
            f'<i style="background: rgb({r} {g} {b})"></i>{name}</button>{"" if background[id] else eye}</span>'
        )
    shortcuts = "".join(
        f'<button type="button" data-all="{all}" aria-label="Show {what}"{locked}>{word}</button>'
        for all, word, what in (("yes", "All", "all layers"), ("", "None", "no layer"))
    )
    return (
        f'<div class="legend" role="group" aria-label="Classes: single one out, show or hide it">'
        f'{"".join(entries)}<span class="choice shortcuts">{shortcuts}</span></div>'
    )


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
    return f'<p class="choice views" role="group" aria-label="Show">{buttons}</p>'
