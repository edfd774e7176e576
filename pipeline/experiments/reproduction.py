"""A named experiment of the papers, from data to report; the report is logged to the parent run in MLflow.

STORAGE/
videos/, shards/                the data sets, which are rendered if they do not exist
runs/, outcomes/                the trainings, which experiments share (`pipeline/experiments/run.py`)
experiments/EXPERIMENT/report/  report.md, its figures, results.json
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from pipeline.config import to_dict
from pipeline.experiments.claims import Claim, chosen
from pipeline.experiments.claims_figures import bars, lines
from pipeline.experiments.claims_report import markdown, results
from pipeline.experiments.claims_report import rows as claim_rows
from pipeline.experiments.papers import table_of
from pipeline.experiments.papers_figures import losses
from pipeline.experiments.papers_report import markdown as table_markdown
from pipeline.experiments.papers_report import table_rows
from pipeline.experiments.queue import Queue
from pipeline.experiments.run import ExperimentError, Settings, experiment_run, folder_of, run_trials
from pipeline.experiments.settings import DATA, StudyConfig, data_config
from pipeline.experiments.trial import Outcomes, Training, Trial, in_order
from pipeline.experiments.verdicts import Verdict, judge
from pipeline.ingest.catalog import configured_catalog
from pipeline.ingest.run import ingest
from pipeline.shards import read_manifest
from pipeline.sqlite import address_of
from pipeline.storage import make_folder, write_atomically, write_json
from pipeline.tracking.decoration import may_fail
from pipeline.tracking.notes import pipes, set_note
from pipeline.tracking.runs import Run

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
        ExperimentError: no training succeeded.
    """
    table = table_of(study)
    claims = [] if table else chosen(study)
    trainings = table.trainings if table else [one for claim in claims for one in claim.trainings.values()]
    trials = trials_of(trainings, study.seeds)
    manifests = {name: ready_data(study, name) for name in sorted({trial.training.data for trial in trials})}
    uri, folder = study.tracking or address_of(f"{study.storage}/mlflow.db"), folder_of(study.storage, study.experiment)
    with experiment_run(study.storage, uri, EXPERIMENT, study.experiment, {}) as run:
        queue = Queue(study.experiment, study.storage, manifests, trials, True, write=write)
        run_trials(queue, run, Settings(study.storage, folder, study.concurrent, LOST))
        judged = [(claim, [judge(c, queue.outcomes, study.seeds) for c in claim.comparisons]) for claim in claims]
        if table:
            rows = table_rows(table, queue.outcomes, study.seeds)
            text = table_markdown(study, table, queue.outcomes, manifests, queue.failed)
            if "training" in table.columns:
                with may_fail(run, "report/losses.png"):
                    figure = losses(table, queue.outcomes, study.seeds)
                    figure.savefig(f"{_report_folder(study)}/losses.png", dpi=110, bbox_inches="tight")
                    run.log_figure("report/losses.png", figure)
        else:
            rows = claim_rows(judged)
            text = markdown(study, judged, queue.outcomes, manifests, queue.failed)
            _write_claims(study, run, judged, queue.outcomes)
        report = _write(study, run, text, rows)
        if not queue.outcomes:
            trial, reason = next(iter(queue.failed.items()))
            raise ExperimentError(f"{study.experiment}: all trainings failed; the first: {trial}: {reason}")
    return Studied(rows, judged, queue.failed, run, report)


def trials_of(trainings: Iterable[Training], seeds: Iterable[int]) -> list[Trial]:
    """Return the trials of trainings and of those that they start from, in the order in which they can run."""
    seeds = tuple(seeds)
    return in_order(training.trial(seed) for training in trainings for seed in seeds)


def ready_data(study: StudyConfig, name: str) -> dict[str, Any]:
    """Return the manifest of a data set; a rendered one is made if it does not exist."""
    if name not in DATA:
        return read_manifest(name)
    config = data_config(study, name)
    return ingest(config, configured_catalog(config))


def _write(study: StudyConfig, run: Run, text: str, rows: list[list[object]]) -> str:
    """Write the report into the folder of the experiment, log it to the run, and return its path."""
    folder = _report_folder(study)
    write_atomically(f"{folder}/report.md", lambda file: file.write(text.encode()))
    run.log_text("report/report.md", text)
    about = "What the papers say, tried; the report is `report/report.md`."
    set_note(run, [about, pipes(rows)])
    run.log_json("report/study.json", to_dict(study))
    return f"{folder}/report.md"


def _write_claims(study: StudyConfig, run: Run, judged: list[tuple[Claim, list[Verdict]]], outcomes: Outcomes) -> None:
    """Write the figures and values of the claims into the folder of the experiment, and log them to the run."""
    folder = _report_folder(study)
    for claim, verdicts in judged:
        for kind, draw in (("bars", bars), ("curves", lines)):
            with may_fail(run, f"report/{claim.name}_{kind}.png"):
                figure = draw(claim, verdicts, outcomes, study.seeds)
                figure.savefig(f"{folder}/{claim.name}_{kind}.png", dpi=110, bbox_inches="tight")
                run.log_figure(f"report/{claim.name}_{kind}.png", figure)
    write_json(f"{folder}/results.json", results(judged))
    run.log_json("report/results.json", results(judged))


def _report_folder(study: StudyConfig) -> str:
    folder = f"{folder_of(study.storage, study.experiment)}/report"
    make_folder(folder)
    return folder
