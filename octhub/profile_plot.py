"""The thickness profile of a mask along its scan: a plot for the demo, and CSV (styled by page/viewer.css, wired by
page/profile.js)."""

import csv
import io
import math
from base64 import b64encode
from collections.abc import Sequence
from html import escape

import numpy as np

from octhub.mask import UNKNOWN, checked_ids
from octhub.mask_render import class_colours, is_background
from octhub.measure import Scale, thickness_profile
from octhub.tables import note_html

RETINA = "whole retina"
"""What the sum of all tissue and fluid is called."""

TICKS = 3
"""About how many lines an axis has."""


MAX_COLUMNS = 10_000
"""Of a plot: each column is a point of every line, and a row of the CSV that travels with the page."""


def profiles(mask: np.ndarray, class_names: Sequence[str]) -> dict[str, np.ndarray]:
    """Thickness along the columns (A-scans): of the whole retina, and of every class that is tissue or fluid.

    Args:
        mask: (H, W) int class ids; UNKNOWN (255) counts nowhere.
        class_names: one name per id.

    Returns:
        RETINA and then the classes' names → (W,) float, pixels in each column; NaN in columns without a known pixel.

    Raises:
        ValueError: the mask isn't (H, W) integers or holds ids without a class.
    """
    ids = checked_ids(mask, class_names, "the mask")
    unknown = (ids == UNKNOWN).all(axis=0)
    shown = np.flatnonzero(~is_background(class_names))
    layers = [np.where(unknown, np.nan, thickness_profile(ids, id)) for id in shown]
    total = np.sum([np.where(unknown, np.nan, 0), *layers], axis=0)
    return {RETINA: total} | {class_names[id]: layer for id, layer in zip(shown, layers, strict=True)}


def profile_csv(mask: np.ndarray, class_names: Sequence[str], scale: Scale | None = None) -> str:
    """One line per column: where it is, and each profile in pixels and, with a scale, in µm. Unknown is empty.

    Args:
        mask, class_names: as for `profiles`.
        scale: the size of a pixel.
    """
    found = profiles(mask, class_names)
    head = ["column", *(["x_mm"] if scale else []), *(f"{name}_px" for name in found)]
    head += [f"{name}_um" for name in found] if scale else []
    with io.StringIO(newline="") as f:
        writer = csv.writer(f)
        writer.writerow(head)
        for column, values in enumerate(zip(*found.values(), strict=True)):
            row = [column, *([_number(column * scale.lateral / 1000)] if scale else []), *map(_number, values)]
            writer.writerow([*row, *(_number(v * scale.axial) for v in values)] if scale else row)
        return f.getvalue()


def profile_html(
    mask: np.ndarray,
    class_names: Sequence[str],
    scale: Scale | None = None,
    *,
    stem: str = "scan",
    truth: np.ndarray | None = None,
) -> str:
    """The plot of a mask's profiles: the whole retina above, the layers below, and the figures of one column.

    It is as wide as the scan is in the viewer, so that one column is at the same place in both.

    Args:
        mask: (H, W) uint8 class ids.
        class_names: one name per id.
        scale: the size of a pixel; without it the axes are in pixels.
        stem: what the CSV file is named after.
        truth: (H, W) uint8 class ids, the expert's: a dashed line of the class that is singled out.
    """
    height, width = mask.shape
    if width > MAX_COLUMNS:
        text = f"A scan of {width:,} columns is too wide for a plot, expected at most {MAX_COLUMNS:,}."
        return note_html("Thickness along the scan", text)
    found = profiles(mask, class_names)
    expert = {} if truth is None else profiles(truth, class_names)
    ids = {name: id for id, name in enumerate(class_names)}
    colours = class_colours(class_names)
    axial, unit = (scale.axial, "µm") if scale else (1, "px")
    layers = {name: line for name, line in found.items() if name != RETINA}
    whole = _plot({RETINA: found[RETINA]}, expert, ids, colours, axial, f"Retina, {unit}")
    below = _plot(layers, expert, ids, colours, axial, f"Layers, {unit}") if layers else ""
    figures = "".join(_figure(name, line * axial, ids.get(name), colours) for name, line in found.items())
    data = b64encode(profile_csv(mask, class_names, scale).encode()).decode()
    return f"""
<figure class="profile" aria-label="Thickness along the scan" data-width="{width}" data-axial="{axial:g}"
  data-lateral="{scale.lateral if scale else ""}" data-unit="{unit}" style="--w: {width}; --h: {height}">
  <div class="bar"><h2>Thickness along the scan</h2>
    <a download="{escape(stem)}-profile.csv" href="data:text/csv;base64,{data}">Profile (CSV)</a></div>
  <div class="plots">{whole}{below}{_across(width, scale)}
    <input class="column" type="range" min="0" max="{width - 1}" step="1" value="{width // 2}"
      aria-label="Column of the scan">
  </div>
  <figcaption><p class="at" data-rest="Mean where present, {unit}">Mean where present, {unit}</p>
    <dl>{figures}</dl></figcaption>
</figure>"""


