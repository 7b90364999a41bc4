"""What the About page says of when a model doesn't answer, from the record that training.measure_decision writes."""

from octhub.about_parts import Absent, record
from octhub.markup import Html, bullets, count, decimal, listed, percent, table
from octhub.served import DECISION, Served

GROUPS = {
    "no_bscan": "No OCT B-scans",
    "other_diseases": "Other diseases",
    "other_diseases_same_device": "Other diseases, against their own device’s scans",
}
"""What the scores were to tell from usual scans, by the record's names."""


def kinds(model: Served) -> Html:
    """Which kinds of images aren't taken for B-scans."""
    if model.serving.bscan is None:
        return Html("")
    found = record(model, DECISION)["bscan"]
    if found["limit"] != model.serving.bscan.limit:
        raise Absent(f"{DECISION} is of another limit than what is served")
    heads = ["Kind", "Images", "AUROC", "Refused"]
    rows = [[k["kind"], count(k["images"]), decimal(k["auroc"]), percent(k["refused"], 1)] for k in found["kinds"]]
    spoilt = listed([f"{row['what']} {percent(row['refused'], 1)}" for row in found["spoilt"]])
    notes = [
        f"An image counts as a B-scan if {len(model.serving.bscan.names)} statistics of it are no further from those "
        f"of {count(found['reference']['scans'])} scans than {found['limit']:g} (Mahalanobis distance).",
        "The images are few of each kind, so rarer sorts may pass.",
        f"How many true scans are refused once they are spoilt: {spoilt}.",
    ]
    return Html(table("Images that are no OCT B-scans", heads, rows) + bullets(notes))


def abstentions(model: Served) -> Html:
    """How well strange scans can be told, and how many scans of each set get no answer."""
    if model.serving.unsure is None:
        return Html("")
    found = record(model, DECISION)
    rule = model.serving.unsure
    if (found["unsure"]["probability"], found["unsure"]["novelty"]) != (rule.probability, rule.novelty):
        raise Absent(f"{DECISION} is of other limits than what is served")
    usual = found["counts"]
    heads = ["Score", *(f"{what} ({usual[k]['strange']} / {usual[k]['usual']})" for k, what in GROUPS.items())]
    rows = [[row["score"], *(decimal(row[k]) for k in GROUPS)] for row in found["compared"]]
    scores = table("AUROC of the scores that were compared (strange / usual scans)", heads, rows, wide=True)
    heads = ["Scans of", "Scans", "Patients", "No B-scan", "Unsure", "No answer"]
    rows = [
        [r["scans_of"], count(r["scans"]), count(r["patients"]), *(percent(r[k], 1) for k in REFUSALS)]
        for r in found["refused"]
    ]
    note = (
        "It is unsure below a least probability, and for scans whose features are far from those of all "
        f"{count(found['unsure']['remembered'])} training scans that it remembers. "
        "Another device’s scans are far, too: much of what tells OCTDL’s other diseases from OCT2017 is the device."
    )
    return Html(scores + table("Scans that get no answer", heads, rows, wide=True) + bullets([note]))


REFUSALS = ("not_bscan", "unsure", "all")
