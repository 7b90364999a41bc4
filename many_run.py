"""One run over many scans, step by step: what the demo's Many scans tab shows and its API answers; no Gradio here."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from octhub.batch import Answer, answer_all, intake
from octhub.mask_render import is_fluid
from octhub.measure import Scale
from octhub.predict import Classification, Classifier, Segmentation, Segmenter
from octhub.result_zip import TABLES, ResultZip
from octhub.results import decided

MAX_RESULT = 2_000_000_000
"""Bytes of the ZIP after which a run ends: it stays on the server's disk for half an hour."""

Ask = Callable[[np.ndarray, bool, bool], tuple[Classification | None, Segmentation | None]]
"""Pixels of a scan, (H, W) float32 in [0, 1], whether to classify, whether to segment → the answers."""


class NoAnswer(Exception):
    """Raised by an Ask: why neither this scan nor those after it can be answered. What there is till then is kept."""


@dataclass(frozen=True)
class Step:
    """Where a run is.

    Attributes:
        rows: the table so far, one row a scan.
        total: how many scans there are.
        now: the name of the scan at work; empty at the end.
        passed_over: how many other files were in the ZIPs.
        ended: why the run ended early; empty if it didn't.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    total: int = 0
    now: str = ""
    passed_over: int = 0
    ended: str = ""

    @property
    def bad(self) -> int:
        """How many scans could not be read."""
        return sum(bool(row["error"]) for row in self.rows)


@dataclass(frozen=True)
class Order:
    """What a visitor wants of their scans.

    Attributes:
        classifier, segmenter: the models to ask; None for not this one.
        scale: the size of the scans' pixels, if known.
    """

    classifier: Classifier | None
    segmenter: Segmenter | None
    scale: Scale | None = None

    @property
    def columns(self) -> list[str]:
        """Of the table: the label and every class's probability, what was decided about the scan (by the classifier if
        it was asked), and the area of every fluid."""
        found = ["label", *self.classifier.class_names] if self.classifier else []
        found += ["decision", "reason"]
        unit = "mm²" if self.scale else "px"
        found += [f"{name} ({unit})" for name in self.fluids]
        return ["file", *found, "error"]

    @property
    def fluids(self) -> list[str]:
        """The segmenter's classes that are."""
        names = self.segmenter.class_names if self.segmenter else ()
        return [name for name, fluid in zip(names, is_fluid(names), strict=True) if fluid]

    def row(self, answer: Answer) -> dict[str, Any]:
        """One scan's, by `columns`, and its file's hash; what there is no answer for is None, and no error is empty."""
        row: dict[str, Any] = dict.fromkeys(self.columns) | {"file": answer.name, "error": answer.error}
        row["input_sha256"] = answer.given and answer.given.sha256
        if not answer.error:
            row |= decided(answer.classification or answer)
        if answer.classification is not None:
            row["label"] = answer.classification.label
            row |= {name: round(p, 4) for name, p in answer.classification.probabilities.items()}
        for m in answer.areas:
            if m.name in self.fluids:
                row |= {f"{m.name} (mm²)": round(m.area_mm2, 4)} if self.scale else {f"{m.name} (px)": m.pixels}
        return row


def steps(files: Sequence[str], order: Order, ask: Ask, path: Path, stop: Callable[[], str]) -> Iterator[Step]:
    """Answer all scans and write the results. If the run is given up, or fails, nothing stays.

    Args:
        files: scans and ZIPs.
        path: where the ZIP of results goes; it is whole after the last step.
        stop: says, before each scan, why the run is to end; empty if it isn't.

    Raises:
        BatchError: no scans, or too many.
    """
    rows, ended, whole = [], "", False
    wanted = order.classifier is not None, order.segmenter is not None
    try:
        with intake(files, TABLES) as batch, ResultZip(path, order.classifier, order.segmenter, order.scale) as out:
            names = [item.name for item in batch.items]
            about = {"total": len(names), "passed_over": batch.passed_over}
            yield Step([], now=names[0], **about)
            answers = answer_all(batch.items, lambda scan: ask(scan, *wanted), out.keep, order.scale)
            try:
                while len(rows) < len(names):
                    if ended := stop() or _too_large(path):
                        break
                    out.tell(answer := next(answers))
                    rows.append(order.row(answer))
                    if len(rows) < len(names):
                        yield Step(list(rows), now=names[len(rows)], **about)
            except NoAnswer as e:
                ended = str(e)
        whole = True
        yield Step(rows, ended=ended, **about)
    finally:
        if not whole:
            path.unlink(missing_ok=True)