def _plot(
    lines: dict[str, np.ndarray],
    expert: dict[str, np.ndarray],
    ids: dict[str, int],
    colours: np.ndarray,
    axial: float,
    title: str,
) -> str:
    """One pair of axes, `axial` units a pixel. The drawing is stretched to the page, the words on it are not."""
    width = len(next(iter(lines.values())))
    shown = [*lines.values(), *(expert[name] for name in lines if name in expert)]
    most = max((np.nanmax(line) for line in shown if np.isfinite(line).any()), default=0)
    steps = ticks(max(float(most), 1) * axial)
    top = max(float(most), 1) * axial * 1.08
    rules = "".join(f'<path class="rule" d="M0,{-step:g}H{width}"/>' for step in steps)
    drawn = []
    for name, line in lines.items():
        if not np.nansum(line) + np.nansum(expert.get(name, 0)):
            continue  # it would look like an axis
        id = ids.get(name)
        colour = "#f8fafc" if id is None else "rgb({} {} {})".format(*colours[id])
        paths = f'<path d="{path(line * axial)}"/>'
        if name in expert:
            paths += f'<path class="expert" d="{path(expert[name] * axial)}"/>'
        drawn.append(f'<g {"" if id is None else f"data-class={id}"} stroke="{colour}">{paths}</g>')
    words = "".join(f'<span class="tick" style="bottom: {step / top:.2%}">{step:g}</span>' for step in steps if step)
    box = f'viewBox="0 {-top:g} {width} {top:g}" preserveAspectRatio="none"'
    return f"""<div class="plot">
      <svg {box} aria-hidden="true">{rules}{"".join(drawn)}</svg>
      {words}<span class="title">{title}</span></div>"""


def path(line: np.ndarray) -> str:
    """(W,) float, a profile → an SVG path, up is negative; NaN is a gap. Along a level, only its ends are drawn."""
    parts, pen = [], "M"
    for column, value in enumerate(line):
        if np.isnan(value):
            pen = "M"
            continue
        before = line[column - 1] if column else np.nan
        after = line[column + 1] if column + 1 < len(line) else np.nan
        if not before == value == after:
            parts.append(f"{pen}{column + 0.5:g},{-value:.6g}")
            pen = "L"
    return "".join(parts)


def ticks(most: float) -> list[float]:
    """Round numbers from 0 to `most`, which is above 0: about TICKS steps of 1, 2 or 5 times a power of ten."""
    rough = most / TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = power * next(s for s in (1, 2, 5, 10) if s * power >= rough * 0.75)
    return [round(i * step, 10) for i in range(int(most / step) + 1)]


def _across(width: int, scale: Scale | None) -> str:
    """The axis along the scan: columns, or mm."""
    size, unit = (scale.lateral / 1000, "mm") if scale else (1, "px")
    words = "".join(
        f'<span style="left: {step / (width * size):.2%}">{step:g}</span>'
        for step in ticks(width * size)
        if 0.03 < step / (width * size) < 0.93
    )
    return f'<p class="across" aria-hidden="true">{words}<span class="unit">{unit}</span></p>'


def _figure(name: str, line: np.ndarray, id: int | None, colours: np.ndarray) -> str:
    """A profile's name and mean, which the browser replaces by the value of one column."""
    present = line[line > 0]  # as octhub.measure counts
    mean = f"{present.mean():.1f}" if present.size else "–"
    colour = "#f8fafc" if id is None else "rgb({} {} {})".format(*colours[id])
    tied = "" if id is None else f' data-class="{id}"'
    term = f'<dt><i style="background: {colour}"></i>{escape(name)}</dt>'
    return f'<div{tied}>{term}<dd data-rest="{mean}">{mean}</dd></div>'


def _number(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.6g}"
