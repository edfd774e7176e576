"""Every job on a head and three workers, of which one has Debian's own name, and one a name that nobody knows."""

import re

import pytest

from tests.cluster.conftest import INGEST
from tests.cluster.ray_cluster import Cluster
from tests.cluster.results import History, scores_of, shards_of

pytestmark = pytest.mark.cluster


def test_without_the_token_the_cluster_takes_no_job(nodes: Cluster):
    job = nodes.submit(*INGEST, token=False)
    assert job.end(60) != 0
    assert re.search(r"401|[Uu]nauthenticated|[Aa]uthentication", job.text), job.text


def test_three_nodes_make_the_bytes_of_one(nodes: Cluster, shards: dict[str, str]):
    alone = nodes.run(nodes.user, *INGEST, "--ingest.shards", "/mnt/shards/alone")
    assert alone.end() == 0, alone.text
    assert shards_of(nodes.path("/mnt/shards/alone")) == shards


def test_three_ranks_score_every_clip_once(nodes: Cluster, trained: History):
    """The eight clips of each split are no multiple of three."""
    assert trained.metrics["val/clips"] == [8.0] * 4
    assert len(trained.logits) == 8
    assert trained.restarts == 0


def test_the_network_is_tested_again_on_the_cluster(nodes: Cluster, trained: History):
    job = nodes.submit("jobs/evaluate.py", "--run", "whole", "--storage", "/mnt/out")
    assert job.end() == 0, job.text
    path = re.search(r"(/mnt/out/\S+)/?scores\.parquet", job.text)
    assert path, job.text
    again = scores_of(nodes.path(path[0]))
    assert again.keys() == trained.logits.keys()
    for clip, logits in again.items():
        assert logits == pytest.approx(trained.logits[clip], rel=1e-3, abs=1e-4)


def test_features_are_computed_on_the_cluster(features: str):
    assert re.fullmatch(r"[0-9a-f]{16}", features)


def test_three_trials_of_a_sweep_run_beside_each_other(swept: list[list[float]]):
    assert [len(losses) for losses in swept] == [2, 2, 2]