def _too_large(path: Path) -> str:
    size = path.stat().st_size
    return f"the results have {size / 1e9:.1f} GB, more than {MAX_RESULT / 1e9:g}" if size > MAX_RESULT else ""


def status_html(step: Step) -> str:
    """Where a run is, or how it ended."""
    done = len(step.rows)
    if step.now:
        return f"""<section class="figures status"><h2>Scan {done + 1} of {step.total}</h2>
<progress aria-label="Scans done" max="{step.total}" value="{done}"></progress><p>{escape(step.now)}</p></section>"""
    title = f"{done} of {step.total} scans" if step.ended else f"{done} {'scans' if done != 1 else 'scan'}"
    title += f", {step.bad} could not be read" if step.bad else ""
    notes = [f"It ended early: {step.ended}."] if step.ended else []
    if step.passed_over:
        plural = "s were" if step.passed_over > 1 else " was"
        notes.append(f"{step.passed_over} other file{plural} passed over in the ZIPs.")
    notes.append("The results are yours to download for the next 25 minutes, then they are deleted.")
    return f"""<section class="figures status" role="{"alert" if step.ended else "status"}"><h2>{title}</h2>
<p>{escape(" ".join(notes))}</p></section>"""


REGION = 'tabindex="0" role="region" aria-label="Answers"'
"""What scrolls has to be reached by the keyboard, too."""


def table_html(order: Order, step: Step) -> str:
    """The table so far. It ends with the last row, and the browser closes what is open: so the next step's only adds to
    it, and Gradio sends no more than that."""
    if not step.rows:
        return ""
    classes = order.classifier.class_names if order.classifier else ()
    areas = [name for name in order.columns[1:-1] if name not in ("label", "decision", "reason", *classes)]
    heads = [("File", ""), *[("Label", "label")] * bool(classes), *((name, "share") for name in classes)]
    heads += [(name.capitalize(), "") for name in areas]
    head = "".join(f'<th scope="col" class="{kind}">{escape(name)}</th>' for name, kind in heads)
    rows = "".join(_row_html(row, classes, areas, len(heads)) for row in step.rows)
    return (
        f'<section class="figures many"><div class="scroll" {REGION}><table><thead><tr>{head}</tr></thead><tbody>{rows}'
    )


def _row_html(row: dict[str, Any], classes: Sequence[str], areas: Sequence[str], width: int) -> str:
    doubt = f"<b>{escape(row['decision'])}:</b> {escape(row['reason'])}" if row["reason"] else ""
    name = f'<tr><th scope="row">{escape(row["file"])}{f"<p class=doubt>{doubt}</p>" if doubt else ""}</th>'
    if row["error"]:
        why = row["error"].removeprefix(f"{row['file']}: ")
        return f'{name}<td class="error" colspan="{max(width - 1, 1)}">{escape(why)}</td></tr>'
    cells = ""
    if classes:  # on a narrow screen only the label's share is shown, beside it
        share = f"<small>{row[row['label']]:.1%}</small>"
        cells = f'<td class="label">{escape(row["label"])} {share}</td>'
        cells += "".join(f'<td class="share">{row[name]:.1%}</td>' for name in classes)
    return name + cells + "".join(f"<td>{row[name]:,}</td>" for name in areas) + "</tr>"
