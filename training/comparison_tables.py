"""The tables of a comparison of segmenters, in Markdown, from its comparison.json."""


def tables(figures: dict) -> dict[str, str]:
    """ "models", "classes" and "noise": the tables in Markdown."""
    return {"models": model_table(figures), "classes": class_table(figures), "noise": noise_table(figures)}


def model_table(figures: dict) -> str:
    """mIoU, accuracy, size and speed of each model, and the human line."""
    first = next(iter(figures["models"]))
    rows = [
        f"| | mIoU | pixel accuracy | parameters | seconds a scan | relative to {first} | training |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, m in figures["models"].items():
        speed = m["speed"]
        rows.append(
            f"| {name} | {_spread(m['miou'])} | {_spread(m['pixel_accuracy'])} | {m['parameters'] / 1e6:.1f} M "
            f"| {speed['seconds']:.3f} | {speed['ratio']:.2f} | {m['training_seconds'] / 60:.0f} min |"
        )
    if human := figures["human"]:
        rows.append(f"| second grader | {_four(human['miou'])} | {_four(human['pixel_accuracy'])} | | | | |")
    return "\n".join(rows)


def class_table(figures: dict) -> str:
    """IoU of each class."""
    models, human = figures["models"], figures["human"]
    header = ["class", *models, *(["second grader"] if human else [])]
    rows = [f"| {' | '.join(header)} |", "|---" * len(header) + "|"]
    for name in next(iter(models.values()))["iou"]:
        cells = [_spread(m["iou"][name]) for m in models.values()]
        rows.append(f"| {name} | {' | '.join(cells + ([_four(human['per_class'][name]['iou'])] if human else []))} |")
    return "\n".join(rows)


def noise_table(figures: dict) -> str:
    """mIoU without noise, then under each, from weak to strong."""
    models = figures["models"]
    rows = [f"| noise | strength | {' | '.join(models)} |", "|---" * (2 + len(models)) + "|"]
    for kind, noise in figures["noise"].items():
        for level, strength in enumerate(("", *noise["strengths"])):
            cells = " | ".join(_four(m["noise"][kind][level]) for m in models.values())
            if level:
                rows.append(f"| {kind} ({noise['unit']}) | {strength:g} | {cells} |")
            elif len(rows) == 2:
                rows.append(f"| none | | {cells} |")
    return "\n".join(rows)


def _spread(row: dict) -> str:
    return _four(row["mean"]) + ("" if row["sd"] is None else f" ± {_four(row['sd'])}")


def _four(figure: float | None) -> str:
    return "–" if figure is None else f"{figure:.4f}"
