"""Charts of a run's results."""

import io
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pipeline.escaping import MESSAGE, for_figure

INK, RULE = "#202428", "#d8dce0"
SERIES = ("#c2410c", "#1d4ed8", "#15803d", "#7c3aed")


def png(figure: Figure) -> bytes:
    """Return a figure as a picture, in the bytes of a PNG file."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=120, bbox_inches="tight")
    return content.getvalue()


def curves(history: Sequence[Mapping[str, float]], title: str) -> Figure:
    """Plot loss and accuracy in training and validation over the epochs.

    Args:
        history: one mapping per epoch, with `train/loss`, `val/loss`, `train/top1`, `val/top1` (shares) and `lr`.
        title: title of the figure.
    """
    figure = Figure(figsize=(9, 3.4))
    epochs, lower = np.arange(1, len(history) + 1), _lower_rates(history)
    for place, (what, label) in enumerate((("loss", "cross-entropy"), ("top1", "top-1, %")), start=1):
        axes = figure.add_subplot(1, 2, place)
        scale = 100 if what == "top1" else 1
        for color, part in zip(SERIES, ("train", "val"), strict=False):
            values = [scale * row[f"{part}/{what}"] for row in history]
            axes.plot(epochs, values, color=color, marker="o", markersize=3, label=part)
        for epoch in lower:
            axes.axvline(epoch + 0.5, color=RULE, zorder=0)
        axes.set_xlabel("epoch (lines: learning rate lowered)" if lower else "epoch")
        axes.set_ylabel(label)
        axes.legend(frameon=False)
        plain(axes)
    figure.suptitle(for_figure(title, MESSAGE), color=INK)
    figure.tight_layout()
    return figure


def confusion(matrix: NDArray[np.int64], labels: Sequence[str], title: str) -> Figure:
    """Plot a confusion matrix: rows are true classes, columns are predicted classes, colour is the share of the row."""
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    side = min(3 + 0.42 * len(labels), 16)
    figure = Figure(figsize=(side + 1, side))
    axes = figure.add_subplot()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if len(labels) <= 30:
        for (row, column), count in np.ndenumerate(matrix):
            if count:
                color = "white" if shares[row, column] > 0.5 else INK
                axes.text(column, row, str(count), ha="center", va="center", color=color, fontsize=8)
        names = [for_figure(label) for label in labels]
        axes.set_xticks(range(len(labels)), names, rotation=45, ha="right", fontsize=8)
        axes.set_yticks(range(len(labels)), names, fontsize=8)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(for_figure(title, MESSAGE), color=INK, fontsize=11)
    figure.colorbar(image, ax=axes, label="share of the true class", shrink=0.8)
    return figure


def class_accuracy(labels: Sequence[str], shares: Sequence[float], clips: Sequence[int], title: str) -> Figure:
    """Plot the top-1 accuracy of every class, worst first; of more than 40 classes only the 30 worst and the 10 best.

    Args:
        labels: class names.
        shares: share of each class's clips that were predicted right; NaN for a class without clips, which is left out.
        clips: number of clips of each class.
        title: title of the figure.
    """
    order = [int(i) for i in np.argsort(shares, kind="stable") if clips[i]]
    left_out = len(order) - 40
    shown = order if left_out <= 0 else [*order[:30], *order[-10:]]
    figure = Figure(figsize=(7, 1.2 + 0.24 * len(shown)))
    axes = figure.add_subplot()
    places = np.arange(len(shown)) + (np.arange(len(shown)) >= 30) * (left_out > 0)
    axes.barh(places, [100 * shares[i] for i in shown], color=SERIES[1], height=0.7)
    for place, i in zip(places, shown, strict=True):
        axes.text(101, place, f"{round(shares[i] * clips[i])} of {clips[i]}", va="center", fontsize=7, color=INK)
    if left_out > 0:
        axes.text(1, 30, f"{left_out} classes between", va="center", fontsize=7, color=INK)
    axes.set_yticks(places, [for_figure(labels[i]) for i in shown], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    axes.set_xlabel("top-1, %")
    axes.set_title(for_figure(title, MESSAGE), color=INK, fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def reliability(
    confidence: Sequence[float], accuracy: Sequence[float], clips: Sequence[int], error: float, title: str
) -> Figure:
    """Plot a reliability diagram (arXiv 1706.04599, Figure 1): accuracy over confidence, and the clips of each bin.

    Args:
        confidence: (bins,) mean confidence of each bin; NaN for an empty bin.
        accuracy: (bins,) share of right predictions in each bin.
        clips: (bins,) number of clips in each bin.
        error: expected calibration error.
        title: title of the figure.
    """
    figure = Figure(figsize=(4.6, 5.6))
    curve, counts = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    edges = np.linspace(0, 1, len(clips) + 1)
    curve.plot([0, 1], [0, 1], color=RULE, label="calibrated")
    curve.plot(confidence, accuracy, color=SERIES[0], marker="o", markersize=4, label=f"ECE {100 * error:.1f} %")
    curve.set_ylabel("share of right predictions")
    curve.set_xlim(0, 1)
    curve.set_ylim(0, 1)
    curve.legend(frameon=False, loc="upper left")
    counts.bar(edges[:-1], clips, width=np.diff(edges), align="edge", color=SERIES[1], edgecolor="white")
    counts.set_xlabel("confidence: probability of the predicted class")
    counts.set_ylabel("clips")
    for axes in (curve, counts):
        plain(axes)
    figure.suptitle(for_figure(title, MESSAGE), color=INK, fontsize=10)
    figure.tight_layout()
    return figure


def _lower_rates(history: Sequence[Mapping[str, float]]) -> list[int]:
    """Return the epochs after which the learning rate fell; none if it fell after more than half, as with a cosine."""
    rates = [row["lr"] for row in history]
    lower = [epoch for epoch in range(1, len(rates)) if rates[epoch] < rates[epoch - 1] * 0.99]
    return lower if len(lower) <= max(1, len(rates) // 2) else []


def plain(axes: Axes) -> None:
    """Leave out the frame's upper and right side, and draw thin lines at the values behind everything else."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color=RULE, linewidth=0.6)
    axes.set_axisbelow(True)
