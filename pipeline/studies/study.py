"""A whole study: data, trainings, verdicts and report; the report is logged to a parent run in MLflow.

STORAGE/
videos/, shards/   the data sets
runs/              a folder per training, with the same files as one of `jobs/pretrain_kinetics.py`
outcomes/          the result of each training; a training whose result is here is not run again
report/            report.md, its figures, results.json
study.json         the id of the parent MLflow run
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pipeline.config import to_dict
from pipeline.ingest.catalog import configured_catalog
from pipeline.ingest.run import ingest
from pipeline.sqlite import address_of
from pipeline.storage import exists, make_folder, read_json, write_atomically, write_json
from pipeline.studies.claims import Claim, chosen
from pipeline.studies.experiments import in_order
from pipeline.studies.figures import bars, lines
from pipeline.studies.report import markdown, results, rows
from pipeline.studies.runner import Runner
from pipeline.studies.settings import StudyConfig, data_config
from pipeline.studies.verdicts import Outcomes, Verdict, judge
from pipeline.tracking.decoration import may_fail
from pipeline.tracking.notes import pipes, set_note
from pipeline.tracking.runs import Run, artifact_root, tracked_run

Write = Callable[[str], object]
EXPERIMENT = "study"


@dataclass(frozen=True)
class Studied:
    """The result of a study.

    Attributes:
        claims: the claims that were tested, each with its verdicts.
        failed: the reason of each training that failed, by its name.
        run: the MLflow run.
        report: path of the Markdown file.
    """

    claims: list[tuple[Claim, list[Verdict]]]
    failed: dict[str, str]
    run: Run
    report: str


def run_study(study: StudyConfig, write: Write = print) -> Studied:
    """Test the claims on the connected cluster and write the report.

    Args:
        study: the resolved options.
        write: function that is called with each line of progress.
    """
    claims = chosen(study)
    trials = in_order([e.trial(seed) for claim in claims for e in claim.experiments.values() for seed in study.seeds])
    manifests = {name: ready_data(study, name) for name in sorted({trial.experiment.data for trial in trials})}
    with study_run(study.storage) as run:
        runner = Runner(study.storage, manifests, run, study.concurrent, write)
        runner.run(trials)
        judged = [(claim, [judge(c, runner.outcomes, study.seeds) for c in claim.comparisons]) for claim in claims]
        report = write_report(study, run, judged, runner.outcomes, manifests, runner.failed)
    return Studied(judged, runner.failed, run, report)


def ready_data(study: StudyConfig, name: str) -> dict[str, Any]:
    """Return the manifest of a data set; make the data set if it does not exist."""
    config = data_config(study, name)
    return ingest(config, configured_catalog(config))


@contextmanager
def study_run(storage: str) -> Iterator[Run]:
    """Open the MLflow run that is the parent of all trainings; the same run is reused every time."""
    make_folder(storage)
    path = f"{storage}/study.json"
    known = read_json(path)["run"] if exists(path) else None
    uri = address_of(f"{storage}/mlflow.db")
    with tracked_run(uri, EXPERIMENT, EXPERIMENT, resume=known, artifacts=artifact_root(uri, storage)) as run:
        write_json(path, {"run": run.run_id})
        yield run


def write_report(
    study: StudyConfig,
    run: Run,
    judged: list[tuple[Claim, list[Verdict]]],
    outcomes: Outcomes,
    manifests: dict[str, dict[str, Any]],
    failed: dict[str, str],
) -> str:
    """Write the report and its figures into STORAGE/report, and log them to the run."""
    folder = f"{study.storage}/report"
    make_folder(folder)
    for claim, verdicts in judged:
        for kind, draw in (("bars", bars), ("curves", lines)):
            with may_fail(run, f"report/{claim.name}_{kind}.png"):
                figure = draw(claim, verdicts, outcomes, study.seeds)
                figure.savefig(f"{folder}/{claim.name}_{kind}.png", dpi=110, bbox_inches="tight")
                run.log_figure(f"report/{claim.name}_{kind}.png", figure)
    text = markdown(study, judged, outcomes, manifests, failed)
    write_atomically(f"{folder}/report.md", lambda file: file.write(text.encode()))
    write_json(f"{folder}/results.json", results(judged))
    run.log_text("report/report.md", text)
    about = "What the papers claim, tried at small size; the report is `report/report.md`."
    set_note(run, [about, pipes(rows(judged))])
    run.log_json("report/results.json", results(judged))
    run.log_json("report/study.json", to_dict(study))
    return f"{folder}/report.md"
