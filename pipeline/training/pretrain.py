"""The main job behind the shards: train each stream, evaluate them apart and fused, register the model.

STORAGE/runs/NAME/
config.yaml     the resolved config: with it and the shard set the run can be repeated
run.json        MLflow run ids, so that a resumed run goes on in the same runs; classes, data and input of the networks
rgb/, flow/     Ray Train: checkpoints and state of each stream
scores.parquet  logits of every test clip
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from pipeline.clips.index import ClipIndex
from pipeline.clips.protocols import protocol_of
from pipeline.config import VERSION, Config, ConfigError, to_dict
from pipeline.interruptions import Interrupted
from pipeline.masking import masked
from pipeline.models.weights import Provenance
from pipeline.networks import build_network, network_inputs
from pipeline.shards import read_manifest
from pipeline.shards.store import exists, make_folder, read_json, write_json
from pipeline.tracking import figures
from pipeline.tracking.decoration import may_fail
from pipeline.tracking.environment import system_metrics
from pipeline.tracking.notes import set_note
from pipeline.tracking.outages import check_reachable
from pipeline.tracking.registry import registered_before
from pipeline.tracking.runs import Run, artifact_root, tracked_run
from pipeline.training.claims import claimed
from pipeline.training.classes import other_classes
from pipeline.training.evaluation import evaluate
from pipeline.training.examples import log_clips
from pipeline.training.inputs import check_input
from pipeline.training.leftovers import kept
from pipeline.training.notes import network_note, training_note
from pipeline.training.provenance import provenance_of
from pipeline.training.publish import describe, log_model, publish
from pipeline.training.report import analyses, log_figures, log_scores
from pipeline.training.scores import Accuracy, read_scores, write_scores
from pipeline.training.starts import freeze, load_start
from pipeline.training.trainer import Trained, train_stream

CURVES = ("train/loss", "val/loss", "train/top1", "val/top1", "lr")  # that the run above the networks has too


@dataclass(frozen=True)
class Pretrained:
    """What a run came to.

    Attributes:
        name: of the run.
        folder: its checkpoints and scores.
        run: its MLflow run.
        trained: each stream.
        accuracy: of each stream, and of both fused.
        version: of the registered model; None where none was asked for.
    """

    name: str
    folder: str
    run: Run
    trained: dict[str, Trained]
    accuracy: dict[str, Accuracy]
    version: str | None


def check(config: Config, splits: Collection[str]) -> None:
    """Find what would fail only after hours: a split that is not there, a network, option or weights that do not fit.

    Args:
        config: resolved.
        splits: of the catalog.

    Raises:
        ConfigError: naming the field.
    """
    check_splits(config, splits)
    check_reachable(config.tracking.uri)
    import torch

    loads = config.model.weights or config.model.inflate
    for name, streams in network_inputs(config.model).items():
        check_input(config, name, streams)
        with torch.device("cpu" if loads else "meta"):  # on meta built without weights
            network = build_network(config.model, name, num_classes=2)
        load_start(config.model, name, network)
        freeze(config.model, network)
    protocol_of(config)


def check_splits(config: Config, splits: Collection[str]) -> None:
    """Find a split that the catalog does not have.

    Raises:
        ConfigError: naming the field.
    """
    wanted = {
        "training.train_split": config.training.train_split,
        "training.val_split": config.training.val_split,
        "evaluation.split": config.evaluation.split,
    }
    for field, split in wanted.items():
        if split not in splits:
            raise ConfigError(f"{field}: no split {split!r} in the catalog, which has {', '.join(sorted(splits))}")


def pretrain(config: Config, tags: dict[str, object] | None = None) -> Pretrained:
    """Train, evaluate and register on a complete shard set.

    Args:
        config: resolved and named.
        tags: of the MLflow run, such as the commit.
    """
    manifest = read_manifest(config.ingest.shards)
    named = {"dataset_digest": manifest["digest"], "model": config.model.name, "recipe": config.recipe or "none"}
    with (
        begun(config, manifest, network_inputs(config.model)) as (config, folder, state),
        run_of(config, config.name, state, folder, "all", tags={**named, **(tags or {})}) as run,
        system_metrics(run),
    ):
        describe(run, config, manifest, _contexts(config))
        trained: dict[str, Trained] = {
            name: train_tracked(config, name, run, state, folder, manifest) for name in network_inputs(config.model)
        }
        weights = {stream: one.weights for stream, one in trained.items()}
        index = ClipIndex.load(config.ingest.shards, config.evaluation.split)
        version, stored = registered_before(run, config.tracking.registered_model), f"{folder}/scores.parquet"
        if version and exists(stored):  # what is left to do of a run that goes on is its pictures
            scores = read_scores(stored)
            worth = analyses(scores)
        else:
            scores = evaluate(config, weights, config.evaluation.split)
            write_scores(scores, stored)
            model = log_model(config, run, trained, index)
            worth = log_scores(run, scores, model.model_id if model else None, manifest["dataset"])
            version = publish(config, run, model, manifest, trained, scores, worth) if model else None
        set_note(run, training_note(config, manifest, worth, version))
        log_figures(run, scores, worth)
        log_clips(run, config, weights, scores, index)
    accuracy = {name: one.accuracy for name, one in worth.items()}
    return Pretrained(config.name, folder, run, trained, accuracy, version)


@contextmanager
def begun(
    config: Config, manifest: Mapping[str, Any], networks: Iterable[str]
) -> Iterator[tuple[Config, str, dict[str, Any]]]:
    """A new or resumed run, which is this process's until the end: its config, its folder, and what run.json holds.

    Args:
        config: resolved and named.
        manifest: of the shard set.
        networks: what is trained: rgb, flow, two_stream or matching.

    Raises:
        ConfigError: another process has it, or it would go on over other data.
    """
    folder = f"{config.storage}/runs/{config.name}"
    here = {name: provenance_of(config, name, manifest) for name in networks}
    with claimed(folder, config.name, resume=bool(config.resume)):
        before = read_json(f"{folder}/run.json") if config.resume else {"runs": {}}
        for name, values in before.get("networks", {}).items():
            check_same_data(config, Provenance.from_dict(values), here[name])
        config = replace(config, resume="", allow_other_data=False)  # it is the run that it was
        known = {"version": VERSION, "networks": {name: one.to_dict() for name, one in here.items()}}
        try:
            yield config, folder, {**known, "config": masked(to_dict(config)), "runs": before["runs"]}
        except KeyboardInterrupt as stop:
            if not exists(f"{folder}/run.json"):
                raise  # it has come to nothing
            goes_on = ["--resume", config.name, "--storage", config.storage]
            raise Interrupted(f"run {config.name} keeps {kept(folder)}", goes_on) from stop


def check_same_data(config: Config, before: Provenance, here: Provenance) -> None:
    """See that a resumed run goes on over the data that it began with.

    Raises:
        ConfigError: it does not, and --allow_other_data does not confirm it or cannot, since the classes are others.
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
    config: Config, stream: str, parent: Run, state: dict[str, Any], folder: str, manifest: dict[str, Any]
) -> Trained:
    """Train one network in an MLflow run below that of the job."""
    tags = {"stream": stream, "model": config.model.name, "dataset_digest": manifest["digest"]}
    with run_of(config, f"{config.name}-{stream}", state, folder, stream, parent=parent, tags=tags) as run:
        set_note(run, network_note(config, stream, manifest))
        run.log_config(to_dict(config))
        run.log_shards(config.ingest.shards, manifest, _contexts(config))
        trained = train_stream(config, stream, run, folder)
        set_note(run, network_note(config, stream, manifest, trained))
        run.log_history(trained.history)
        parent.log_history(
            [{f"{stream}/{name.replace('/', '_')}": row[name] for name in CURVES} for row in trained.history]
        )
        for logged, path in ((run, "curves.png"), (parent, f"curves/{stream}.png")):
            with may_fail(logged, path):
                logged.log_figure(path, figures.curves(trained.history, f"{config.model.name}, {stream}"))
        return trained


@contextmanager
def run_of(config: Config, name: str, state: dict[str, Any], folder: str, key: str, **options: Any) -> Iterator[Run]:
    """A tracked run whose id is remembered in `run.json` under `key`."""
    with tracked_run(
        config.tracking.uri,
        config.tracking.experiment,
        name,
        resume=state["runs"].get(key),
        artifacts=artifact_root(config.tracking.uri, config.storage),
        **options,
    ) as run:
        state["runs"][key] = run.run_id
        make_folder(folder)  # of object stores
        write_json(f"{folder}/run.json", state)
        yield run


def _contexts(config: Config) -> dict[str, str]:
    used = {config.evaluation.split: "testing", config.training.val_split: "validation"}
    return {**used, config.training.train_split: "training"}
