"""The report of a paper's table: for each cell the published figure and, beside it, the measured one."""

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.escaping import MESSAGE, for_markdown
from pipeline.experiments.claims_report import closing
from pipeline.experiments.papers import Cell, PaperTable
from pipeline.experiments.results import percent
from pipeline.experiments.settings import StudyConfig
from pipeline.experiments.trial import Outcomes
from pipeline.tracking.notes import pipes


def measured(cell: Cell, outcomes: Outcomes, seeds: Sequence[int]) -> list[float]:
    """Return what was measured for a cell with each seed on each split; trials that failed are left out."""
    ids = dict.fromkeys(training.trial(seed).id for training in cell.trainings for seed in seeds)
    values = [cell.value(outcomes[one]) for one in ids if one in outcomes]
    return [value for value in values if value is not None]


def table_rows(table: PaperTable, outcomes: Outcomes, seeds: Sequence[int]) -> list[list[object]]:
    """Return the table with two columns for each column of the paper: paper and measured, in percent."""
    head: list[object] = [""]
    for column in table.columns:
        head += [f"{column}: paper", f"{column}: measured"]
    body: list[list[object]] = []
    for row, cells in table.rows.items():
        line: list[object] = [row]
        for column in table.columns:
            cell = cells.get(column)
            line += [cell.paper or "-", percent(measured(cell, outcomes, seeds))] if cell else ["", ""]
        body.append(line)
    return [head, *body]


def markdown(
    study: StudyConfig,
    table: PaperTable,
    outcomes: Outcomes,
    manifests: Mapping[str, Mapping[str, Any]],
    failed: Mapping[str, str],
) -> str:
    """Return the report in Markdown."""
    rows = [[for_markdown(str(cell), MESSAGE) for cell in row] for row in table_rows(table, outcomes, study.seeds)]
    ours = ", ".join(for_markdown(str(manifest["dataset"])) for manifest in manifests.values())
    small = "" if study.shards else " The trainings are small ones on rendered clips."
    lines = [
        f"# {table.says} ({table.source})",
        "",
        f"Paper: {table.data}. Measured: {ours}, seeds {', '.join(map(str, study.seeds))}; a measured figure is the "
        f"mean ± the standard deviation over seeds and splits, in percent.{small} {table.note}",
        "",
        *pipes(rows),
        "",
        *(f"- **Failed**: {for_markdown(f'{trial}: {reason}', MESSAGE)}" for trial, reason in failed.items()),
        "",
        *closing(manifests, outcomes, study.concurrent),
    ]
    return "\n".join(lines)
