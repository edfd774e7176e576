"""What one trial does, with the functions of the real jobs: it begins or goes on with its own run, trains, tests."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from mlflow.utils.mlflow_tags import MLFLOW_RUN_NAME
from ray.train import UserCallback

from pipeline.cluster import machines, when_there_is_room
from pipeline.config import Config, ConfigError, IngestConfig, to_dict
from pipeline.evaluation.protocols import protocol_of
from pipeline.experiments.frames import train_frames
from pipeline.experiments.trial import INFLATE, Outcome, Trial, outcome_file
from pipeline.runs.pretrain import pretrain, run_of
from pipeline.runs.run_lock import wait_until_free
from pipeline.runs.supervision_transfer import transfer
from pipeline.runs.training_estimate import plan_training
from pipeline.shards import read_manifest
from pipeline.storage import exists, make_folder, read_json, remove
from pipeline.tracking.runs import Run
from pipeline.training.matching_network import MATCHING
from pipeline.training.trainer import Trained
from pipeline.workers import fitted


def perform(
    trial: Trial,
    name: str,
    starts: Mapping[str, str],
    parent: Run,
    at_once: int = 1,
    test: bool = True,
    callbacks: Sequence[UserCallback] = (),
) -> Outcome:
    """Train and test, and store the outcome; a run that was interrupted goes on.

    Args:
        trial: the trial to run.
        name: the name of its run.
        starts: maps a stream, or `inflate`, to the file of its initial weights.
        parent: the parent MLflow run.
        at_once: trials that share the cluster.
        test: whether the networks are tested after the training.
        callbacks: further callbacks of Ray Train.
    """
    begun, config, kind = time.monotonic(), trial.training.config, trial.training.kind
    folder, file = f"{config.storage}/runs/{name}", outcome_file(config.storage, name)
    wait_until_free(folder)  # the process of a driver that was killed may still be ending
    before = Outcome.load(file)
    if before is not None and before.has(test, early=bool(callbacks)):  # a scheduler hears of epochs by its callback
        return before  # another experiment has run it in the meantime
    inflate, weights = starts.get(INFLATE, ""), {key: path for key, path in starts.items() if key != INFLATE}
    model = replace(config.model, weights=weights or config.model.weights, inflate=inflate or config.model.inflate)
    config = replace(config, name=name, seed=trial.seed, model=model)
    if kind != "frames":
        fit = partial(fitted, config, trials=at_once)
        config = when_there_is_room(fit, config.resources.wait_minutes)  # a lost node may come back
    if not exists(f"{folder}/run.json"):
        remove(folder)
    elif kind != "frames":
        config = replace(config, resume=name)
    tags = _tags(trial, name)
    top1, top5 = dict[str, float](), dict[str, float]()
    protocol, kept = "", dict[str, dict[str, float]]()
    match kind:
        case "train":
            result = pretrain(config, tags, parent, callbacks, test)
            top1 = {stream: one.top1 for stream, one in result.accuracy.items()}
            top5 = {stream: one.top5 for stream, one in result.accuracy.items()}
            clips = next((one.clips for one in result.accuracy.values()), 0)
            protocol = protocol_of(config.evaluation, config.model).name if test else ""
            history, kept = _histories(result.trained)
            files = {stream: one.weights for stream, one in result.trained.items()}
        case "transfer":
            taught = transfer(config, tags, parent)
            history, kept = _histories({MATCHING: taught.trained})
            best = kept[MATCHING]
            top1, clips, files = {MATCHING: best["val/top1"]}, int(best["val/clips"]), {"rgb": taught.student}
        case "frames":
            rows, path = _frames(config, folder, tags, parent)
            top1, clips = {"frames": rows[-1]["test/top1"]}, int(rows[-1]["test/clips"])
            history, kept, files = {"frames": rows}, {"frames": rows[-1]}, {INFLATE: path}
    seconds = round(time.monotonic() - begun + (before.seconds if before else 0.0), 1)
    digest, step = _digest(config.ingest), config.clips_of_a_step
    cost = cost_of(config, history) if kind == "train" else {}
    outcome = Outcome(name, top1, clips, digest, history, step, files, seconds, kept, "done", cost, protocol, top5)
    outcome.save(file)
    return outcome


def registered(trial: Trial, name: str, model: str, parent: Run) -> str | None:
    """Test a trial that is done once more, register its networks, and return the version; nothing is trained again.

    Args:
        trial: a trial of the kind `train` that starts from no other.
        name: the name of its run.
        model: name of the registered model.
        parent: the parent MLflow run.

    Raises:
        ConfigError: the files of the run are gone.
    """
    config = trial.training.config
    folder = f"{config.storage}/runs/{name}"
    if not exists(f"{folder}/run.json"):
        outcome = outcome_file(config.storage, name)
        raise ConfigError(f"--register: {folder} is gone; without {outcome} the trial is trained again")
    tracking = replace(config.tracking, registered_model=model)
    config = fitted(replace(config, name=name, seed=trial.seed, resume=name, tracking=tracking), machines())
    return pretrain(config, _tags(trial, name), parent).version


def cost_of(config: Config, history: Mapping[str, Sequence[Mapping[str, float]]]) -> dict[str, float]:
    """Return what a training cost: multiply-adds of a clip, parameters, and core-hours of its epochs.

    Args:
        config: its config, with the number of workers as a number.
        history: metrics of every epoch of each network.
    """
    plan = plan_training(config, {}, len(read_manifest(config.ingest.shards)["labels"]), gpu=False)
    resources = config.resources
    cores = resources.number_of_workers * resources.cpus_of_a_worker + resources.cpus_of_a_loader
    seconds = sum(row["train/clips"] / row["perf/clips_per_second"] for rows in history.values() for row in rows)
    return {
        "gmacs": plan.gmacs,
        "parameters": float(sum(plan.parameters.values())),
        "core_hours": cores * seconds / 3600,
    }


def _tags(trial: Trial, name: str) -> dict[str, object]:
    shown = {MLFLOW_RUN_NAME: str(trial)}  # in MLflow it is called as in the tables
    return {"experiment": trial.training.name, "trial": name, "seed": trial.seed, **trial.training.axes, **shown}


def _histories(
    trained: Mapping[str, Trained],
) -> tuple[dict[str, list[dict[str, float]]], dict[str, dict[str, float]]]:
    """Return the metrics of every epoch, and those of the checkpoint that is kept, of each network."""
    return {name: one.history for name, one in trained.items()}, {name: one.best for name, one in trained.items()}


def _frames(config: Config, folder: str, tags: Mapping[str, object], parent: Run) -> tuple[list[dict[str, float]], str]:
    """Train the 2D network, from its beginning, in a tracked run; return its history and the path of its weights."""
    make_folder(folder)
    path, file = f"{folder}/{config.model.name}.pth", f"{folder}/run.json"
    state: dict[str, Any] = read_json(file) if exists(file) else {"runs": {}}
    with run_of(
        config.storage, config.tracking, config.name, state, folder, "all", parent=parent, tags=dict(tags)
    ) as run:
        run.log_config(to_dict(config))
        history = train_frames(config, path)
        for epoch, row in enumerate(history, start=1):
            run.log_metrics(row, step=epoch)
    return history, path


def _digest(ingest: IngestConfig) -> str:
    return str(read_manifest(ingest.shards)["digest"])
