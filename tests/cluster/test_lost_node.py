"""kill -9 of everything on a worker machine in the middle of each job; then the machine starts again."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.conftest import EXTRACT, INGEST, SWEEP, TRAIN
from tests.cluster.ray_cluster import Cluster
from tests.cluster.results import History, features_of, shards_of, swept_of, trained_of

pytestmark = pytest.mark.cluster
NODE = "w2"


@contextlib.contextmanager
def reboot(nodes: Cluster) -> Iterator[None]:
    """Kill the machine and start it again; at the end all machines are there."""
    machine = nodes.workers[NODE]
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
    assert not (folder / "_manifest.json").exists()
    with reboot(nodes):
        assert job.end() == 0, job.text
    assert shards_of(folder) == shards
    job.assert_calm()


def test_a_training_goes_on_from_its_checkpoint(nodes: Cluster, trained: History):
    job = nodes.submit(*TRAIN, "--name", "killed")
    job.wait_for("rgb epoch 1/4: train")
    with reboot(nodes):
        assert job.end() == 0, job.text
    after = trained_of(nodes, "killed")
    assert after.restarts >= 1
    after.assert_same(trained)
    job.assert_calm()


def test_a_sweep_starts_the_lost_trial_again(nodes: Cluster, swept: list[list[float]]):
    job = nodes.submit(*SWEEP, "--base.storage", "/mnt/sweeps-killed")
    job.wait_for("epoch 1/2: train")
    with reboot(nodes):
        assert job.end() == 0, job.text
    assert swept_of(nodes.path("/mnt/sweeps-killed")) == [pytest.approx(losses, rel=1e-4) for losses in swept]
    job.assert_calm()


def test_features_are_those_of_a_whole_cluster(nodes: Cluster, features: str):
    folder = nodes.path("/mnt/features/killed")
    job = nodes.submit(*EXTRACT, "--out", "/mnt/features/killed")
    job.wait_until(lambda: holds(folder, "[!_]*.parquet", 1) or holds(folder, "_staging/**/*", 4))
    with reboot(nodes):
        assert job.end() == 0, job.text
    assert features_of(folder) == features
    job.assert_calm()
