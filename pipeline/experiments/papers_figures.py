"""The figure of training from scratch: losses in training and validation, which part where a set is too small."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from pipeline.escaping import MESSAGE, for_figure
from pipeline.experiments.claims_figures import band
from pipeline.experiments.papers import PaperTable
from pipeline.experiments.trial import Outcomes
from pipeline.figures.charts import INK, SERIES, plain

LOSSES = {"train/loss": "training", "val/loss": "validation"}


def losses(table: PaperTable, outcomes: Outcomes, seeds: Sequence[int]) -> Figure:
    """Draw the losses of the networks that a table compares in training and validation, a panel for each row.

    A line is the mean over the seeds and splits, and its band reaches from the lowest to the highest.
    """
    cells = {row: cells["training"] for row, cells in table.rows.items() if "training" in cells}
    figure = Figure(figsize=(1 + 3.4 * len(cells), 3.2))
    for panel, (row, cell) in enumerate(cells.items(), start=1):
        axes = figure.add_subplot(1, len(cells), panel)
        ids = [training.trial(seed).id for training in cell.every for seed in seeds]
        histories = [outcomes[one].history[cell.network] for one in ids if one in outcomes]
        epochs = range(1, 1 + min(map(len, histories), default=0))
        for color, (metric, label) in zip(SERIES, LOSSES.items(), strict=False):
            values = np.array([[history[epoch - 1][metric] for epoch in epochs] for history in histories])
            if values.size:
                band(axes, epochs, values, color, label)
        axes.set_title(for_figure(row, MESSAGE), fontsize=9, color=INK)
        axes.set_xlabel("epoch")
        axes.set_ylabel("loss")
        plain(axes)
        if histories:
            axes.legend(frameon=False, fontsize=8)
    figure.suptitle(for_figure(f"{table.says} ({table.source})", MESSAGE), color=INK, fontsize=10)
    figure.tight_layout()
    return figure
