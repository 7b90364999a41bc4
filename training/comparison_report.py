"""What a comparison of segmenters found: comparison.json, a table in Markdown, and two pictures."""

import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from training.comparison_tables import tables
from training.corrupt import CORRUPTIONS

MARKS = {0: ("#0072B2", "o"), 1: ("#D55E00", "s"), 2: ("#009E73", "^")}
"""Colour (Okabe and Ito 2008) and marker of each model, so that shape alone tells them apart, too."""


def write_report(figures: dict, out: Path) -> None:
    """Write the figures of training.compare and what people read under `out`; print the tables."""
    (out / "comparison.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    text = "\n\n".join(tables(figures).values()) + "\n"
    (out / "comparison.md").write_text(text, encoding="utf-8")
    plot_classes(figures, out / "comparison-classes.png")
    plot_noise(figures, out / "comparison-noise.png")
    print(text)


def plot_classes(figures: dict, path: Path) -> None:
    """IoU of each class and model, with the spread over the seeds, beside the second grader's, as a PNG."""
    models, human = figures["models"], figures["human"]
    classes = list(next(iter(models.values()))["iou"])
    figure, axis = plt.subplots(figsize=(9, 3.6), layout="constrained")
    for i, (name, m) in enumerate(models.items()):
        colour, marker = MARKS[i]
        x = [j + (i - 1) * 0.18 for j in range(len(classes))]
        means, spreads = (np.array([m["iou"][c][k] for c in classes], float) for k in ("mean", "sd"))
        axis.errorbar(x, means, np.nan_to_num(spreads), fmt=marker, color=colour, label=name)
    if human:
        values = np.array([human["per_class"][c]["iou"] for c in classes], float)
        starts, ends = zip(*((j - 0.3, j + 0.3) for j in range(len(classes))), strict=True)
        axis.hlines(values, starts, ends, color="black", label="second grader")
    axis.set_xticks(range(len(classes)), classes, rotation=20)
    axis.set(ylabel="IoU", ylim=(None, 1.01))
    axis.grid(axis="y", alpha=0.3)
    axis.legend(ncols=4, loc="upper center", bbox_to_anchor=(0.5, 1.14), frameon=False)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def plot_noise(figures: dict, path: Path) -> None:
    """mIoU against the strength of each noise, one curve a model, as a PNG."""
    figure, axes = plt.subplots(1, len(CORRUPTIONS), figsize=(13, 3), sharey=True, layout="constrained")
    for axis, (kind, (_, strengths, unit)) in zip(axes, CORRUPTIONS.items(), strict=True):
        for i, (name, m) in enumerate(figures["models"].items()):
            colour, marker = MARKS[i]
            axis.plot(
                range(len(strengths) + 1),
                np.array(m["noise"][kind], float),
                color=colour,
                marker=marker,
                label=name,
            )
        axis.set_xticks(range(len(strengths) + 1), ["none", *(f"{s:g}" for s in strengths)])
        axis.set(title=kind, xlabel=unit)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("mIoU")
    axes[0].legend(loc="lower left")
    figure.savefig(path, dpi=110)
    plt.close(figure)
