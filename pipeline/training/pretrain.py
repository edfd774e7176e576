"""The main job behind the shards: train each stream, evaluate them apart and fused, register the model.

STORAGE/runs/NAME/
config.yaml     the resolved config: with it and the shard set the run can be repeated
run.json        MLflow run ids, so that a resumed run goes on in the same runs
rgb/, flow/     Ray Train: checkpoints and state of each stream
scores.parquet  logits of every test clip
"""

import datetime
import re
import secrets
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from pipeline.clips.index import ClipIndex
from pipeline.clips.protocols import protocol_of
from pipeline.config import Config, ConfigError, from_dict, to_dict
from pipeline.networks import build_network, network_inputs
from pipeline.shards import read_manifest
from pipeline.shards.store import exists, make_folder, read_json, write_json
from pipeline.tracking import figures
from pipeline.tracking.environment import system_metrics
from pipeline.tracking.runs import Run, tracked_run
from pipeline.training.evaluation import evaluate
from pipeline.training.examples import log_clips
from pipeline.training.publish import describe, log_model, publish
from pipeline.training.report import log_scores
from pipeline.training.scores import Accuracy, write_scores
from pipeline.training.starts import freeze, load_start
from pipeline.training.trainer import Trained, train_stream


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


def named(config: Config, now: Callable[[], datetime.datetime] | None = None) -> Config:
    """The config with the name of a new run, or the config of the run that is resumed.

    Ray Train goes on under a name that it knows, whatever the config says: so a used name is refused, and a resumed
    run takes its own config, not this one.

    Raises:
        ConfigError: the name is taken, or there is no run to resume.
    """
    if config.resume:
        stored = f"{config.storage}/runs/{_plain_name('resume', config.resume)}/run.json"
        if not exists(stored):
            raise ConfigError(f"--resume {config.resume}: no such run in {config.storage}/runs")
        return replace(from_dict(Config, read_json(stored)["config"]), resume=config.resume)
    if not config.name:
        stamp = (now or (lambda: datetime.datetime.now(datetime.UTC)))().strftime("%Y%m%d-%H%M%S")
        config = replace(config, name=f"{config.tracking.experiment}-{stamp}-{secrets.token_hex(2)}")
    if exists(f"{config.storage}/runs/{_plain_name('name', config.name)}"):
        raise ConfigError(f"--name {config.name}: taken; --resume {config.name} continues it, another name starts anew")
    return config


def check(config: Config, splits: Collection[str]) -> None:
    """Find what would fail only after hours: a split that is not there, a network, option or weights that do not fit.

    Args:
        config: resolved.
        splits: of the catalog.

    Raises:
        ConfigError: naming the field.
    """
    check_splits(config, splits)
    import torch

    loads = config.model.weights or config.model.inflate
    for name in network_inputs(config.model):
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
    config, folder, state = begin(config)
    manifest = read_manifest(config.ingest.shards)
    tags = {
        "dataset_digest": manifest["digest"],
        "model": config.model.name,
        "recipe": config.recipe or "none",
        **(tags or {}),
    }
    with run_of(config, config.name, state, folder, "all", tags=tags) as run, system_metrics(run):
        describe(run, config, manifest, _contexts(config))
        trained: dict[str, Trained] = {
            name: train_tracked(config, name, run, state, folder, manifest) for name in network_inputs(config.model)
        }
        weights = {stream: one.weights for stream, one in trained.items()}
        scores = evaluate(config, weights, config.evaluation.split)
        write_scores(scores, f"{folder}/scores.parquet")
        index = ClipIndex.load(config.ingest.shards, scores.split)
        model = log_model(config, run, trained, index)
        model_id = model.model_id if model else None
        analyses = log_scores(run, scores, config.training.epochs, model_id, manifest["dataset"])
        log_clips(run, config, weights, scores, index)
        version = publish(config, run, model, manifest, trained, scores, analyses) if model else None
    accuracy = {name: one.accuracy for name, one in analyses.items()}
    return Pretrained(config.name, folder, run, trained, accuracy, version)


def begin(config: Config) -> tuple[Config, str, dict[str, Any]]:
    """The config, folder and remembered run ids of a new or resumed run."""
    folder = f"{config.storage}/runs/{config.name}"
    if config.resume:
        return replace(config, resume=""), folder, read_json(f"{folder}/run.json")  # it is the run that it was
    return config, folder, {"config": to_dict(config), "runs": {}}


def train_tracked(
    config: Config, stream: str, parent: Run, state: dict[str, Any], folder: str, manifest: dict[str, Any]
) -> Trained:
    """Train one network in an MLflow run below that of the job."""
    tags = {"stream": stream, "model": config.model.name, "dataset_digest": manifest["digest"]}
    with run_of(config, f"{config.name}-{stream}", state, folder, stream, parent=parent, tags=tags) as run:
        run.log_config(to_dict(config))
        run.log_shards(config.ingest.shards, manifest, _contexts(config))
        trained = train_stream(config, stream, run, folder)
        run.log_figure("curves.png", figures.curves(trained.history, f"{config.model.name}, {stream}"))
        parent.log_figure(f"curves_{stream}.png", figures.curves(trained.history, f"{config.model.name}, {stream}"))
        return trained


@contextmanager
def run_of(config: Config, name: str, state: dict[str, Any], folder: str, key: str, **options: Any) -> Iterator[Run]:
    """A tracked run whose id is remembered in `run.json` under `key`."""
    local = config.tracking.uri.startswith("sqlite:")
    with tracked_run(
        config.tracking.uri,
        config.tracking.experiment,
        name,
        resume=state["runs"].get(key),
        artifacts=f"{config.storage}/mlartifacts" if local else None,
        **options,
    ) as run:
        state["runs"][key] = run.run_id
        make_folder(folder)
        write_json(f"{folder}/run.json", state)
        yield run


def _contexts(config: Config) -> dict[str, str]:
    used = {config.evaluation.split: "testing", config.training.val_split: "validation"}
    return {**used, config.training.train_split: "training"}


def _plain_name(field: str, name: str) -> str:
    """A run's name becomes a folder: letters, digits, dots, dashes and underscores, no dot first."""
    if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}", name):
        raise ConfigError(f"--{field} {name!r}: use letters, digits, '.', '-' and '_' only")
    return name
