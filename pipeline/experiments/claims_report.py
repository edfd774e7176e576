"""The report of a study: one row per comparison, for the terminal, in Markdown and in JSON."""

import math
import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.escaping import MESSAGE, for_markdown
from pipeline.experiments.claims import Claim
from pipeline.experiments.settings import DESCRIBED, StudyConfig
from pipeline.experiments.trial import Outcomes
from pipeline.experiments.verdicts import Verdict
from pipeline.shards.splits import clips_in
from pipeline.tracking.notes import pipes

HEADING = ("claim", "compared", "measure", "first", "second", "clips", "seeds", "came out")
Judged = Sequence[tuple[Claim, Sequence[Verdict]]]


def rows(judged: Judged) -> list[list[object]]:
    """Return the table: a heading, then one row per comparison."""
    table: list[list[object]] = [list(HEADING)]
    for claim, verdicts in judged:
        for verdict in verdicts:
            comparison = verdict.comparison
            compared = f"{comparison.first.says} / {comparison.second.says}"
            measure = "steps to the second's best" if comparison.measure == "steps" else "test top-1 %"
            values = [shown(side, comparison.measure) for side in (verdict.first, verdict.second)]
            table.append([claim.name, compared, measure, *values, verdict.clips, len(verdict.seeds), verdict.answer])
    return table


def shown(values: Sequence[float], measure: str) -> str:
    """Format the mean and the range of several seeds; list the values if some seeds `never` reached the accuracy."""
    if not values:
        return "-"
    scale, digits = (1, 0) if measure == "steps" else (100, 1)
    texts = [f"{scale * value:.{digits}f}" if math.isfinite(value) else "never" for value in sorted(values)]
    if len(values) == 1 or not all(map(math.isfinite, values)):
        return ", ".join(texts)
    return f"{scale * float(np.mean(values)):.{digits}f} ({texts[0]} to {texts[-1]})"


def markdown(
    study: StudyConfig,
    judged: Judged,
    outcomes: Outcomes,
    manifests: Mapping[str, Mapping[str, Any]],
    failed: Mapping[str, str],
) -> str:
    """Return the report in Markdown; it refers to figures in its own folder."""
    seeds = ", ".join(map(str, study.seeds))
    lines = [
        "# What the papers claim, at small size on motion shapes",
        "",
        f"Seeds {seeds}; each figure is the mean over them, and in brackets the lowest and the highest. It *came out* "
        "where the first is better than the second in the mean, by the margin that the claim asks for and by more than "
        "one standard deviation of the difference between seeds; *unclear* is better in the mean only.",
        "",
        *pipes(rows(judged)),
        "",
        *(f"- **Failed**: {for_markdown(f'{trial}: {reason}', MESSAGE)}" for trial, reason in failed.items()),
    ]
    for claim, _ in judged:
        lines += [f"## {claim.says}", "", f"{claim.source}. {claim.note}", ""]
        lines += [f"![accuracy]({claim.name}_bars.png)", "", f"![curves]({claim.name}_curves.png)", ""]
    return "\n".join([*lines, *closing(manifests, outcomes, study.concurrent)])


def closing(manifests: Mapping[str, Mapping[str, Any]], outcomes: Outcomes, concurrent: int) -> list[str]:
    """Return the last lines of a report in Markdown: the data, the trainings, and the machine."""
    data, trainings = pipes(_data_rows(manifests)), pipes(_training_rows(outcomes))
    return ["## Data", "", *data, "", "## Trainings", "", *trainings, "", _machine_line(outcomes, concurrent), ""]


def results(judged: Judged) -> list[dict[str, Any]]:
    """Return the results as JSON values: every value of every seed, null for an accuracy that was never reached."""
    return [
        {
            "claim": claim.name,
            "first": verdict.comparison.first.says,
            "second": verdict.comparison.second.says,
            "measure": verdict.comparison.measure,
            "margin": verdict.comparison.margin,
            "values": {
                name: [value if math.isfinite(value) else None for value in values]
                for name, values in (("first", verdict.first), ("second", verdict.second))
            },
            "clips": verdict.clips,
            "digest": verdict.digest,
            "seeds": list(verdict.seeds),
            "came_out": verdict.answer,
        }
        for claim, verdicts in judged
        for verdict in verdicts
    ]


def _machine_line(outcomes: Outcomes, concurrent: int) -> str:
    libraries = ", ".join(f"{name} {version(name)}" for name in ("torch", "ray", "mlflow"))
    seconds = sum(outcome.seconds for outcome in outcomes.values())
    return (
        f"{os.cpu_count()} cores of {_processor()}, {libraries}, Python {platform.python_version()}; "
        f"{seconds / 60:.0f} minutes of trainings, {concurrent} at a time."
    )


def _data_rows(manifests: Mapping[str, Mapping[str, Any]]) -> list[list[object]]:
    table: list[list[object]] = [["set", "clips", "digest", "what"]]
    for name, manifest in manifests.items():
        counts = ", ".join(f"{split} {count}" for split, count in clips_in(manifest).items())
        table.append([for_markdown(name), counts, manifest["digest"], DESCRIBED.get(name, manifest["dataset"])])
    return table


def _training_rows(outcomes: Outcomes) -> list[list[object]]:
    head = ["training", "seed", "steps", "top-1 %", "clips", "GMACs", "M params", "core-h", "seconds", "run"]
    table: list[list[object]] = [list(head)]
    for (name, seed), outcome in sorted(outcomes.items()):
        shares = ", ".join(f"{network} {100 * share:.1f}" for network, share in outcome.top1.items())
        steps = max(outcome.steps(network)[-1] for network in outcome.history)
        cost, costs = outcome.cost, ["-", "-", "-"]
        if cost:
            costs = [f"{cost['gmacs']:.3g}", f"{cost['parameters'] / 1e6:.3g}", f"{cost['core_hours']:.2g}"]
        said = for_markdown(name, MESSAGE)
        table.append([said, seed, steps, shares, outcome.clips, *costs, outcome.seconds, outcome.name])
    return table


def _processor() -> str:
    try:
        with Path("/proc/cpuinfo").open() as file:
            return next(line.split(":")[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
