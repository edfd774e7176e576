"""A worker machine that is off the network, or stands still, while a training runs on all three.

Ray calls a node dead that has not answered for about a minute. What is shorter costs the time of the outage alone.
"""

import time

import pytest

from tests.cluster.conftest import TRAIN
from tests.cluster.ray_cluster import Cluster
from tests.cluster.results import History, trained_of

pytestmark = pytest.mark.cluster


@pytest.mark.parametrize(("fault", "seconds"), [("unplugged", 20), ("unplugged", 90), ("paused", 60)])
def test_a_training_gives_the_same_after_a_machine_was_away(fault, seconds, nodes: Cluster, trained: History):
    name = f"{fault}-{seconds}"
    job = nodes.submit(*TRAIN, "--name", name)
    job.wait_for("rgb epoch 1/4: train")
    with getattr(nodes.workers["w2"], fault)():
        time.sleep(seconds)  # the fault itself
    assert job.end(420) == 0, job.text
    nodes.wait_for_workers()
    after = trained_of(nodes, name)
    after.assert_same(trained)
    assert after.restarts <= 1
    job.assert_calm()
