"""Every job on a head and three workers, of which one has Debian's own name, and one a name that nobody knows.

The job that tests a network is in `test_lost_node.py` and `test_driver_and_mlflow.py`.
"""

import re

import pytest

from tests.cluster.conftest import EPOCHS, INGEST
from tests.cluster.ray_cluster import Cluster
from tests.cluster.results import History, shards_of

pytestmark = pytest.mark.cluster


def test_without_the_token_the_cluster_takes_no_job(nodes: Cluster):
    job = nodes.submit(*INGEST, token=False)
    assert job.end(60) != 0, job.text
    assert re.search(r"401|[Uu]nauthenticated|[Aa]uthentication", job.text), job.text


def test_three_nodes_make_the_bytes_of_one(nodes: Cluster, shards: dict[str, str]):
    alone = nodes.run(nodes.user, *INGEST, "--ingest.shards", "/mnt/shards/alone")
    assert alone.end() == 0, alone.text
    assert shards_of(nodes.path("/mnt/shards/alone")) == shards


def test_three_ranks_score_every_clip_once(nodes: Cluster, trained: History):
    """The eight clips of each of two splits are no multiple of three."""
    assert trained.metrics["val/clips"] == [8.0] * EPOCHS
    assert trained.metrics["train/clips"] == [48.0] * EPOCHS
    assert len(trained.logits) == 8
    assert trained.restarts == 0


def test_features_are_computed_on_the_cluster(features: str):
    assert re.fullmatch(r"[0-9a-f]{16}", features)


def test_two_trials_of_a_sweep_run_beside_each_other(swept: list[list[float]]):
    assert [len(losses) for losses in swept] == [2, 2]
