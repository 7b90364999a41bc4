"""What the About page says of a segmenter: every figure is read from the records of the checkpoint that is served.

A further table is one more function, from Served to HTML, in SEGMENTER.
"""

from octhub.about_decision import kinds
from octhub.about_parts import Part, audit, evaluations, minutes, record, remarks, where
from octhub.dot_plot import Mark, dot_plot
from octhub.markup import Html, bullets, count, decimal, key_figures, listed, paragraph, table
from octhub.served import COMPARISON, TRAINING, Served


def intro(model: Served) -> Html:
    names = model.serving.class_names
    return paragraph(
        f"{model.architecture} is a U-Net with {count(model.parameters)} parameters. It gives every pixel of a B-scan "
        f"one of {len(names)} classes: {listed(names)}. Their areas and thicknesses are measured on its answer."
    )


def key_numbers(model: Served) -> Html:
    figures = []
    for e in evaluations(model).values():
        people = _people(e)
        figures.append((f"mIoU, {e['data']}", decimal(e["miou"]), f"{e['n']} scans of {people} that it never saw"))
        if human := e.get("human"):
            figures.append(("A second grader’s mIoU", decimal(human["miou"]), "against the first, on the same scans"))
    return key_figures(figures)


def measured(model: Served) -> Html:
    rows = []
    for e in evaluations(model).values():
        rows.append(_row(where(e), e))
        if human := e.get("human"):
            rows.append(_row("… a second grader", human))
    heads = ["Test set", "Scans", "Subjects", "mIoU", "Subjects’ range", "Pixel accuracy"]
    notes = [
        "IoU is the overlap of two outlines, as a share of what either covers; mIoU is its mean over the classes that "
        "are there.",
        "The second grader is a person who outlined the same scans: how far experts agree is the human line.",
        "The subjects differ from one another, so that other subjects would give other figures.",
        *remarks(model),
    ]
    return Html(table("Answers against an expert’s outlines", heads, rows) + bullets(notes))


def _row(name: str, e: dict) -> list[str | None]:
    spread = (e.get("spread") or {}).get("miou")
    between = f"{decimal(spread['min'])} to {decimal(spread['max'])}" if spread and e["subjects"] > 1 else None
    return [name, count(e["n"]), count(e["subjects"]), decimal(e["miou"]), between, decimal(e["pixel_accuracy"])]


def classes(model: Served) -> Html:
    tables = []
    for e in evaluations(model).values():
        human = (e.get("human") or {}).get("per_class", {})
        legend = ["the model", "a second grader"] if human else ["the model"]
        found = {name: c for name, c in e["per_class"].items() if c["iou"] is not None}
        marks = [
            (name, [Mark(c["iou"]), Mark(human[name]["iou"], other=True) if name in human else None])
            for name, c in found.items()
        ]
        heads = ["Class", "IoU", *(["Second grader"] if human else []), "Dice", "Scans with it"]
        rows = [
            [
                name,
                decimal(c["iou"]),
                *([decimal(human[name]["iou"])] if human else []),
                decimal(c["dice"]),
                count(c["scans"]),
            ]
            for name, c in e["per_class"].items()
        ]
        plot = dot_plot(f"IoU by class: {where(e)}", marks, legend)
        tables.append(f'<div class="beside">{plot}{table(where(e), heads, rows)}</div>')
    return Html("".join(tables))


def subjects(model: Served) -> Html:
    tables = []
    for e in evaluations(model).values():
        if len(people := e.get("per_subject", {})) < 2:
            continue
        human = (e.get("human") or {}).get("per_subject", {})
        marks = [
            (name, [Mark(s["miou"]), Mark(human[name]["miou"], other=True) if name in human else None])
            for name, s in people.items()
        ]
        legend = ["the model", "a second grader"] if human else ["the model"]
        heads = ["Subject", "Scans", "mIoU", *(["Second grader"] if human else []), "Pixel accuracy"]
        rows = [
            [
                name,
                count(s["n"]),
                decimal(s["miou"]),
                *([decimal(human[name]["miou"])] if human else []),
                decimal(s["pixel_accuracy"]),
            ]
            for name, s in people.items()
        ]
        plot = dot_plot(f"mIoU by subject: {where(e)}", marks, legend)
        tables.append(f'<div class="beside">{plot}{table(where(e), heads, rows)}</div>')
    return Html("".join(tables))


def calibration(model: Served) -> Html:
    return paragraph(
        "The answer is a class for every pixel, not a probability: no calibration was measured, and none is claimed."
    )


def trained(model: Served) -> Html:
    training = record(model, TRAINING)
    recipe, seconds = training["recipe"], training["seconds"]
    side, extra = training["train"], training.get("extra_scans")
    more = f", and on {count(extra['scans'])} more scans (see the data below)" if extra else ""
    return paragraph(
        f"Trained on {count(side['scans'])} scans of {len(side['subjects'])} subjects{more}. Splits are by "
        f"subject. The encoder started from {recipe['encoder']}. {recipe['epochs']} epochs, "
        f"{minutes(seconds)} on {training['hardware']}, the earlier stages not counted."
    )


def comparison(model: Served) -> Html:
    """Networks that were trained alike; left out where nobody compared any."""
    if COMPARISON not in model.records and model.absent.get(COMPARISON, "").startswith("not in this"):
        return Html("")
    found = record(model, COMPARISON)
    rows = [
        [
            name,
            decimal(m["miou"]["mean"]),
            decimal(m["pixel_accuracy"]["mean"]),
            f"{m['parameters'] / 1e6:.1f} M",
            decimal(m["speed"]["seconds"]),
        ]
        for name, m in found["models"].items()
    ]
    if human := found.get("human"):
        rows.append(["second grader", decimal(human["miou"]), decimal(human["pixel_accuracy"]), None, None])
    heads = ["Network", "mIoU", "Pixel accuracy", "Parameters", "Seconds a scan"]
    seeds = len(found["seeds"])
    note = (
        "Trained alike, but for UNet’s loss, which is that of all its score maps, and for this comparison alone: the "
        f"checkpoint that is served is another training. {seeds} "
        f"{'seed' if seeds == 1 else 'seeds'} each, so small differences mean nothing. Seconds are on "
        f"{found['hardware']}."
    )
    return Html(table("Networks compared, on the same test scans", heads, rows) + paragraph(note, "note"))


def limits(model: Served) -> Html:
    return bullets(
        [
            "Every pixel gets one of the classes. What was not taught is called by the nearest name.",
            "Expect less on other people, other devices and other diseases than the masks that trained it are of.",
            "Where a border can’t be seen, experts differ, and so does the model.",
            "Areas and thicknesses are pixels along the scan’s columns unless the scale of the device is given.",
        ]
    )


def _people(e: dict) -> str:
    return f"{e['subjects']} {'subject' if e['subjects'] == 1 else 'subjects'}"


SEGMENTER: tuple[tuple[str, Part], ...] = (
    ("", intro),
    ("", key_numbers),
    ("Measured", measured),
    ("By class", classes),
    ("By subject", subjects),
    ("Compared", comparison),
    ("Calibration", calibration),
    ("No B-scan", kinds),
    ("Training", trained),
    ("Leak audit", audit),
    ("Limits", limits),
)
"""What is said, in this order."""
