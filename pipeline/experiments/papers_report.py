"""The report of a paper's table: for each cell the published figure, beside it the measured one, and what it cost."""

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.escaping import MESSAGE, for_markdown
from pipeline.experiments.claims_report import closing
from pipeline.experiments.looping import looped
from pipeline.experiments.papers import PaperTable
from pipeline.experiments.papers_cells import Cell
from pipeline.experiments.results import COSTS, costs_of, mean, percent, spread
from pipeline.experiments.settings import StudyConfig
from pipeline.experiments.trial import Outcome, Outcomes, Training
from pipeline.tracking.notes import pipes


def measured(cell: Cell, data: str, outcomes: Outcomes, seeds: Sequence[int]) -> list[tuple[Outcome, float]]:
    """Return what was measured for a cell on a data set, with each seed on each split, and the outcomes that say it."""
    own = [outcomes[one] for one in _ids(cell, data, seeds) if one in outcomes]
    values = [(outcome, cell.value(outcome)) for outcome in own]
    return [(outcome, value) for outcome, value in values if value is not None]


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
            line += [cell.paper or "-", _shown(cell, outcomes, seeds)] if cell else ["", ""]
        body.append(line)
    return [head, *body]


def csv_rows(table: PaperTable, outcomes: Outcomes, seeds: Sequence[int]) -> list[list[Any]]:
    """Return a row per cell and data set, for CSV: paper, measured as a share, and costs; empty if not measured."""
    head = ["row", "column", "measure", "paper's data", "paper", "data", "mean", "sd", "done", "trainings", "clips"]
    body: list[list[Any]] = []
    for row, column, cell in table.cells:
        for data in cell.trainings:
            found = measured(cell, data, outcomes, seeds)
            values, noise = [value for _, value in found], spread([value for _, value in found])
            shares = [mean(values) if values else "", "" if noise is None else noise]
            counts = [len(values), len(_ids(cell, data, seeds)), max((one.clips for one, _ in found), default="")]
            costs = [_cost([one for one, _ in found], name) for name in COSTS]
            body.append([row, column, cell.measure, table.data, cell.paper, data, *shares, *counts, *costs])
    return [[*head, *COSTS], *body]


def markdown(
    study: StudyConfig,
    table: PaperTable,
    outcomes: Outcomes,
    manifests: Mapping[str, Mapping[str, Any]],
    failed: Mapping[str, str],
) -> str:
    """Return the report in Markdown."""
    rows = [[for_markdown(str(cell), MESSAGE) for cell in row] for row in table_rows(table, outcomes, study.seeds)]
    data = dict.fromkeys(name for _, _, cell in table.cells for name in cell.trainings)
    ours = " / ".join(for_markdown(name) for name in data)
    small = "" if study.shards else " The trainings are small ones on rendered clips."
    lines = [
        f"# {table.says} ({table.source})",
        "",
        f"Paper: {table.data}. Measured: {ours}, seeds {', '.join(map(str, study.seeds))}; a measured figure is the "
        f"mean ± the standard deviation over seeds and splits, in percent; brackets say how many of them there are, "
        f"if not all.{small} {table.note}",
        "",
        *pipes(rows),
        "",
        *(f"- {for_markdown(note, MESSAGE)}" for note in notes(table, manifests)),
        *(f"- **Failed**: {for_markdown(f'{trial}: {reason}', MESSAGE)}" for trial, reason in failed.items()),
        "",
        *closing(manifests, outcomes, study.concurrent),
    ]
    return "\n".join(lines)


def notes(table: PaperTable, manifests: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return what a reader must know about these data sets: each note once, with the sets that it concerns."""
    found: dict[str, list[str]] = {}
    for row, column, cell in table.cells:
        for data in (data for data, own in cell.trainings.items() if not own):
            found.setdefault(f"{data} does not store a stream that these cells need", []).append(f"{row}, {column}")
        for one in (one for one in cell.every if one.data in manifests):
            for note in _notes(one, manifests[one.data]):
                found.setdefault(note, []).append(one.data)
    return [f"{note}: {', '.join(dict.fromkeys(places))}." for note, places in found.items()]


def _notes(training: Training, manifest: Mapping[str, Any]) -> list[str]:
    config, said = training.config, []
    if config.training.val_split == config.evaluation.split:
        follows = ", and the learning rate falls when the loss on the test split stops falling"
        plateau = follows if config.schedule.name == "plateau" else ""
        said.append(f"No clips are held out for validation, so the last checkpoint is tested{plateau}")
    if long := looped(config.clips, config.training.train_split, manifest):
        said.append(f"Some {long}")
    return said


def _shown(cell: Cell, outcomes: Outcomes, seeds: Sequence[int]) -> str:
    """Return what was measured on each data set, in their order."""
    texts = []
    for data in cell.trainings:
        values, planned = [value for _, value in measured(cell, data, outcomes, seeds)], len(_ids(cell, data, seeds))
        texts.append(percent(values) + (f" ({len(values)} of {planned})" if 0 < len(values) < planned else ""))
    return " / ".join(texts)


def _ids(cell: Cell, data: str, seeds: Sequence[int]) -> list[tuple[str, int]]:
    return list(dict.fromkeys(training.trial(seed).id for training in cell.trainings[data] for seed in seeds))


def _cost(outcomes: Sequence[Outcome], name: str) -> float | str:
    known = costs_of(outcomes, name)
    return (sum(known) if name == "core_hours" else mean(known)) if known else ""
