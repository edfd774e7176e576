"""Logging of a run's data, and logging and registration of its model with links to its data."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import ray

from pipeline import console
from pipeline.cards import data_card
from pipeline.clips.index import ClipIndex
from pipeline.config import Config, to_dict
from pipeline.evaluation.analysis import Analysis
from pipeline.evaluation.scores import Scores
from pipeline.registry.model_card import model_card
from pipeline.registry.model_versions import LoggedModel, log_classifier, logged_before, register
from pipeline.tracking.decoration import may_fail
from pipeline.tracking.environment import environment
from pipeline.tracking.runs import Run
from pipeline.training.trainer import Trained

DATA_CARD = "data/data_card.html"


def log_inputs(run: Run, shards: str, manifest: Mapping[str, Any], contexts: Mapping[str, str]) -> None:
    """Log the data with its card, the driver's environment and the cluster's nodes at the start of a run.

    Args:
        run: MLflow run of the job.
        shards: folder or URI of the shard set.
        manifest: manifest of the shard set.
        contexts: use of each split, such as `training`.
    """
    console.say("data card: drawing its samples")
    run.log_shards(shards, manifest, contexts)
    with may_fail(run, DATA_CARD):
        run.log_bytes(DATA_CARD, data_card(shards).encode())
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    run.log_json("environment.json", {**environment(), "nodes": [_plain(node) for node in nodes]})


def log_model(config: Config, run: Run, trained: Mapping[str, Trained], index: ClipIndex) -> LoggedModel | None:
    """Log the networks as one video classifier, with the shortest test clip as its input example.

    If a resumed run has logged its model before, that model is returned.

    Returns:
        The model; None if the config names no registered model.
    """
    if not config.tracking.registered_model:
        return None
    if before := logged_before(run):
        return before
    console.say("model: storing it in MLflow, and trying it on one clip")
    weights = {name: one.weights for name, one in trained.items()}
    example = index.blob(int(np.argmin(index.num_frames)), "rgb")
    return log_classifier(run, weights, index.labels, to_dict(config), example)


def publish(
    config: Config,
    run: Run,
    model: LoggedModel,
    manifest: Mapping[str, Any],
    trained: Mapping[str, Trained],
    scores: Scores,
    analyses: Mapping[str, Analysis],
) -> str:
    """Register a logged model with its card, and move the alias to it.

    Returns:
        The version.
    """
    best = list(analyses.values())[-1].accuracy
    tags = {
        "top1": f"{best.top1:.4f}",
        "top5": f"{best.top5:.4f}",
        "clips": best.clips,
        "missing": best.missing,
        "split": scores.split,
        "protocol": scores.protocol,
        "dataset": manifest["dataset"],
        "dataset_digest": best.digest,
        "shards": config.ingest.shards,
        "recipe": config.recipe or "none",
        "model": config.model.name,
        "run": config.name,
    }
    card = model_card(config, run, manifest, trained, scores, analyses)
    return register(run, model, config.tracking.registered_model, config.tracking.alias, card, tags)


def _plain(resources: Mapping[str, float]) -> dict[str, float]:
    """Return a node's resources without the entries that only name the node."""
    return {name: amount for name, amount in sorted(resources.items()) if not name.startswith("node:")}
