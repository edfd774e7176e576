"""The result of a sweep: a row per point with mean and spread over its repeats; failures stand apart from numbers."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.escaping import MESSAGE, for_markdown
from pipeline.experiments.space import Point
from pipeline.experiments.trial import Outcome, Outcomes, Trial
from pipeline.tracking.notes import pipes


@dataclass(frozen=True)
class Row:
    """A point of a sweep.

    Attributes:
        axes: the values of its axes, without those over which the mean is taken.
        trials: its trials, one for each repeat.
        outcomes: the outcomes of the trials that have one.
        failed: number of trials that failed.
    """

    axes: Point
    trials: tuple[Trial, ...]
    outcomes: tuple[Outcome, ...]
    failed: int

    @property
    def whole(self) -> bool:
        """Whether any trial was trained to the end; the others of the row may have failed, but none was stopped."""
        return bool(self.outcomes) and all(outcome.ended == "done" for outcome in self.outcomes)

    @property
    def state(self) -> str:
        """How its trials ended."""
        stopped = sum(outcome.ended == "stopped early" for outcome in self.outcomes)
        parts = [f"{count} {what}" for count, what in ((stopped, "stopped early"), (self.failed, "failed")) if count]
        said = ", ".join(part if len(self.trials) > 1 else part.partition(" ")[2] for part in parts)
        return said or "done"

    def validated(self) -> list[float]:
        """Validation accuracy of each outcome, as a share."""
        return [outcome.validated for outcome in self.outcomes]

    def tested(self) -> list[float]:
        """Test accuracy of each outcome that has been tested, as a share."""
        return [outcome.tested for outcome in self.outcomes if outcome.tested is not None]

    def networks(self) -> list[str]:
        """The names of its tested networks, if there are several: the streams, and their fusion last."""
        names = next((list(outcome.top1) for outcome in self.outcomes if outcome.top1), [])
        return names if len(names) > 1 else []

    def tested_as(self, network: str) -> list[float]:
        """Test accuracy of one of several networks of each outcome, as a share."""
        return [outcome.top1[network] for outcome in self.outcomes if network in outcome.top1 and len(outcome.top1) > 1]

    def costs(self, name: str) -> list[float]:
        """One cost of each outcome for which it is known: a name of `Outcome.cost`, or a metric of the epochs."""
        return costs_of(self.outcomes, name)


def costs_of(outcomes: Sequence[Outcome], name: str) -> list[float]:
    """Return one cost of each outcome for which it is known: a name of `Outcome.cost`, or a metric of the epochs."""
    found = [[outcome.cost[name]] if name in outcome.cost else outcome.measured(name) for outcome in outcomes]
    one = max if name == MEMORY else mean
    return [one(values) for values in found if values]


def rows_of(trials: Sequence[Trial], outcomes: Outcomes, over: Collection[str]) -> list[Row]:
    """Return the rows, best in validation first; points with a trial that failed or was stopped early come last.

    Args:
        trials: all trials of the sweep.
        outcomes: the outcomes.
        over: axes over which the mean is taken.
    """
    points: dict[tuple[tuple[str, str], ...], list[Trial]] = {}
    for trial in trials:
        axes = {name: value for name, value in trial.training.axes.items() if name not in over}
        points.setdefault(tuple(axes.items()), []).append(trial)
    rows = []
    for axes_, own in points.items():
        there = tuple(outcomes[trial.id] for trial in own if trial.id in outcomes)
        rows.append(Row(dict(axes_), tuple(own), there, len(own) - len(there)))
    return sorted(rows, key=lambda row: (not row.outcomes, not row.whole, row.failed > 0, -mean(row.validated())))


def mean(values: Sequence[float]) -> float:
    """Return the mean; 0 of none."""
    return float(np.mean(values)) if values else 0.0


def spread(values: Sequence[float]) -> float | None:
    """Return the standard deviation of a sample; None of fewer than two values."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


MEMORY = "perf/memory_gib"  # the only cost of which the most counts, not the mean over the epochs
COSTS = ("gmacs", "parameters", "perf/clips_per_second", MEMORY, "core_hours")


def networks_of(rows: Sequence[Row]) -> list[str]:
    """Return the networks whose test accuracy a table has beside that of their fusion: the streams of two."""
    return list(dict.fromkeys(network for row in rows for network in row.networks()[:-1]))


