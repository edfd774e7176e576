"""Pictures of a run."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

INK, RULE = "#202428", "#d8dce0"
SERIES = ("#c2410c", "#1d4ed8", "#15803d", "#7c3aed")


def curves(history: Sequence[Mapping[str, float]], title: str) -> Figure:
    """Loss and accuracy over the epochs, training and validation.

    Args:
        history: one mapping an epoch with `train/loss`, `val/loss`, `train/top1`, `val/top1` (shares) and `lr`.
        title: of the figure.
    """
    figure = Figure(figsize=(9, 3.4))
    epochs = np.arange(1, len(history) + 1)
    for place, (what, label) in enumerate((("loss", "cross-entropy"), ("top1", "top-1, %")), start=1):
        axes = figure.add_subplot(1, 2, place)
        scale = 100 if what == "top1" else 1
        for color, part in zip(SERIES, ("train", "val"), strict=False):
            values = [scale * row[f"{part}/{what}"] for row in history]
            axes.plot(epochs, values, color=color, marker="o", markersize=3, label=part)
        for epoch in _lower_rates(history):
            axes.axvline(epoch + 0.5, color=RULE, zorder=0)
        axes.set_xlabel("epoch (lines: learning rate lowered)")
        axes.set_ylabel(label)
        axes.legend(frameon=False)
        _plain(axes)
    figure.suptitle(title, color=INK)
    figure.tight_layout()
    return figure


def confusion(matrix: NDArray[np.int64], labels: Sequence[str], title: str) -> Figure:
    """A confusion matrix: rows are true classes, columns predicted ones, colour the share of the row."""
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
        axes.set_xticks(range(len(labels)), labels, rotation=45, ha="right", fontsize=8)
        axes.set_yticks(range(len(labels)), labels, fontsize=8)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(title, color=INK, fontsize=11)
    figure.colorbar(image, ax=axes, label="share of the true class", shrink=0.8)
    return figure


def sweep(trials: Sequence[Mapping[str, float]], metric: str, title: str) -> Figure:
    """Every trial's result over temporal depth, one line a stride, one panel a resolution.

    Args:
        trials: mappings with `frames`, `stride`, `crop`, `epochs` and the metric (a share).
        metric: its name.
        title: of the figure.
    """
    crops = sorted({int(trial["crop"]) for trial in trials})
    figure = Figure(figsize=(1 + 3.2 * len(crops), 3.6))
    first: Axes | None = None
    for place, crop in enumerate(crops, start=1):
        axes = figure.add_subplot(1, len(crops), place, sharey=first)
        first = first or axes
        for color, stride in zip(SERIES * 9, sorted({int(trial["stride"]) for trial in trials}), strict=False):
            line = sorted(
                (int(trial["frames"]), 100 * trial[metric])
                for trial in trials
                if trial["crop"] == crop and trial["stride"] == stride and np.isfinite(trial[metric])
            )
            if line:
                axes.plot(*zip(*line, strict=True), color=color, marker="o", label=f"stride {stride}")
        axes.set_title(f"{crop} x {crop} pixels", fontsize=10, color=INK)
        axes.set_xlabel("temporal depth, frames")
        axes.set_ylabel(f"{metric}, %")
        axes.legend(frameon=False)
        _plain(axes)
    figure.suptitle(title, color=INK)
    figure.tight_layout()
    return figure


def _lower_rates(history: Sequence[Mapping[str, float]]) -> list[int]:
    rates = [row["lr"] for row in history]
    return [epoch for epoch in range(1, len(rates)) if rates[epoch] < rates[epoch - 1] * 0.99]


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color=RULE, linewidth=0.6)
    axes.set_axisbelow(True)
