"""The training job on a shard set: train each stream, test the streams and their fusion, register the model.

STORAGE/runs/NAME/
run.json        the config, with which the run can be repeated; the MLflow run ids, so that a resumed run continues in
                the same runs; classes, data and input of the networks
rgb/, flow/     Ray Train's checkpoints and state of each stream
scores.parquet  logits of every test clip
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from ray.train import UserCallback

from pipeline.clips.index import ClipIndex
from pipeline.config import VERSION, Config, ConfigError, EvaluationConfig, TrackingConfig, TrainingConfig, to_dict
from pipeline.evaluation.example_clips import log_clips
from pipeline.evaluation.log_analysis import analyses, log_figures, log_scores
from pipeline.evaluation.protocols import protocol_of
from pipeline.evaluation.score_clips import evaluate
from pipeline.evaluation.scores import Accuracy, read_scores, write_scores
from pipeline.figures import charts as figures
from pipeline.interruptions import Interrupted
from pipeline.masking import masked
from pipeline.models.weights import Provenance
from pipeline.networks import build_network, network_inputs
from pipeline.registry.descriptions import data_line, result_line, training_note
from pipeline.registry.model_versions import registered_before
from pipeline.registry.register import log_inputs, log_model, publish
from pipeline.runs.run_lock import claimed
from pipeline.shards import read_manifest
from pipeline.storage import exists, make_folder, read_json, write_json
from pipeline.tracking.decoration import may_fail
from pipeline.tracking.environment import system_metrics
from pipeline.tracking.notes import set_note
from pipeline.tracking.outages import check_reachable
from pipeline.tracking.runs import Run, artifact_root, tracked_run
from pipeline.training.classes import other_classes
from pipeline.training.crash_cleanup import kept
from pipeline.training.initial_weights import freeze, load_start
from pipeline.training.input_check import check_input
from pipeline.training.provenance import provenance_of
from pipeline.training.trainer import Trained, train_stream

CURVES = ("train/loss", "val/loss", "train/top1", "val/top1", "lr")  # these are logged to the job's run too


@dataclass(frozen=True)
class Pretrained:
    """The result of a run.

    Attributes:
        name: name of the run.
        folder: folder with its checkpoints and scores.
        run: its MLflow run.
        trained: the trained networks by name.
        accuracy: accuracy of each stream, and of the fusion.
        version: version of the registered model; None if the config names no registered model.
    """

    name: str
    folder: str
    run: Run
    trained: dict[str, Trained]
    accuracy: dict[str, Accuracy]
    version: str | None


def check(config: Config, splits: Collection[str]) -> None:
    """Check for errors that would otherwise appear only after hours.

    Args:
        config: a resolved config.
        splits: splits of the catalog.

    Raises:
        ConfigError: MLflow does not answer, a split does not exist, or a network, option or weights do not fit; the
            message names the field.
    """
    check_splits(config.training, config.evaluation, splits)
    check_reachable(config.tracking.uri)
    check_networks(config)


def check_networks(config: Config) -> None:
    """Check the networks of a resolved config, with their windows and weights, and the test protocol.

    Raises:
        ConfigError: a network, option or weights do not fit; the message names the field.
    """
    import torch

    loads = config.model.weights or config.model.inflate
    for name, streams in network_inputs(config.model).items():
        check_input(config, name, streams)
        with torch.device("cpu" if loads else "meta"):  # on `meta`, weights take no memory
            network = build_network(config.model, name, num_classes=2)
        load_start(config.model, name, network)
        freeze(config.model, network)
    protocol_of(config.evaluation, config.model)


def check_splits(training: TrainingConfig, evaluation: EvaluationConfig, splits: Collection[str]) -> None:
    """Check that the catalog has all splits that are used.

    Raises:
        ConfigError: it does not have one of them; the message names the field.
    """
    wanted = {
        "training.train_split": training.train_split,
        "training.val_split": training.val_split,
        "evaluation.split": evaluation.split,
    }
    for field, split in wanted.items():
        if split not in splits:
            raise ConfigError(f"{field}: no split {split!r} in the catalog, which has {', '.join(sorted(splits))}")


def pretrain(
    config: Config,
    tags: dict[str, object] | None = None,
    parent: Run | None = None,
    callbacks: Sequence[UserCallback] = (),
    test: bool = True,
) -> Pretrained:
    """Train, evaluate and register on a complete shard set.

    Args:
        config: a resolved config with the name of the run.
        tags: further tags of the MLflow run.
        parent: the MLflow run of which this training is a part.
        callbacks: further callbacks of Ray Train.
        test: whether to test and register; if not, a resumed run can do so later.
    """
    manifest, networks = read_manifest(config.ingest.shards), list(network_inputs(config.model))
    about = {"dataset_digest": manifest["digest"], "model": config.model.name, "recipe": config.recipe or "none"}
    tags = {**about, **(tags or {})}
    with (
        begun(config, manifest, networks) as (config, folder, state),
        run_of(config.storage, config.tracking, config.name, state, folder, "all", parent=parent, tags=tags) as run,
        system_metrics(run),
    ):
        dataset, data = manifest["dataset"], data_line(config, manifest)
        set_note(run, training_note(config, dataset, data))
        run.log_config(to_dict(config))
        log_inputs(run, config.ingest.shards, manifest, _contexts(config.training, config.evaluation))
        trained: dict[str, Trained] = {
            name: train_tracked(config, name, run, state, folder, manifest, data, callbacks) for name in networks
        }
        if not test:
            return Pretrained(config.name, folder, run, trained, {}, None)
        weights = {stream: one.weights for stream, one in trained.items()}
        index = ClipIndex.load(config.ingest.shards, config.evaluation.split)
        version, stored = registered_before(run, config.tracking.registered_model), f"{folder}/scores.parquet"
        if version and exists(stored):  # this resumed run has only its pictures left to do
            scores = read_scores(stored)
            worth = analyses(scores)
        else:
            scores = evaluate(config, weights, config.evaluation.split)
            write_scores(scores, stored)
            model = log_model(config, run, trained, index)
            worth = log_scores(run, scores, model.model_id if model else None, dataset)
            version = publish(config, run, model, manifest, trained, scores, worth) if model else None
        set_note(run, training_note(config, dataset, data, worth, version))
        log_figures(run, scores, worth)
        log_clips(run, config, weights, scores, index)
    accuracy = {name: one.accuracy for name, one in worth.items()}
    return Pretrained(config.name, folder, run, trained, accuracy, version)


@contextmanager
def begun(
    config: Config, manifest: Mapping[str, Any], networks: Iterable[str]
) -> Iterator[tuple[Config, str, dict[str, Any]]]:
    """Begin or resume a run, and keep its folder locked; yield its config, its folder and the content of run.json.

    Args:
        config: a resolved config with the name of the run.
        manifest: manifest of the shard set.
        networks: names of the networks to train: rgb, flow, two_stream or matching.

    Raises:
        ConfigError: another process has the run, or it would continue on other data.
    """
    folder = f"{config.storage}/runs/{config.name}"
    here = {name: provenance_of(config, name, manifest) for name in networks}
    with claimed(folder, config.name, resume=bool(config.resume)):
        before = read_json(f"{folder}/run.json") if config.resume else {"runs": {}}
        for name, values in before.get("networks", {}).items():
            check_same_data(config, Provenance.from_dict(values), here[name])
        config = replace(config, resume="", allow_other_data=False)  # not stored: they concern this start only
        known = {"version": VERSION, "networks": {name: one.to_dict() for name, one in here.items()}}
        try:
            yield config, folder, {**known, "config": masked(to_dict(config)), "runs": before["runs"]}
        except KeyboardInterrupt as stop:
            if isinstance(stop, Interrupted) or not exists(f"{folder}/run.json"):
                raise  # a part of the run has said it, or there is nothing to resume
            goes_on = ["--resume", config.name, "--storage", config.storage]
            raise Interrupted(f"run {config.name} keeps {kept(folder)}", goes_on) from stop


def check_same_data(config: Config, before: Provenance, here: Provenance) -> None:
    """Check that a resumed run continues on the data with which it began.

    Raises:
        ConfigError: the classes differ, or the data differs and `--allow_other_data` is not given.
    """
    run, shards = f"--resume {config.name}", config.ingest.shards
    if before.labels != here.labels:
        same = before.rows(here.labels) is not None
        differ = "its classes are in another order" if same else other_classes(before.labels, here.labels)
        raise ConfigError(f"{run}: {shards} is not what it began with, {differ}; bring back digest {before.digest}")
    if before.digest != here.digest:
        if not config.allow_other_data:
            raise ConfigError(
                f"{run}: it began with data of digest {before.digest}, and {shards} has {here.digest}; bring those "
                "back, or --allow_other_data true goes on over these"
            )
        print(f"{run}: goes on over other data, digest {here.digest} instead of {before.digest}", flush=True)


def train_tracked(
    config: Config,
    stream: str,
    parent: Run,
    state: dict[str, Any],
    folder: str,
    manifest: dict[str, Any],
    data: str,
    callbacks: Sequence[UserCallback] = (),
) -> Trained:
    """Train one network in a child run of the job's MLflow run; `data` describes the data there."""
    tags = {"stream": stream, "model": config.model.name, "dataset_digest": manifest["digest"]}
    with run_of(
        config.storage, config.tracking, f"{config.name}-{stream}", state, folder, stream, parent=parent, tags=tags
    ) as run:
        about = [f"Network `{stream}` of `{config.name}`: **{config.model.name}**.", data]
        set_note(run, about)
        run.log_config(to_dict(config))
        run.log_shards(config.ingest.shards, manifest, _contexts(config.training, config.evaluation))
        trained = train_stream(config, stream, run, folder, callbacks)
        set_note(run, [*about, result_line(trained, config.training.val_split)])
        run.log_history(trained.history)
        parent.log_history(
            [{f"{stream}/{name.replace('/', '_')}": row[name] for name in CURVES} for row in trained.history]
        )
        for logged, path in ((run, "curves.png"), (parent, f"curves/{stream}.png")):
            with may_fail(logged, path):
                logged.log_figure(path, figures.curves(trained.history, f"{config.model.name}, {stream}"))
        return trained


@contextmanager
def run_of(
    storage: str, tracking: TrackingConfig, name: str, state: dict[str, Any], folder: str, key: str, **options: Any
) -> Iterator[Run]:
    """Open an MLflow run, whose id is kept in `run.json` under `key` so that it can be resumed.

    Args:
        storage: folder or URI of the storage.
        tracking: server and experiment of MLflow.
        name: name of the MLflow run.
        state: the content of `run.json`.
        folder: the folder of `run.json`.
        key: rgb, flow, two_stream, matching, or `all` for the job's own run.
        **options: further options of `tracked_run`.
    """
    with tracked_run(
        tracking.uri,
        tracking.experiment,
        name,
        resume=state["runs"].get(key),
        artifacts=artifact_root(tracking.uri, storage),
        **options,
    ) as run:
        state["runs"][key] = run.run_id
        make_folder(folder)  # for object stores
        write_json(f"{folder}/run.json", state)
        yield run


def _contexts(training: TrainingConfig, evaluation: EvaluationConfig) -> dict[str, str]:
    return {evaluation.split: "testing", training.val_split: "validation", training.train_split: "training"}
