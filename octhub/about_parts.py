"""How the About page says something of a model: by parts, each of which may lack its record."""

from collections.abc import Callable, Sequence
from html import escape

from octhub.markup import Html, bullets, count, paragraph, table
from octhub.served import METRICS, Served

Part = Callable[[Served], Html]
"""From a model to HTML; empty where there is nothing to say. It may raise Absent, and whatever a record that isn't as
octhub writes them gives rise to."""

ODD = (KeyError, TypeError, ValueError, AttributeError, IndexError, ArithmeticError)
"""What such a record gives rise to."""


class Absent(Exception):
    """A record that isn't there; the message says why."""


def record(model: Served, name: str) -> dict:
    """Raises Absent."""
    if name not in model.records:
        raise Absent(f"{name} is {model.absent.get(name, 'not there')}")
    return model.records[name]


def model_html(model: Served, title: str, parts: Sequence[tuple[str, Part]]) -> Html:
    """A model's section: each part under its heading, or why it can't be shown. Nothing here raises for a record.

    Args:
        parts: (heading, part); a part without a heading stands alone, and one that gives "" is left out.
    """
    shown, missing = [], []
    for heading, part in parts:
        try:
            content = part(model)
        except Absent as e:
            missing.append(str(e))
            continue
        except ODD as e:
            missing.append(f"{heading or 'a part'}: the records aren't as octhub writes them ({type(e).__name__} {e})")
            continue
        if content:
            shown.append(f"<h3>{escape(heading)}</h3>{content}" if heading else content)
    if missing:
        reasons = bullets(list(dict.fromkeys(missing)))
        shown.insert(0, f'<div class="missing" role="note"><p>Some figures aren’t here:</p>{reasons}</div>')
    return Html(f"<section><h2>{escape(title)} <small>{escape(model.name)}</small></h2>{''.join(shown)}</section>")


def evaluations(model: Served) -> dict[str, dict]:
    """By key, those on data sets that trained nothing after the rest."""
    found = record(model, METRICS)["evaluations"]
    return dict(sorted(found.items(), key=lambda item: bool(is_external(model, item[0]))))


def is_external(model: Served, key: str) -> bool | None:
    """Whether an evaluation is on a data set of which no scan trained the model; None where no audit tells."""
    audit = record(model, METRICS).get("audit")
    if not audit or key not in audit["tests"]:
        return None
    return audit["tests"][key]["data"] not in {part["data"] for part in audit["sets"]}


def where(e: dict) -> str:
    """An evaluation's data and split."""
    return f"{e['data']}, {e['split']}"


def audit(model: Served) -> Html:
    """What the search for shared patients and scans has found."""
    metrics = record(model, METRICS)
    if not (found := metrics.get("audit")):
        return paragraph("No leak audit was recorded for these weights.")
    rows = []
    for key, e in evaluations(model).items():
        seen = found["tests"].get(key)
        ours = seen is not None and seen["sha256"] == e["split_sha256"]
        figures = [seen["shared_patients"], seen["identical"], seen["near_duplicates"]] if ours else ["not audited"] * 3
        rows.append([where(e), *figures])
    caption = f"Leak audit against the {count(found['scans'])} scans that trained the model or chose its weights"
    return table(caption, ["Test set", "Shared patients", "Identical scans", "Near-duplicates"], rows)


def minutes(seconds: float) -> str:
    """1985.1 → "33 minutes"."""
    return f"{seconds / 60:.0f} minutes"
