"""What jobs have left: the bytes of shards, the metrics and scores of a training, its status in MLflow."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from pipeline.evaluation.scores import read_scores
from tests.cluster.ray_cluster import Cluster

STEADY = ("train/loss", "train/top1", "train/clips", "val/loss", "val/top1", "val/clips", "lr")
"""Metrics that do not depend on the time."""


@dataclass(frozen=True)
class History:
    """What a training has left.

    Attributes:
        metrics: the values of each epoch, by name.
        logits: of the test, by clip.
        restarts: how often its workers were started again.
    """

    metrics: dict[str, list[float]]
    logits: dict[str, list[float]]
    restarts: int

    def assert_same(self, other: "History") -> None:
        """The same epochs and the same scores: the fault has cost time and nothing else."""
        for name in STEADY:
            assert self.metrics[name] == pytest.approx(other.metrics[name], rel=1e-4), name
        assert self.logits.keys() == other.logits.keys()
        for clip, logits in self.logits.items():
            assert logits == pytest.approx(other.logits[clip], rel=1e-3, abs=1e-4), clip


def shards_of(folder: Path) -> dict[str, str]:
    """The digest of a complete shard set, and that of each file."""
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("[!_]*.parquet"))}
    assert found, list(folder.iterdir())
    return {**found, "digest": json.loads((folder / "_manifest.json").read_text())["digest"]}


def swept_of(storage: Path) -> list[list[float]]:
    """The validation loss of each epoch of the trials of a sweep, trial after trial."""
    outcomes = [json.loads(path.read_text()) for path in (storage / "outcomes").glob("*.json")]
    return sorted([row["val/loss"] for row in outcome["history"]["rgb"]] for outcome in outcomes)


def features_of(folder: Path) -> str:
    """The digest of a complete folder of features."""
    return json.loads((folder / "_manifest.json").read_text())["digest"]


def scores_of(path: Path) -> dict[str, list[float]]:
    """The logits of each clip of a file of scores."""
    scores = read_scores(str(path))
    assert len(set(scores.clip_ids)) == len(scores.clip_ids), "a clip was counted twice"
    return dict(zip(scores.clip_ids, scores.logits["rgb"].tolist(), strict=True))


def trained_of(nodes: Cluster, name: str) -> History:
    """What a training that has ended well has left."""
    client, run = MlflowClient(nodes.tracking), runs_of(nodes, name)["rgb"]
    assert set(statuses(nodes, name).values()) == {"FINISHED"}
    metrics = {}
    for metric in (*STEADY, "perf/restarts"):
        points = client.get_metric_history(run, metric)
        assert [point.step for point in points] == list(range(1, len(points) + 1)), (
            f"{metric} is not there once an epoch"
        )
        metrics[metric] = [point.value for point in points]
    scores = scores_of(nodes.path(f"/mnt/out/runs/{name}/scores.parquet"))
    return History(metrics, scores, round(metrics["perf/restarts"][-1]))


def statuses(nodes: Cluster, name: str) -> dict[str, str]:
    """The status in MLflow of each run of a training."""
    client = MlflowClient(nodes.tracking)
    return {key: client.get_run(run).info.status for key, run in runs_of(nodes, name).items()}


def runs_of(nodes: Cluster, name: str) -> dict[str, str]:
    """The ids of a training's MLflow runs."""
    return json.loads(nodes.path(f"/mnt/out/runs/{name}/run.json").read_text())["runs"]
