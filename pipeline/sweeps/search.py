"""Ray Tune runs: each trial is a whole Ray Train run, and ASHA compares the trials after every epoch.

Tune's trainable is a driver function that starts a `TorchTrainer` (the only pattern that Ray 2.60 supports);
`TuneReportCallback` sends every epoch's metrics from rank 0 to Tune. In MLflow each trial is a child run; the parent
run holds the result table and the figure.

    STORAGE/sweeps/NAME/     Tune's state, results.csv        STORAGE/sweeps/NAME/trials/ID/    checkpoints of a trial
"""

import os
import secrets
from dataclasses import dataclass
from typing import Any

import ray.data
from mlflow.entities import RunStatus
from ray import tune
from ray.tune.integration.ray_train import TuneReportCallback
from ray.tune.schedulers import ASHAScheduler

from pipeline.cluster import quiet_worker
from pipeline.config import Config, SweepConfig, from_dict, to_dict, yaml_text
from pipeline.figures import charts as figures
from pipeline.interruptions import Interrupted
from pipeline.masking import masked
from pipeline.shards import read_manifest
from pipeline.storage import make_folder, write_atomically
from pipeline.sweeps.space import AXES, param_space, trial_config, trials
from pipeline.table import csv_text
from pipeline.tracking.decoration import may_fail
from pipeline.tracking.notes import pipes, set_note
from pipeline.tracking.runs import Run, artifact_root, time_stamp, tracked_run
from pipeline.training.reporting import is_whole
from pipeline.training.trainer import train_stream
from pipeline.workers import TRIAL_CPUS

METRIC, MODE = "val/top1", "max"
COLUMNS = ("trial", *AXES, "epochs", METRIC, "val/loss", "val/clips", "perf/clips_per_second", "seconds", "status")


@dataclass(frozen=True)
class Swept:
    """The result of a sweep.

    Attributes:
        name: the name of the sweep.
        folder: folder that holds Tune's state and the result table.
        run: the parent MLflow run.
        rows: one mapping per trial with the keys `COLUMNS`, best trial first.
        digest: the digest of the shard set.
    """

    name: str
    folder: str
    run: Run
    rows: list[dict[str, Any]]
    digest: str


def search(sweep: SweepConfig) -> Swept:
    """Run all trials of a resolved sweep; ASHA may stop a trial before its last epoch.

    Raises:
        ShardError: the shard set is incomplete; a sweep does not ingest clips.
    """
    base = sweep.base
    manifest = read_manifest(base.ingest.shards)
    stamp = time_stamp()
    name = base.name or f"sweep-{stamp}-{secrets.token_hex(2)}"
    folder = f"{base.storage}/sweeps/{name}"
    make_folder(folder)
    artifacts = artifact_root(base.tracking.uri, base.storage)
    tags = {"dataset_digest": manifest["digest"], "model": base.model.name, "stream": sweep.stream}
    with tracked_run(base.tracking.uri, base.tracking.experiment, name, artifacts=artifacts, tags=tags) as run:
        about = f"**{base.model.name}**, `{sweep.stream}`: temporal depth x stride x resolution, {trials(sweep)} trials"
        data = f"Data: `{base.ingest.shards}`, digest `{manifest['digest']}`. Each trial is a run below this one."
        set_note(run, [f"{about}.", data])
        run.log_config(to_dict(sweep))
        run.log_shards(
            base.ingest.shards,
            manifest,
            {base.training.val_split: "validation", base.training.train_split: "training"},
        )
        try:
            results = _tune(sweep, run, name, folder)
        except KeyboardInterrupt as stop:
            done = f"{run.kill_children()} of {trials(sweep)} trials of sweep {name} are done"
            raise Interrupted(f"{done}, and their curves in MLflow", anew=True) from stop
        rows = sorted((_row(result) for result in results), key=lambda row: -row[METRIC])
        _end_children(run, rows, _most_epochs(sweep))
        text = csv_text([COLUMNS, *([row[name] for name in COLUMNS] for row in rows)])
        write_atomically(f"{folder}/results.csv", lambda file: file.write(text.encode()))
        run.log_text("results.csv", text)
        set_note(run, [f"{about}, best first.", pipes([COLUMNS[1:], *(_shown(row) for row in rows)]), data])
        with may_fail(run, "sweep.png"):
            run.log_figure("sweep.png", figures.sweep(rows, METRIC, f"{base.model.name}, {sweep.stream}: {name}"))
        run.log_metrics({"best/top1": rows[0][METRIC], "trials": len(rows)}, step=0)
        _end_children(run, rows, _most_epochs(sweep))  # a stopped trial may have called its run failed just now
    return Swept(name, folder, run, rows, manifest["digest"])


