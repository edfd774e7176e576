"""One experiment: a named list of trials below one MLflow run, which Ray Tune executes.

STORAGE/
runs/NAME/               a folder per trial, with the same files as one of `jobs/pretrain_kinetics.py`
outcomes/NAME.json       the result of each trial; a trial whose result is here is not run again, in any experiment
experiments/EXPERIMENT/
  experiment.json        the id of the parent MLflow run
  lock                   held by the process that runs the experiment
  tune/                  Tune's state, which is not needed again

A trial is a process of Tune's that starts a `TorchTrainer`, the only pattern that Ray 2.60 supports. An error that a
trial raises is its result and is not tried again. If its process or node is lost, Tune starts it again and it goes on
with its own run, `resources.max_failures` times. So does a trial whose driver was killed, when the same command comes
again.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import ray.data
from mlflow.entities import RunStatus
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID
from ray import tune
from ray.exceptions import RayError, RayTaskError
from ray.tune.schedulers import TrialScheduler

from pipeline.cluster import quiet_worker
from pipeline.config import ConfigError
from pipeline.experiments.asha import ReportEpochs
from pipeline.experiments.perform import perform
from pipeline.experiments.queue import FAILED, Queue
from pipeline.experiments.space import Space
from pipeline.experiments.trial import Trial
from pipeline.interruptions import Interrupted
from pipeline.runs.orphans import end_orphans
from pipeline.runs.run_lock import locked, wait_until_free
from pipeline.runs.run_name import plain_name
from pipeline.storage import exists, make_folder, read_json, remove, write_json
from pipeline.tracking.decoration import reason
from pipeline.tracking.outages import OutageError, when_it_answers
from pipeline.tracking.runs import Run, artifact_root, tracked_run
from pipeline.training.failures import TrainingError
from pipeline.workers import TRIAL_CPUS

UNLIMITED = 1 << 30  # trials that Tune may ask the queue for


class ExperimentError(RuntimeError):
    """An experiment has no result, or trials failed that may not; the message is one line for the user."""


@dataclass(frozen=True)
class Settings:
    """How the trials of an experiment are run.

    Attributes:
        storage: folder of runs and outcomes.
        folder: folder of the experiment.
        concurrent: number of trials at a time.
        max_failures: how often a trial is started again if its process or node is lost.
        test: whether trials are tested after their training.
    """

    storage: str
    folder: str
    concurrent: int
    max_failures: int
    test: bool = True


def folder_of(storage: str, name: str) -> str:
    """Return the folder of an experiment."""
    return f"{storage}/experiments/{name}"


@contextmanager
def experiment_run(storage: str, uri: str, experiment: str, name: str, tags: Mapping[str, object]) -> Iterator[Run]:
    """Open the MLflow run that is the parent of all trials, and keep the name of the experiment locked.

    The same name has the same run every time. What a driver that was killed left running ends as killed.

    Args:
        storage: folder of the experiment.
        uri: tracking URI.
        experiment: MLflow's experiment.
        name: name of this experiment.
        tags: tags of the run.

    Raises:
        ConfigError: the name cannot be that of a folder, or another process runs an experiment of this name.
    """
    folder = folder_of(storage, plain_name("base.name", name))
    make_folder(folder)
    file = f"{folder}/experiment.json"
    end_orphans(storage, uri, mine=name)
    with locked(folder, f"experiment {name}"):
        known = read_json(file)["run"] if exists(file) else None
        artifacts = artifact_root(uri, storage)
        with tracked_run(uri, experiment, name, resume=known, artifacts=artifacts, tags=tags) as run:
            write_json(file, {"run": run.run_id})
            _end_orphans(run, storage)
            yield run


def run_trials(
    queue: Queue, run: Run, settings: Settings, scheduler: TrialScheduler | None = None, space: Space | None = None
) -> None:
    """Run the trials of a queue that have no outcome yet; if one fails, only those that start from it are skipped.

    Args:
        queue: the queue, which then has the outcomes and the failures.
        run: the parent MLflow run.
        settings: how they are run.
        scheduler: Tune's scheduler, which may stop trials early.
        space: makes the trials that a sampler adds; None if all are known.
    """
    if queue.waiting or queue.sampler is not None:
        trials = {str(trial): trial for trial in queue.trials}
        try:
            _tune(queue, trials, run, settings, scheduler, space)
        except KeyboardInterrupt as stop:
            run.kill_children()
            raise Interrupted(f"{len(queue.outcomes)} of {len(queue.trials)} trainings are done") from stop
    _end_children(queue, run, settings.storage)
    _adopt(queue, run, settings.storage)


def _tune(
    queue: Queue,
    trials: Mapping[str, Trial],
    run: Run,
    settings: Settings,
    scheduler: TrialScheduler | None,
    space: Space | None,
) -> None:
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # Tune's new output prints tables even with verbose=0
    os.environ.setdefault("TUNE_DISABLE_STRICT_METRIC_CHECKING", "1")  # a trial that failed reports its reason alone
    # The process that runs the first dataset of a cluster owns Ray Data's actors. Without this first dataset that would
    # be a trial: the actors would end with it, and the datasets of other trials would log many errors.
    ray.data.from_items([0]).map_batches(lambda batch: batch, num_cpus=TRIAL_CPUS).materialize()
    remove(f"{settings.folder}/tune")  # of an earlier start
    values = {"trials": trials, "space": space, "parent": run, "settings": settings, "early": scheduler is not None}
    tune.Tuner(
        tune.with_resources(tune.with_parameters(run_trial, values=values), {"CPU": TRIAL_CPUS}),
        tune_config=tune.TuneConfig(
            search_alg=queue,
            num_samples=UNLIMITED,
            max_concurrent_trials=settings.concurrent,
            scheduler=scheduler,
            trial_dirname_creator=lambda trial: trial.trial_id,
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=settings.folder,
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=settings.max_failures),
        ),
    ).fit()


def run_trial(point: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    """Run one trial and store its outcome; this is Tune's trainable.

    An error is reported as the result, with its reason, so that Tune does not try the trial again.
    """
    settings, parent, space = values["settings"], values["parent"], values["space"]
    quiet_worker(point["trial"])
    try:
        trial = values["trials"].get(point["trial"]) or space.trial(point["axes"])
        config, callbacks = trial.training.config, []
        when_it_answers(parent.uri, config.resources.wait_minutes)
        if values["early"]:
            callbacks = [ReportEpochs(config.training.epochs, _epochs(settings.storage, point["name"], parent))]
        run = partial(perform, trial, point["name"], point["starts"], parent, settings.concurrent, settings.test)
        try:
            done = run(callbacks)
        except OutageError:
            when_it_answers(parent.uri, config.resources.wait_minutes)
            done = run(callbacks)  # goes on with what the run lacks in MLflow
        tune.report({"validated": done.validated})  # without any report Tune prints a line of its own
    except (TrainingError, ConfigError) as error:
        tune.report({FAILED: str(error)})
    except Exception as error:
        if is_loss(error):
            raise  # so Tune starts the trial again
        tune.report({FAILED: reason(error)})


def is_loss(error: Exception) -> bool:
    """Return whether a process or a node was lost, and not that code of a Ray task has raised an error."""
    cause = error.cause if isinstance(error, RayTaskError) else error
    return isinstance(cause, RayError)


def _epochs(storage: str, name: str, parent: Run) -> list[dict[str, float]]:
    """Return the metrics of the epochs that a run has in MLflow from an earlier start; it has one network."""
    file = f"{storage}/runs/{name}/run.json"
    runs = read_json(file)["runs"] if exists(file) else {}
    networks = [run for key, run in runs.items() if key != "all"]
    if not networks:
        return []
    client, rows = parent.client, dict[int, dict[str, float]]()
    for metric in client.get_run(networks[0]).data.metrics:
        if metric == "lr" or metric.startswith(("train/", "val/", "perf/")):
            for each in client.get_metric_history(networks[0], metric):
                rows.setdefault(each.step, {})[metric] = each.value
    epochs = [rows[epoch] for epoch in sorted(rows)]
    return [row for row in epochs if "val/top1" in row]


def _end_orphans(run: Run, storage: str) -> None:
    """End what a killed driver left running; a run that began before its trial was written down is deleted."""
    run.kill_children()
    for child in run.children():
        file = f"{storage}/runs/{child.data.tags.get('trial', '')}/run.json"
        if child.info.status == RunStatus.to_string(RunStatus.KILLED) and (
            not exists(file) or read_json(file)["runs"].get("all") != child.info.run_id
        ):
            run.client.delete_run(child.info.run_id)


def _end_children(queue: Queue, run: Run, storage: str) -> None:
    """End the MLflow runs of the trials that could not do it themselves: those that were stopped early or lost."""
    outcomes = {outcome.name: outcome for outcome in queue.outcomes.values()}
    failed = {queue.run_name(trial): queue.failed[str(trial)] for trial in queue.trials if str(trial) in queue.failed}
    for child in run.children():
        name, one = child.data.tags.get("trial", ""), Run(run.uri, child.info.run_id)
        outcome = outcomes.get(name)
        if outcome is not None and outcome.ended == "stopped early" and "stopped_early" not in child.data.tags:
            wait_until_free(f"{storage}/runs/{name}")  # Tune is ending its process, which may call its run failed
            one.set_tags({"stopped_early": f"by ASHA after epoch {outcome.epochs}"})
            for each in (*one.children(), child):
                Run(run.uri, each.info.run_id).end(RunStatus.FINISHED)
        elif name in failed and child.info.status == RunStatus.to_string(RunStatus.RUNNING):
            one.set_tags({"last_failure": failed[name]})
            one.kill_children()
            one.end(RunStatus.FAILED)


def _adopt(queue: Queue, run: Run, storage: str) -> None:
    """Add a run for each trial that another experiment has trained, with its result and the id of its own run."""
    client, there = run.client, {child.data.tags.get("trial") for child in run.children()}
    place = client.get_run(run.run_id).info.experiment_id
    for trial in queue.trials:
        outcome = queue.outcomes.get(trial.id)
        if outcome is None or outcome.name in there:
            continue
        file = f"{storage}/runs/{outcome.name}/run.json"
        own = read_json(file)["runs"].get("all", "") if exists(file) else ""
        tags = {MLFLOW_PARENT_RUN_ID: run.run_id, "trial": outcome.name, "trained_before": own, **trial.training.axes}
        one = Run(run.uri, client.create_run(place, run_name=str(trial)).info.run_id)
        one.set_tags({**tags, "experiment": trial.training.name, "seed": trial.seed})
        accuracies = {f"test/{network}_top1": share for network, share in outcome.top1.items()}
        one.log_metrics({"val/top1": outcome.validated, **accuracies}, step=0)
        one.end(RunStatus.FINISHED)
        there.add(outcome.name)
