"""kill -9 of everything on a worker machine in the middle of each job; then the machine starts again."""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.conftest import EVALUATE, EXTRACT, INGEST, SWEEP, survived, train
from tests.cluster.machines import Machine
from tests.cluster.ray_cluster import Cluster
from tests.cluster.results import (
    History,
    assert_scores,
    epochs_of,
    evaluated_of,
    features_of,
    shards_of,
    swept_of,
    trained_of,
)

pytestmark = pytest.mark.cluster
NODE = "w2"
LOST = (
    r"^rgb: (lost rank \d|ranks \d, \d lost the connection to another) \(killed, or its node is gone\); all workers go"
)
"""What a training says of the machine: Ray has noticed its end, or only the other ranks have so far."""


@contextlib.contextmanager
def reboot(nodes: Cluster, machine: Machine | None = None) -> Iterator[None]:
    """Kill a machine, w2 unless another is given, and start it again; at the end all machines are there."""
    machine = machine or nodes.workers[NODE]
    machine.kill()
    nodes.start_worker(machine)
    yield
    nodes.wait_for_workers()


def holds(folder: Path, pattern: str, least: int) -> bool:
    """Whether there are so many files."""
    return len(list(folder.glob(pattern))) >= least


def test_an_ingest_loses_no_clip(nodes: Cluster, shards: dict[str, str]):
    folder = nodes.path("/mnt/shards/killed")
    job = nodes.submit(*INGEST, "--ingest.shards", "/mnt/shards/killed")
    job.wait_until(lambda: holds(folder, "[!_]*.parquet", 2))
    assert not (folder / "_manifest.json").exists(), job.text
    with reboot(nodes):
        assert job.end() == 0, job.text
    assert shards_of(folder) == shards
    job.assert_calm()


def test_a_training_goes_on_from_its_checkpoint(nodes: Cluster, trained: History):
    job = train(nodes, "killed")
    with reboot(nodes):
        assert job.end() == 0, job.text
    after = trained_of(nodes, "killed")
    assert after.restarts >= 1, job.text
    after.assert_same(trained)
    lines = survived(job)
    assert after.restarts <= len(lines) <= 2, job.text
    assert re.search(LOST, lines[0]), lines
    job.assert_calm()


def test_a_sweep_starts_the_lost_trial_again(nodes: Cluster, swept: list[list[float]]):
    folder = nodes.path("/mnt/sweeps-killed")
    job = nodes.submit(*SWEEP, "--base.storage", "/mnt/sweeps-killed")
    job.wait_until(lambda: any(epochs_of(run) for run in folder.glob("runs/*/rgb")))
    assert not holds(folder, "outcomes/*.json", 1), job.text
    with reboot(nodes, next(one for one in nodes.workers.values() if one.processes(r"^ray::RayTrainWorker"))):
        assert job.end(400) == 0, job.text
    assert swept_of(folder) == [pytest.approx(losses, rel=1e-6) for losses in swept]
    job.assert_calm(100)


def test_features_are_those_of_a_whole_cluster(nodes: Cluster, features: str):
    folder = nodes.path("/mnt/features/killed")
    job = nodes.submit(*EXTRACT, "--out", "/mnt/features/killed")
    job.wait_until(lambda: holds(folder, "_staging/*/[!_]*.parquet", 3))
    assert not (folder / "_manifest.json").exists(), job.text
    with reboot(nodes):
        assert job.end() == 0, job.text
    assert features_of(folder) == features
    job.assert_calm()


def test_a_test_scores_every_clip_once(nodes: Cluster, trained: History):
    """The machine is that which has the network or decodes clips; a batch for each clip gives every machine some."""

    def busy() -> list[Machine]:
        return [one for one in nodes.workers.values() if one.processes(r"^ray::.*(MapWorker|MapBatches)")]

    job = nodes.submit(*EVALUATE, "--evaluation.batch_size", "1")
    job.wait_until(busy)
    with reboot(nodes, busy()[0]):
        assert job.end() == 0, job.text
    assert_scores(evaluated_of(nodes, job), trained.logits)
    job.assert_calm()
