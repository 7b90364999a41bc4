"""Pictures of a training: curves and a confusion matrix."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt


def plot_history(history: list[dict[str, float]], path: Path) -> None:
    """Loss and accuracy of training and, if there was one, validation by epoch, as a PNG."""
    epochs = [row["epoch"] for row in history]
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    for axis, name in zip(axes, ("loss", "accuracy"), strict=True):
        axis.plot(epochs, [row[name] for row in history], label="training (augmented)")
        if f"val_{name}" in history[0]:
            axis.plot(epochs, [row[f"val_{name}"] for row in history], label="validation")
        axis.set(xlabel="epoch", ylabel=name)
        axis.grid(alpha=0.3)
        axis.legend()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def plot_confusion(matrix: Sequence[Sequence[int]], class_names: Sequence[str], path: Path, title: str = "") -> None:
    """A confusion matrix, rows the truth, columns the answer, coloured by the row's share, as a PNG."""
    shares = [[n / max(sum(row), 1) for n in row] for row in matrix]
    figure, axis = plt.subplots(figsize=(4.2, 3.8), layout="constrained")
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    ticks = range(len(class_names))
    axis.set_xticks(ticks, class_names)
    axis.set_yticks(ticks, class_names)
    axis.set(xlabel="answer", ylabel="truth", title=title)
    for i, row in enumerate(matrix):
        for j, n in enumerate(row):
            axis.text(j, i, n, ha="center", va="center", color="white" if shares[i][j] > 0.5 else "black")
    figure.savefig(path, dpi=110)
    plt.close(figure)
