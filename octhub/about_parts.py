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


REMARKS = {
    "79647ae04252": "Only its DME and normal scans have a label that the model knows. Recipes were chosen with help "
    "of these scans, so the figure is on the optimistic side; none of them trained anything.",
    "80f8c0425dce": "They are a patient-disjoint re-split of a sample of the release, not its official test split: "
    "figures of that one can’t be compared with these directly.",
    "2449440b9e81": "These subjects were looked at more than once while the recipe grew; the card says when.",
    "840dde0d9697": "Its ISE and OS-RPE are drawn by another convention than what was taught, so they can’t agree.",
}
"""By the first digits of a test split's sha256: what must be said beside any figure that was measured on it."""


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


def remarks(model: Served) -> list[str]:
    """What is to be known of the test sets: which are external, and REMARKS."""
    said = []
    for key, e in evaluations(model).items():
        external = "external validation, no scan of this data set trained the model. " * bool(is_external(model, key))
        if text := external + REMARKS.get(e["split_sha256"][:12], ""):
            said.append(f"{where(e)}: {text}")
    return said


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
    caption = f"Against the {count(found['scans'])} scans that trained the model or chose its weights"
    return table(caption, ["Test set", "Shared patients", "Identical scans", "Near-duplicates"], rows)


def minutes(seconds: float) -> str:
    """1985.1 → "33 minutes"."""
    return f"{seconds / 60:.0f} minutes"
