"""The demo's tables of one mask: what was measured and, beside an expert's mask, how good it is; as HTML and CSV."""

import base64
import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from html import escape

from octhub.decision import NOT_BSCAN, UNSURE
from octhub.measure import Measurement, Scale
from octhub.metrics import SegmentationScore

NONE = "–"
"""What stands for a figure that doesn't exist."""


KINDS = {"png": "image/png", "csv": "text/csv", "json": "application/json"}
"""Media types of what can be saved, by the end of the name."""


def csv_text(
    measurements: Sequence[Measurement], score: SegmentationScore | None = None, last: dict[str, str] | None = None
) -> str:
    """One line per class: everything measured and, with a score, its IoU and Dice. What doesn't exist is empty.

    Args:
        last: what every line ends with, by column (see octhub.results.decided and octhub.provenance.columns).
    """
    figures = None if score is None else score.as_dict()
    rows = []
    for id, measurement in enumerate(measurements):
        row = asdict(measurement)
        row = {"class": row.pop("name"), "id": id} | row
        if figures is not None:
            row |= {key: figures[key][measurement.name] for key in ("iou", "dice")}
        rows.append({key: f"{v:.6g}" if isinstance(v, float) else v for key, v in row.items()} | (last or {}))
    with io.StringIO(newline="") as f:
        writer = csv.DictWriter(f, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
        return f.getvalue()


def areas_html(
    measurements: Sequence[Measurement], scale: Scale | None, downloads: dict[str, tuple[str, bytes]], problem: str = ""
) -> str:
    """The table of areas.

    Args:
        measurements: one per class, with mm² and µm where there is a scale.
        scale: the size of a pixel.
        downloads: what can be saved: link text → (file name, bytes). They travel with the page and are on no disk.
        problem: what is wrong with the scale that was given.
    """
    scaled = scale is not None
    head = ["Class", "Pixels", "Share", "Thickness"]
    head += ["Area", "Thickness"] if scaled else []
    head += ["Regions"]
    units = ["", "", "", "mean, px", *(["mm²", "mean, µm"] if scaled else []), ""]
    titles = "".join(
        f'<th scope="col">{h}{f" <small>{u}</small>" if u else ""}</th>' for h, u in zip(head, units, strict=True)
    )
    rows = "".join(_area_row(id, m, scaled) for id, m in enumerate(measurements))
    links = "".join(link_html(text, *file) for text, file in downloads.items())
    if problem:
        note = f'<p class="note" role="alert">{escape(problem)}</p>'
    elif scaled:
        note = f'<p class="note">At {scale.axial:g} µm (axial) × {scale.lateral:g} µm (lateral) per pixel.</p>'
    else:
        note = '<p class="note">In pixels. For mm² and µm, give the size of a pixel above.</p>'
    return f"""
<section class="figures areas"><h2>Areas</h2><p class="links">{links}</p>
<div class="scroll"><table><thead><tr>{titles}</tr></thead><tbody>{rows}</tbody></table></div>
{note}</section>"""


def _area_row(id: int, m: Measurement, scaled: bool) -> str:
    figures = [f"{m.pixels:,}", _or_none(m.share, ".1%"), _or_none(m.thickness_px_mean, ".1f")]
    if scaled:
        figures += [_or_none(m.area_mm2, ".3f"), _or_none(m.thickness_um_mean, ".1f")]
    figures += [str(m.regions) if m.pixels else NONE]
    return _row(id, m.name, figures)


def score_html(score: SegmentationScore, name: str) -> str:
    """How well the answer agrees with the expert's mask in the file `name`."""
    figures = score.as_dict()
    absent = len(score.class_names) - score.classes_counted
    left_out = f" {NONE} is in neither mask and left out of the mean." if absent else ""
    rows = "".join(
        _row(id, n, [_or_none(figures["iou"][n], ".3f"), _or_none(figures["dice"][n], ".3f")])
        for id, n in enumerate(score.class_names)
    )
    return f"""
<section class="figures scores"><h2>Compared with the expert</h2>
<p class="note">Mask {escape(name)}</p>
<dl><div><dt>mIoU</dt><dd>{_or_none(figures["miou"], ".3f")}</dd></div>
<div><dt>Pixel accuracy</dt><dd>{_or_none(figures["pixel_accuracy"], ".1%")}</dd></div></dl>
<table><thead><tr><th scope="col">Class</th><th scope="col">IoU</th><th scope="col">Dice</th></tr></thead>
<tbody>{rows}</tbody></table>
<p class="note">The mean is over {score.classes_counted} of {len(score.class_names)} classes.{left_out}</p></section>"""


def note_html(title: str, text: str, role: str = "status") -> str:
    """Where the score would be: what to do for one, or what is wrong with the mask (role "alert")."""
    return f'<section class="figures remark" role="{role}"><h2>{escape(title)}</h2><p>{escape(text)}</p></section>'


DOUBTS = {UNSURE: "Unsure", NOT_BSCAN: "This does not look like an OCT B-scan"}
"""Decision → what the page calls it."""


def doubt_html(decision: str, reason: str) -> str:
    """Why an answer isn't to be relied on; "" where there is no doubt."""
    if not reason:
        return ""
    title, text = escape(DOUBTS.get(decision, decision)), escape(reason[:1].upper() + reason[1:])
    return f'<section class="figures doubt" role="alert"><h2>{title}</h2><p>{text}.</p></section>'


def _row(id: int, name: str, figures: Sequence[str]) -> str:
    cells = "".join(f"<td>{f}</td>" for f in figures)
    return f'<tr data-class="{id}"><th scope="row">{escape(name)}</th>{cells}</tr>'


def _or_none(value: float | None, form: str) -> str:
    return NONE if value is None else format(value, form)


def record_json(record: dict) -> bytes:
    """An answer and what it came from, as a file."""
    return json.dumps(record, indent=2, ensure_ascii=False).encode() + b"\n"


def link_html(text: str, name: str, data: bytes) -> str:
    """A link that saves a file. It travels with the page and is on no disk."""
    kind = KINDS[name.rpartition(".")[2]]
    uri = f"data:{kind};base64,{base64.b64encode(data).decode()}"
    return f'<a download="{escape(name)}" href="{uri}">{escape(text)}</a>'
