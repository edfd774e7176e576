"""The head is killed: without Redis it comes back as a new cluster, with Redis it is the same one.

These scenarios are the last of all, because they start the cluster anew.
"""

import os
import shutil

import pytest

from tests.cluster.conftest import TRAIN
from tests.cluster.ray_cluster import Cluster
from tests.cluster.results import History, trained_of

pytestmark = pytest.mark.cluster


def test_a_killed_head_ends_its_jobs_and_the_same_training_goes_on(nodes: Cluster, trained: History):
    killed_in_training(nodes, "headless", trained)


def test_a_head_with_redis_finds_its_workers_again(nodes: Cluster, trained: History):
    server = os.environ.get("REDIS_SERVER") or shutil.which("redis-server")
    if not server:
        pytest.skip("not installed: redis-server (REDIS_SERVER names the program)")
    nodes.with_redis(server)
    before = nodes.alive()
    killed_in_training(nodes, "redis", trained)
    assert nodes.alive() == before


def killed_in_training(nodes: Cluster, name: str, trained: History) -> None:
    """Kill the head in the middle of a training, start it again, and let the training go on."""
    job = nodes.submit(*TRAIN, "--name", name)
    job.wait_for("rgb epoch 1/4: train")
    nodes.head.kill()
    assert job.end(120) != 0, job.text  # the driver has ended with the head
    nodes.start_head()
    nodes.wait_for_workers()
    again = nodes.submit(TRAIN[0], "--resume", name, "--storage", "/mnt/out")
    assert again.end() == 0, again.text
    trained_of(nodes, name).assert_same(trained)
