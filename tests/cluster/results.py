"""What jobs have left: the bytes of shards, the metrics and scores of a training, its status in MLflow."""

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from pipeline.evaluation.scores import read_scores
from tests.cluster.jobs import Job
from tests.cluster.ray_cluster import Cluster

STEADY = ("train/loss", "train/clips", "val/loss", "val/clips", "lr")
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
        """The same epochs and the same scores: the fault has cost time and nothing else.

        A restart changes no digit; what is left is that of numbers which MLflow and JSON pass on.
        """
        for name in STEADY:
            assert self.metrics[name] == pytest.approx(other.metrics[name], rel=1e-6), name
        assert_scores(self.logits, other.logits)


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


def assert_scores(logits: dict[str, list[float]], others: dict[str, list[float]]) -> None:
    """The same clips, and the same scores of each, but for their last digits."""
    assert logits.keys() == others.keys()
    for clip, values in logits.items():
        assert values == pytest.approx(others[clip], rel=1e-5, abs=1e-5), clip


def epochs_of(folder: Path) -> int:
    """How many epochs the checkpoint counts from which a training would go on; 0 before the first is complete.

    Args:
        folder: that of a network, such as /mnt/out/runs/NAME/rgb, outside of the machines.
    """
    try:
        snapshot = json.loads((folder / "checkpoint_manager_snapshot.json").read_text())
        return int(snapshot["latest_checkpoint_result"]["metrics"]["epoch"])
    except (OSError, ValueError, KeyError, TypeError):  # not there yet, or being written
        return 0


def evaluated_of(nodes: Cluster, job: Job) -> dict[str, list[float]]:
    """The logits of each clip of the test that a job has made."""
    path = re.search(r"/mnt/out/evaluations/[^/\s]+/scores\.parquet", job.text)
    assert path, job.text
    return scores_of(nodes.path(path[0]))


def trained_of(nodes: Cluster, name: str) -> History:
    """What a training that has ended well has left."""
    client, run = MlflowClient(nodes.tracking), runs_of(nodes, name)["rgb"]
    assert set(statuses(nodes, name).values()) == {"FINISHED"}
    metrics = {}
    for metric in (*STEADY, "perf/restarts"):
        points = sorted(client.get_metric_history(run, metric), key=lambda point: point.step)
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
