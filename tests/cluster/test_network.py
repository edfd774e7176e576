"""A worker machine that is off the network, or stands still, while a training runs on all three.

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


@pytest.mark.parametrize(("fault", "outages"), [("unplugged", (20, 90)), ("paused", (60,))])
def test_a_training_gives_the_same_after_a_machine_was_away(fault, outages, nodes: Cluster, trained: History):
    """All ranks wait for the one that is away, so the training cannot be over before it is back."""
    job = train(nodes, fault, "--resources.max_failures", "4")
    for epoch, seconds in enumerate(outages, start=1):
        wait_for_epoch(nodes, job, fault, epoch)
        with getattr(nodes.workers[NODE], fault)():
            time.sleep(seconds)  # the fault itself
    assert job.end(420) == 0, job.text
    nodes.wait_for_workers()
    after = trained_of(nodes, fault)
    after.assert_same(trained)
    assert after.restarts <= len(outages), job.text
    if max(outages) > 75:  # seconds; Ray has called the machine dead
        assert after.restarts >= 1, job.text
    assert after.restarts <= len(survived(job)) <= 2 * len(outages), job.text
    job.assert_calm()