def csv_rows(rows: Sequence[Row], axes: Sequence[str]) -> list[list[Any]]:
    """Return the table of points in full, for CSV; what was not measured is empty."""
    apart = networks_of(rows)
    accuracies = ["val/top1", "test/top1", *(f"test/{network}_top1" for network in apart)]
    measured = [column for name in accuracies for column in (name, f"{name} sd")]
    table: list[list[Any]] = [[*axes, "trials", *measured, "epochs", *COSTS, "state"]]
    for row in rows:
        cells: list[Any] = [*(row.axes[name] for name in axes), len(row.outcomes)]
        for values in (row.validated(), row.tested(), *map(row.tested_as, apart)):
            cells += [mean(values) if values else "", _or_empty(spread(values))]
        cells.append(mean([outcome.epochs for outcome in row.outcomes]) if row.outcomes else "")
        for name in COSTS:
            values = row.costs(name)
            cells.append((sum(values) if name == "core_hours" else mean(values)) if values else "")
        table.append([*cells, row.state])
    return table


def shown_rows(rows: Sequence[Row], axes: Sequence[str]) -> list[list[object]]:
    """Return the table of points for a terminal or Markdown."""
    apart, named = networks_of(rows), [network.replace("_", "-") for network in networks_of(rows)]
    head = ["trials", "val top-1 %", "test top-1 %", *named, "epochs", "GMACs", "M params", "clips/s", "GiB", "core-h"]
    body = [
        [
            *(row.axes[name] for name in axes),
            len(row.outcomes),
            percent(row.validated()),
            percent(row.tested()),
            *(percent(row.tested_as(network)) for network in apart),
            f"{mean([outcome.epochs for outcome in row.outcomes]):g}" if row.outcomes else "-",
            _shown(row.costs("gmacs")),
            _shown([count / 1e6 for count in row.costs("parameters")]),
            _shown(row.costs("perf/clips_per_second")),
            _shown(row.costs(MEMORY)),
            _shown([sum(row.costs("core_hours"))] if row.costs("core_hours") else []),
            row.state,
        ]
        for row in rows
    ]
    return [[*(name.rpartition(".")[2] for name in axes), *head, ""], *body]


def trial_rows(trials: Sequence[Trial], outcomes: Outcomes, failed: Mapping[str, str]) -> list[list[Any]]:
    """Return the table of single trials for CSV, with the reason of each failure."""
    axes = list(dict.fromkeys(name for trial in trials for name in trial.training.axes))
    table: list[list[Any]] = [[*axes, "seed", "run", "val/top1", "test/top1", "epochs", "seconds", "state", "reason"]]
    for trial in trials:
        outcome, cells = outcomes.get(trial.id), [trial.training.axes.get(name, "") for name in axes]
        if outcome is None:
            table.append([*cells, trial.seed, "", "", "", "", "", "failed", failed.get(str(trial), "")])
            continue
        found = [outcome.validated, _or_empty(outcome.tested), outcome.epochs, outcome.seconds]
        table.append([*cells, trial.seed, outcome.name, *found, outcome.ended, ""])
    return table


def markdown(
    title: str, facts: Sequence[str], rows: Sequence[Row], axes: Sequence[str], failed: Mapping[str, str]
) -> str:
    """Return the report of a sweep in Markdown.

    Args:
        title: its title.
        facts: paragraphs on data, protocol and budget.
        rows: the points.
        axes: the axes of the points.
        failed: the reason of each failure.
    """
    table = [[for_markdown(str(cell), MESSAGE) for cell in row] for row in shown_rows(rows, axes)]
    lines = [
        f"# {for_markdown(title, MESSAGE)}",
        "",
        *(line for fact in facts for line in (fact, "")),
        *pipes(table),
        "",
    ]
    lines += [f"- **failed**: {for_markdown(f'{trial}: {reason}', MESSAGE)}" for trial, reason in failed.items()]
    return "\n".join(lines)


def percent(values: Sequence[float]) -> str:
    """Format shares as their mean in percent and, of several, their standard deviation."""
    if not values:
        return "-"
    noise = spread(values)
    return f"{100 * mean(values):.1f}" + ("" if noise is None else f" ± {100 * noise:.1f}")


def _shown(values: Sequence[float]) -> str:
    return f"{mean(values):.3g}" if values else "-"


def _or_empty(value: float | None) -> float | str:
    return "" if value is None else value
