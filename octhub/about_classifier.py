"""What the About page says of a classifier: every figure is read from the records of the checkpoint that is served.

A further table is one more function, from Served to HTML, in CLASSIFIER.
"""

from octhub.about_parts import Part, audit, evaluations, is_external, minutes, record, remarks, where
from octhub.dot_plot import Mark, dot_plot
from octhub.markup import Html, bullets, count, decimal, key_figures, listed, paragraph, percent, table
from octhub.served import TRAINING, Served


def intro(model: Served) -> Html:
    names = listed(model.serving.class_names, "or")
    return paragraph(
        f"{model.architecture} is a small convolutional network with {count(model.parameters)} parameters. It calls a "
        f"B-scan {names}, gives every class a probability, and shows where the evidence was (Grad-CAM)."
    )


def key_numbers(model: Served) -> Html:
    figures = []
    for key, e in evaluations(model).items():
        low, high = e["accuracy_interval_95"]
        what = f"Accuracy, {'external: ' if is_external(model, key) else ''}{e['data']}"
        remark = f"95 % interval {percent(low, 1)} to {percent(high, 1)}; {e['n']} scans of {e['patients']} patients"
        figures.append((what, percent(e["accuracy"]), remark))
    return key_figures(figures)


def measured(model: Served) -> Html:
    found = evaluations(model)
    rows = [
        [
            where(e),
            count(e["n"]),
            count(e["patients"]),
            percent(e["accuracy"]),
            f"{percent(e['accuracy_interval_95'][0], 1)} to {percent(e['accuracy_interval_95'][1], 1)}",
            decimal(e["macro_auroc"], 4),
            decimal(e["macro_f1"], 4),
        ]
        for e in found.values()
    ]
    heads = ["Test set", "Scans", "Patients", "Accuracy", "95 % interval", "Macro AUROC", "Macro F1"]
    plot = dot_plot(
        "Accuracy with its 95 % interval",
        [(e["data"].split(" (")[0], [Mark(e["accuracy"], tuple(e["accuracy_interval_95"]))]) for e in found.values()],
        percent=True,
    )
    notes = [*remarks(model), "The interval (Wilson) covers chance alone, not other hospitals or devices."]
    return Html(f'<div class="beside">{plot}{bullets(notes)}</div>{table("Answers that were right", heads, rows)}')


def classes(model: Served) -> Html:
    heads = ["Class", "Scans", "Sensitivity", "Specificity", "F1", "AUROC"]
    return Html(
        "".join(
            table(
                where(e),
                heads,
                [
                    [
                        name,
                        count(c["n"]),
                        percent(c["sensitivity"]),
                        percent(c["specificity"]),
                        decimal(c["f1"], 4),
                        decimal(c["auroc"], 4),
                    ]
                    for name, c in e["per_class"].items()
                ],
            )
            for e in evaluations(model).values()
        )
    )


def confusions(model: Served) -> Html:
    """Rows are the truth; a cell is the darker the larger its share of the row."""
    names = model.serving.class_names
    tables = []
    for e in evaluations(model).values():
        rows = []
        for name, row in zip(names, e["confusion_matrix"], strict=True):
            total = sum(row)
            if total:
                rows.append([name, *(_shaded(n, n / total) for n in row)])
        tables.append(table(f"{where(e)}: graded (rows), answered (columns)", ["Graded", *names], rows))
    return Html(f'<div class="beside">{"".join(tables)}</div>')


def _shaded(n: int, share: float) -> Html:
    return Html(f'<span class="share" style="--share: {share:.3f}">{n:d}</span>')


def calibration(model: Served) -> Html:
    found = evaluations(model)
    errors = listed([f"{percent(e['expected_calibration_error'])} on {where(e)}" for e in found.values()])
    text = (
        f"How far the probabilities are from how often they are right: the expected calibration error is {errors}. "
        f"They are a softmax over logits divided by one temperature, {model.serving.temperature:g}, fitted on "
        "validation patients (Guo et al. 2017). On another device, trust them less."
    )
    return paragraph(text)


def trained(model: Served) -> Html:
    training = record(model, TRAINING)
    counts, val = training["train"]["counts"], training["val"]
    by_class = listed([f"{name} {count(n)}" for name, n in counts.items()])
    scans = sum(val["counts"].values())
    return paragraph(
        f"Trained on {count(sum(counts.values()))} scans ({by_class}). {count(scans)} scans of other patients "
        f"chose the weights and the temperature; the accuracy on them is {percent(val['metrics']['accuracy'])}. "
        f"{training['recipe']['epochs']} epochs, {minutes(training['seconds'])} on {training['hardware']}."
    )


def limits(model: Served) -> Html:
    return bullets(
        [
            f"It knows {len(model.serving.class_names)} answers. A scan of another disease, another organ or no scan "
            "at all gets one of them, too.",
            "It was not taught volumes: it sees one B-scan at a time, and a scan beside the lesion looks normal.",
            "One scan gets one label, however many findings it has.",
            "Expect it to be worse on devices and in hospitals that it has no scans of. Age, sex and ethnicity of the "
            "patients aren’t published with the scans, so bias between groups can’t be measured.",
            "Grad-CAM shows coarsely where the evidence for a class was; it draws no border and measures nothing.",
        ]
    )


CLASSIFIER: tuple[tuple[str, Part], ...] = (
    ("", intro),
    ("", key_numbers),
    ("Measured", measured),
    ("By class", classes),
    ("Mix-ups", confusions),
    ("Calibration", calibration),
    ("Training", trained),
    ("Leak audit", audit),
    ("Limits", limits),
)
"""What is said, in this order."""
