"""An ingest on a head and three workers, of which one has Debian's own name, and one a name that nobody knows."""

import re

import pytest

from tests.cluster.conftest import INGEST
from tests.cluster.ray_cluster import Cluster
from tests.cluster.results import shards_of

pytestmark = pytest.mark.cluster


def test_without_the_token_the_cluster_takes_no_job(nodes: Cluster):
    job = nodes.submit(*INGEST, token=False)
    assert job.end(60) != 0
    assert re.search(r"401|[Uu]nauthenticated|[Aa]uthentication", job.text), job.text


def test_three_nodes_make_the_bytes_of_one(nodes: Cluster, shards: dict[str, str]):
    alone = nodes.run_alone(*INGEST, "--ingest.shards", "/mnt/shards/alone")
    assert alone.end() == 0, alone.text
    assert shards_of(nodes.path("/mnt/shards/alone")) == shards
