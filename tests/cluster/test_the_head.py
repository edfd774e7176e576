"""The head is killed: without Redis it comes back as a new cluster, with Redis it is the same one.

Either way the job ends with the head, on which its driver runs, and `--resume` goes on. These scenarios are the last of
all, because they start the cluster anew.
"""

import os
import shutil
from pathlib import Path

import pytest

from tests.cluster.conftest import resume, train
from tests.cluster.ray_cluster import Cluster
from tests.cluster.results import History, trained_of

pytestmark = pytest.mark.cluster


def test_a_killed_head_ends_its_jobs_and_the_same_training_goes_on(nodes: Cluster, trained: History):
    before = workers(nodes)
    killed_in_training(nodes, "headless", trained)
    assert not before & workers(nodes)  # their processes are new, and nothing of the old job is left


def test_a_head_with_redis_finds_its_workers_again(nodes: Cluster, trained: History):
    server = os.environ.get("REDIS_SERVER") or shutil.which("redis-server")
    if not server:
        pytest.skip("not installed: redis-server (REDIS_SERVER names the program)")
    if Path(server).resolve().is_relative_to("/tmp"):  # noqa: S108
        pytest.skip(f"REDIS_SERVER {server}: each machine has a /tmp of its own, which would hide it")
    nodes.with_redis(server)
    before = workers(nodes)
    killed_in_training(nodes, "redis", trained)
    assert workers(nodes) == before


def workers(nodes: Cluster) -> set[str]:
    """The ids of the workers that are alive; that of the head is new after each start."""
    return {node for address, node in (nodes.alive() or {}).items() if address != nodes.head.address}


def killed_in_training(nodes: Cluster, name: str, trained: History) -> None:
    """Kill the head in the middle of a training, start it again, and let the training go on."""
    job = train(nodes, name)
    nodes.head.kill()
    assert job.end(120) != 0, job.text  # the driver has ended with the head
    nodes.start_head()
    nodes.wait_for_workers()
    again = resume(nodes, name)
    after = trained_of(nodes, name)
    assert after.restarts == 1, again.text  # it has not begun anew
    after.assert_same(trained)
    again.assert_calm()