def keep_winner(base: Config, result: Swept) -> str:
    """Write the config of the best trial next to the result table, so that it can be trained on its own.

    Args:
        base: the base config as the user gave it, before it was fitted to the cluster.
        result: the result of the sweep.

    Returns:
        The path of the file.
    """
    file = f"{result.folder}/winner.yaml"
    text = yaml_text(masked(to_dict(trial_config(base, result.rows[0], name=""))))
    write_atomically(file, lambda stream: stream.write(text.encode()))
    return file


def _tune(sweep: SweepConfig, run: Run, name: str, folder: str) -> tune.ResultGrid:
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # Tune's new output prints tables even with verbose=0
    values = {"base": to_dict(sweep.base), "stream": sweep.stream, "run": (run.uri, run.run_id), "folder": folder}
    tuner = tune.Tuner(
        tune.with_resources(tune.with_parameters(run_trial, values=values), {"CPU": TRIAL_CPUS}),
        param_space=param_space(sweep),
        tune_config=tune.TuneConfig(
            metric=METRIC,
            mode=MODE,
            max_concurrent_trials=sweep.concurrent,
            scheduler=ASHAScheduler(
                time_attr="training_iteration",
                max_t=_most_epochs(sweep),
                grace_period=sweep.grace_epochs,
                reduction_factor=sweep.reduction,
            ),
            trial_dirname_creator=lambda trial: trial.trial_id,
        ),
        run_config=tune.RunConfig(name=name, storage_path=f"{sweep.base.storage}/sweeps", verbose=0),
    )
    # The process that runs the first dataset of a cluster owns Ray Data's actors. Without this first dataset that would
    # be a trial: the actors would end with it, and the datasets of other trials would log many errors.
    ray.data.from_items([0]).map_batches(lambda batch: batch, num_cpus=TRIAL_CPUS).materialize()
    print(f"{trials(sweep)} trials, {sweep.concurrent} at a time", flush=True)
    return tuner.fit()


def run_trial(point: dict[str, int], values: dict[str, Any]) -> None:
    """Train with one point of the search space, tracked as a child run; this is Tune's trainable."""
    trial_id = tune.get_context().get_trial_id()
    config = trial_config(from_dict(Config, values["base"]), point, name=f"trial-{trial_id}")
    parent = Run(*values["run"])
    label = " ".join(f"{axis} {point[axis]}" for axis in AXES)
    quiet_worker(label)
    with tracked_run(
        config.tracking.uri, config.tracking.experiment, label, parent=parent, tags={"trial": trial_id, **point}
    ) as run:
        set_note(run, [f"A trial of a sweep of **{config.model.name}**, `{values['stream']}`: {label}."])
        run.log_config(to_dict(config))
        train_stream(config, values["stream"], run, f"{values['folder']}/trials/{trial_id}", [ReportEpochs()])


class ReportEpochs(TuneReportCallback):
    """A callback that reports whole epochs to Tune, and leaves out checkpoints inside an epoch."""

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any) -> None:
        """Pass on the report of a whole epoch; see the base class in Ray."""
        if is_whole(metrics[0]):
            super().after_report(run_context, metrics, checkpoint)


def _row(result: tune.Result) -> dict[str, Any]:
    metrics = result.metrics or {}
    epochs = metrics.get("training_iteration", 0)
    failed = result.error is not None
    return {
        "trial": metrics.get("trial_id", ""),
        **{axis: (result.config or {})[axis] for axis in AXES},
        "epochs": epochs,
        **{name: metrics.get(name, float("nan") if name != METRIC else -1.0) for name in COLUMNS[5:9]},
        "seconds": round(metrics.get("time_total_s", 0.0), 1),
        "status": "failed" if failed else "done",
    }


def _shown(row: dict[str, Any]) -> list[object]:
    return [f"{row[name]:.4g}" if isinstance(row[name], float) else row[name] for name in COLUMNS[1:]]


def _most_epochs(sweep: SweepConfig) -> int:
    return max(sweep.base.training.epochs, sweep.grace_epochs)


def _end_children(parent: Run, rows: list[dict[str, Any]], most_epochs: int) -> None:
    """End the MLflow runs of the trials with the right status; Tune kills each trial before it can do that itself."""
    ended = {row["trial"]: row for row in rows}
    for child in parent.children():
        if child.info.status == RunStatus.to_string(RunStatus.FINISHED):
            continue
        row, run = ended.get(child.data.tags["trial"]), Run(parent.uri, child.info.run_id)
        if row is None or row["status"] == "failed":
            run.end(RunStatus.FAILED)
            continue
        if row["epochs"] < most_epochs:
            row["status"] = "stopped early"
            run.set_tags({"stopped_early": f"by ASHA after epoch {row['epochs']}"})
        run.end(RunStatus.FINISHED)
