"""A named experiment of the papers, from data to report; the report is logged to the parent run in MLflow.

STORAGE/
videos/, shards/          the data sets, which are rendered if they do not exist
runs/, outcomes/          the trainings, which experiments share (`pipeline/experiments/run.py`)
experiments/NAME/report/  report.md, its figures, results.csv of a table, results.json of the claims

NAME is that of the experiment, with its data if shard sets are given, so that the reports on two sets stay apart.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from matplotlib.figure import Figure

from pipeline.cluster import machines
from pipeline.config import ConfigError, to_dict
from pipeline.escaping import MESSAGE, for_markdown
from pipeline.experiments.claims import Claim, chosen
from pipeline.experiments.claims_figures import bars, lines
from pipeline.experiments.claims_report import markdown, results
from pipeline.experiments.claims_report import rows as claim_rows
from pipeline.experiments.papers import PaperTable, table_of
from pipeline.experiments.papers_cells import said
from pipeline.experiments.papers_figures import losses
from pipeline.experiments.papers_report import csv_rows, table_rows
from pipeline.experiments.papers_report import markdown as table_markdown
from pipeline.experiments.queue import Queue
from pipeline.experiments.refusals import refusals
from pipeline.experiments.run import ExperimentError, Settings, experiment_run, folder_of, run_trials
from pipeline.experiments.settings import DATA, StudyConfig, data_config
from pipeline.experiments.trial import Outcome, Outcomes, Training, Trial, in_order, outcome_file
from pipeline.experiments.verdicts import Verdict, judge
from pipeline.figures.charts import png
from pipeline.ingest.catalog import configured_catalog
from pipeline.ingest.run import ingest
from pipeline.masking import masked
from pipeline.shards import read_manifest
from pipeline.shards.splits import splits_of
from pipeline.sqlite import address_of
from pipeline.storage import make_folder, write_bytes, write_json
from pipeline.table import csv_text
from pipeline.tracking.decoration import may_fail
from pipeline.tracking.notes import pipes, set_note
from pipeline.tracking.outages import check_reachable
from pipeline.tracking.runs import Run
from pipeline.workers import Machines

Write = Callable[[str], object]
EXPERIMENT = "study"  # in MLflow
LOST = 2  # times that a training is started again if its process or node is lost


@dataclass(frozen=True)
class Studied:
    """The result of a named experiment.

    Attributes:
        rows: the table to print.
        claims: the claims that were tested, each with its verdicts; none for a table.
        failed: the reason of each training that failed, by its name.
        run: the MLflow run.
        report: path of the Markdown file.
    """

    rows: list[list[object]]
    claims: list[tuple[Claim, list[Verdict]]]
    failed: dict[str, str]
    run: Run
    report: str


def run_study(study: StudyConfig, write: Write = print) -> Studied:
    """Run an experiment on the connected cluster and write the report.

    Args:
        study: the resolved options.
        write: function that is called with each line of progress.

    Raises:
        ConfigError: a training could not succeed; nothing has been started.
        ExperimentError: no training succeeded.
    """
    table = table_of(study)
    claims = [] if table else chosen(study)
    trainings = table.trainings if table else [one for claim in claims for one in claim.trainings.values()]
    trials = trials_of(trainings, study.seeds)
    uri = study.tracking or address_of(f"{study.storage}/mlflow.db")
    check_tracking(uri)
    check_trials(trials, machines(), study.concurrent)
    used = {trial.training.data for trial in trials}.union(study.shards, [study.source] if study.source else [])
    manifests = {data: ready_data(study, data) for data in sorted(used)}
    name = name_of(study, manifests)
    folder = folder_of(study.storage, name)
    with experiment_run(study.storage, uri, EXPERIMENT, name, {}) as run:
        queue = Queue(study.experiment, study.storage, manifests, trials, True, write=write)
        run_trials(queue, run, Settings(study.storage, folder, study.concurrent, LOST))
        report = f"{folder}/report"
        make_folder(report)
        if table:
            others = trials_of((one for _, _, cell in table.cells for one in cell.every), study.seeds)
            outcomes = {**stored_outcomes(study.storage, others, manifests), **queue.outcomes}
            rows = table_rows(table, outcomes, study.seeds)
            text = table_markdown(study, table, outcomes, manifests, queue.failed)
            _write_table(study, run, report, table, outcomes)
        else:
            judged = [(claim, [judge(c, queue.outcomes, study.seeds) for c in claim.comparisons]) for claim in claims]
            rows = claim_rows(judged)
            text = markdown(study, judged, queue.outcomes, manifests, queue.failed)
            _write_claims(study, run, report, judged, queue.outcomes)
        _put(run, report, "report.md", text)
        cells = [[for_markdown(str(cell), MESSAGE) for cell in row] for row in rows]
        set_note(run, ["What the papers say, tried; the report is `report/report.md`.", pipes(cells)])
        run.log_json("report/study.json", masked(to_dict(study)))
        if not queue.outcomes:
            trial, reason = next(iter(queue.failed.items()))
            raise ExperimentError(f"{name}: all trainings failed; the first: {trial}: {reason}")
    return Studied(rows, [] if table else judged, queue.failed, run, f"{report}/report.md")


def name_of(study: StudyConfig, manifests: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the name of an experiment, its folder and its run: equal for the same table on the same data."""
    if not study.shards:
        return f"{study.experiment}-tiny" if study.scale == "tiny" else study.experiment
    datasets = dict.fromkeys(re.sub(r"\W+", "-", str(manifests[path]["dataset"])) for path in study.shards)
    digests = sorted(str(manifest["digest"]) for manifest in manifests.values())
    return "-".join((study.experiment, *datasets, hashlib.sha256(" ".join(digests).encode()).hexdigest()[:8]))


