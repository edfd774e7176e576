"""The figures of a report: the accuracy of each side of a claim, and the curves of its training."""

from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pipeline.experiments.claims import Claim, Side
from pipeline.experiments.trial import Outcome, Outcomes
from pipeline.experiments.verdicts import Verdict, top1
from pipeline.figures.charts import INK, SERIES, plain

BESIDE = ("worse", "better", "two_stream")  # picked or fused from trained networks, not trained themselves


def bars(claim: Claim, verdicts: list[Verdict], outcomes: Outcomes, seeds: tuple[int, ...]) -> Figure:
    """Draw the test accuracy of every side: the mean as a bar, each seed as a point."""
    shown = [(side, outcomes_of(side, outcomes, seeds)) for side in sides(verdicts)]
    figure = Figure(figsize=(1.6 + 1.5 * len(shown), 3.4))
    axes = figure.add_subplot()
    for place, (side, there) in enumerate(shown):
        values = [100 * top1(outcome, side.network) for outcome in there]
        if values:
            mean = float(np.mean(values))
            axes.bar(place, mean, width=0.6, color=SERIES[place % len(SERIES)], alpha=0.45)
            axes.plot([place] * len(values), values, "o", color=SERIES[place % len(SERIES)], markersize=5)
            axes.text(place + 0.06, mean + 1.5, f"{mean:.1f}", fontsize=9, color=INK)
    axes.set_xticks(range(len(shown)), [side.says.replace(", ", ",\n") for side, _ in shown], fontsize=8)
    axes.set_ylabel("top-1 on test, %")
    axes.set_ylim(0, 105)
    return _finished(figure, claim.says)


def lines(claim: Claim, verdicts: list[Verdict], outcomes: Outcomes, seeds: tuple[int, ...]) -> Figure:
    """Draw validation accuracy over optimiser steps, one panel per data set: the mean of the seeds and their range."""
    shown = [(side, there) for side in sides(verdicts, "history") if (there := outcomes_of(side, outcomes, seeds))]
    sets = list(dict.fromkeys(side.training.data for side, _ in shown)) or [""]
    figure = Figure(figsize=(1 + 4.2 * len(sets), 3.4))
    for panel, data in enumerate(sets, start=1):
        axes = figure.add_subplot(1, len(sets), panel)
        here = [pair for pair in shown if pair[0].training.data == data]
        for color, (side, there) in zip(SERIES * 9, here, strict=False):
            steps = there[0].steps(side.network)
            values = 100 * np.array([[row["val/top1"] for row in outcome.history[side.network]] for outcome in there])
            label = f"{side.says} ({len(there)} {'seeds' if len(there) > 1 else 'seed'})"
            band(axes, steps, values, color, label)
        axes.set_title(data.replace("_", " "), fontsize=9, color=INK)
        axes.set_xlabel("optimiser steps")
        axes.set_ylabel("top-1 on validation, %")
        if here:
            axes.legend(frameon=True, edgecolor="none", framealpha=0.8, fontsize=8)
    return _finished(figure, claim.says)


def band(axes: Axes, at: Sequence[int], values: NDArray[np.float64], color: str, label: str) -> None:
    """Draw the mean of several curves, and a band from the lowest to the highest; `values` is (curves, points)."""
    axes.plot(at, values.mean(axis=0), color=color, label=label)
    axes.fill_between(at, values.min(axis=0), values.max(axis=0), color=color, alpha=0.18, linewidth=0)


def sides(verdicts: Iterable[Verdict], of: str = "top1") -> list[Side]:
    """Return the sides of all comparisons, each once; for `history`, the trained networks that they consist of."""
    both = [side for v in verdicts for side in (v.comparison.first, v.comparison.second)]
    if of == "history":
        both = [
            Side(one, side.training, one) if side.network in BESIDE else side
            for side in both
            for one in (side.training.config.model.streams if side.network in BESIDE else (side.network,))
        ]
    return list({(side.training.name, side.network): side for side in both}.values())


def outcomes_of(side: Side, outcomes: Outcomes, seeds: tuple[int, ...]) -> list[Outcome]:
    """Return the outcomes of a side that exist, in the order of the seeds."""
    ids = [side.training.trial(seed).id for seed in seeds]
    return [outcomes[one] for one in ids if one in outcomes]


def _finished(figure: Figure, title: str) -> Figure:
    for axes in figure.axes:
        plain(axes)
    figure.suptitle(title, color=INK, fontsize=10)
    figure.tight_layout()
    return figure
