"""A worker machine stands still, and is off the network, while a training runs on all three.

Ray calls a node dead that has not answered for about a minute. What is shorter costs the time of the outage, or one
restart from the last checkpoint.
"""

import time

import pytest

from tests.cluster.conftest import survived, train, wait_for_epoch
from tests.cluster.ray_cluster import Cluster
from tests.cluster.results import History, trained_of

pytestmark = pytest.mark.cluster
NODE = "w2"
OUTAGES = (("paused", 60), ("unplugged", 20), ("unplugged", 90))  # each with its seconds
"""The last is so long that Ray calls the machine dead."""


def test_a_training_gives_the_same_after_a_machine_was_away(nodes: Cluster, trained: History):
    """All ranks wait for the one that is away, so the training cannot be over before it is back."""
    job = train(nodes, "away", "--resources.max_failures", "4")
    for epoch, (fault, seconds) in enumerate(OUTAGES, start=1):
        wait_for_epoch(nodes, job, "away", epoch)
        with getattr(nodes.workers[NODE], fault)():
            time.sleep(seconds)  # the fault itself
    assert job.end(420) == 0, job.text
    nodes.wait_for_workers()
    after = trained_of(nodes, "away")
    after.assert_same(trained)
    assert 1 <= after.restarts <= len(OUTAGES), job.text
    assert after.restarts <= len(survived(job)) <= 2 * len(OUTAGES), job.text
    job.assert_calm()