def trials_of(trainings: Iterable[Training], seeds: Iterable[int]) -> list[Trial]:
    """Return the trials of trainings and of those that they start from, in the order in which they can run."""
    seeds = tuple(seeds)
    return in_order(training.trial(seed) for training in trainings for seed in seeds)


def check_tracking(uri: str) -> None:
    """Check that MLflow is reachable.

    Raises:
        ConfigError: it is not.
    """
    try:
        check_reachable(uri)
    except ConfigError as error:
        raise ConfigError(str(error).replace("tracking.uri", "tracking")) from None


def check_trials(trials: Iterable[Trial], cluster: Machines, at_once: int) -> None:
    """Check the config of every training before any starts.

    Args:
        trials: the trials.
        cluster: the machines.
        at_once: trainings at a time.

    Raises:
        ConfigError: a training could not succeed; the message names its shard set and its recipe.
    """
    for training, reason in refusals(trials, _splits, cluster, at_once):
        where = said("--shards" if _given(training) else "", training.data, training.name)
        raise ConfigError(f"{where}: {reason}; nothing was started")


def _splits(training: Training) -> list[str]:
    return splits_of(read_manifest(training.data)["splits"]) if _given(training) else ["train", "val", "test"]


def _given(training: Training) -> bool:
    """Return whether the data of a training is a shard set of the user, and not one that the experiment renders."""
    return training.data not in DATA


def ready_data(study: StudyConfig, name: str) -> dict[str, Any]:
    """Return the manifest of a data set; a rendered one is made if it does not exist."""
    if name not in DATA:
        return read_manifest(name)
    config = data_config(study, name)
    return ingest(config, configured_catalog(config))


def stored_outcomes(
    storage: str, trials: Iterable[Trial], manifests: Mapping[str, Mapping[str, Any]]
) -> dict[tuple[str, int], Outcome]:
    """Return the outcomes of some trials on these data sets that the storage has already."""
    digests = {data: str(manifest["digest"]) for data, manifest in manifests.items()}
    here = [trial for trial in trials if {one.training.data for one in in_order([trial])} <= digests.keys()]
    there = {trial.id: Outcome.load(outcome_file(storage, trial.run_name(digests))) for trial in here}
    return {id_: outcome for id_, outcome in there.items() if outcome is not None and outcome.top1}


def _write_table(study: StudyConfig, run: Run, report: str, table: PaperTable, outcomes: Outcomes) -> None:
    """Write the table as CSV, and the curves of training from scratch, into the report, and log them to the run."""
    _put(run, report, "results.csv", csv_text(csv_rows(table, outcomes, study.seeds)))
    if "training" in table.columns:
        _put_figure(run, report, "losses.png", partial(losses, table, outcomes, study.seeds))


def _write_claims(
    study: StudyConfig, run: Run, report: str, judged: list[tuple[Claim, list[Verdict]]], outcomes: Outcomes
) -> None:
    """Write the figures and values of the claims into the report, and log them to the run."""
    for claim, verdicts in judged:
        for kind, draw in (("bars", bars), ("curves", lines)):
            drawn = partial(draw, claim, verdicts, outcomes, study.seeds)
            _put_figure(run, report, f"{claim.name}_{kind}.png", drawn)
    write_json(f"{report}/results.json", results(judged))
    run.log_json("report/results.json", results(judged))


def _put(run: Run, report: str, name: str, text: str) -> None:
    write_bytes(f"{report}/{name}", text.encode())
    run.log_text(f"report/{name}", text)


def _put_figure(run: Run, report: str, name: str, draw: Callable[[], Figure]) -> None:
    with may_fail(run, f"report/{name}"):
        picture = png(draw())
        write_bytes(f"{report}/{name}", picture)
        run.log_bytes(f"report/{name}", picture)
