"""The figures of a sweep: accuracy over each axis with its spread, and accuracy against cost."""

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.escaping import MESSAGE, for_figure
from pipeline.experiments.results import Row, mean, spread
from pipeline.experiments.space import described
from pipeline.figures.charts import INK, SERIES, plain

LINES = 8  # lines of one figure; more combinations are points without lines


def axis_figure(rows: Sequence[Row], axis: str, title: str) -> Figure:
    """Draw validation accuracy over one axis: a line per combination of the others, a bar for each standard deviation.

    Trials that were stopped early are hollow points without a line.
    """
    figure = Figure(figsize=(6.4, 4.0))
    axes = figure.add_subplot()
    shown = [row for row in rows if row.outcomes]
    values = sorted({row.axes[axis] for row in shown}, key=_number_first)
    numbers = all(_number_first(value)[0] == 0 for value in values)
    places = {value: float(value) if numbers else float(i) for i, value in enumerate(values)}
    others: dict[str, list[Row]] = {}
    for row in shown:
        rest = {name: value for name, value in row.axes.items() if name != axis}
        others.setdefault(described(rest, over=()), []).append(row)
    if len(others) > LINES:
        others = {f"{len(shown)} points": shown}
    for color, (label, own) in zip(SERIES * LINES, others.items(), strict=False):
        whole = sorted((row for row in own if row.whole), key=lambda row: places[row.axes[axis]])
        style = "o-" if len({row.axes[axis] for row in whole}) == len(whole) else "o"
        axes.errorbar(
            [places[row.axes[axis]] for row in whole],
            [100 * mean(row.validated()) for row in whole],
            yerr=[_bar(row) for row in whole],
            fmt=style, color=color, capsize=3, markersize=5, label=for_figure(label or "all", MESSAGE),
        )  # fmt: skip
        stopped = [row for row in own if not row.whole]
        heights = [100 * mean(row.validated()) for row in stopped]
        axes.plot([places[row.axes[axis]] for row in stopped], heights, "o", color=color, fillstyle="none")
    if numbers and values and min(places.values()) > 0 and max(places.values()) >= 20 * min(places.values()):
        axes.set_xscale("log")
    elif len(values) <= 12:
        axes.set_xticks(list(places.values()), [for_figure(value, MESSAGE) for value in values])
    axes.set_xlabel(axis)
    return _finished(figure, axes, title)


def cost_figure(rows: Sequence[Row], title: str) -> Figure:
    """Draw the accuracy of every point against the multiply-adds of its training: those of a clip times the clips."""
    figure = Figure(figsize=(6.4, 4.0))
    axes = figure.add_subplot()
    for place, row in enumerate(row for row in rows if row.whole and row.costs("gmacs")):
        clips = mean([sum(one["train/clips"] for one in own) for o in row.outcomes for own in o.history.values()])
        at, height = row.costs("gmacs")[0] * clips / 1000, 100 * mean(row.validated())
        color = SERIES[place % len(SERIES)]
        axes.errorbar([at], [height], yerr=[_bar(row)], fmt="o", color=color, capsize=3)
        label = for_figure(described(row.axes, over=()), MESSAGE)
        axes.annotate(label, (at, height), xytext=(5, 4), textcoords="offset points", fontsize=7, color=INK)
    axes.set_xlabel("multiply-adds of the training's forward passes, 10^12")
    return _finished(figure, axes, title)


def _bar(row: Row) -> float:
    """The standard deviation in percent; of one trial there is none, and NaN draws no bar."""
    noise = spread(row.validated())
    return math.nan if noise is None else 100 * noise


def _number_first(value: str) -> tuple[int, float, str]:
    try:
        return 0, float(value), value
    except ValueError:
        return 1, 0.0, value


def _finished(figure: Figure, axes: Axes, title: str) -> Figure:
    axes.set_ylabel("top-1 in validation, %")
    plain(axes)
    if 1 < len(axes.get_legend_handles_labels()[1]) <= LINES:
        axes.legend(frameon=False, fontsize=8)
    figure.suptitle(for_figure(title, MESSAGE), color=INK, fontsize=10)
    figure.tight_layout()
    return figure
