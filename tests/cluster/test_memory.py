"""A machine runs out of memory in the middle of a training: a worker's, then the head's, where the driver is."""

import re

import pytest

from tests.cluster.conftest import TRAIN
from tests.cluster.ray_cluster import Cluster
from tests.cluster.results import History, statuses, trained_of

pytestmark = pytest.mark.cluster
ROOM = 100 << 20  # less than the processes of a training need


@pytest.fixture(autouse=True)
def _limited(nodes: Cluster) -> None:
    if not nodes.head.memory.is_dir():
        pytest.skip(
            "the memory of a machine is limited by control groups of version 1, which this system does not have"
        )


def test_a_worker_machine_without_memory_ends_the_training_in_one_line(nodes: Cluster, trained: History):
    with nodes.workers["w2"].short_of_memory(ROOM):
        job = nodes.submit(*TRAIN, "--name", "oom")
        assert job.end(300) != 0, job.text
    job.assert_calm()
    (line,) = [line for line in job.said if line.startswith("error: ")]
    assert re.search("rgb: a node ran out of memory; --resume oom ", line)
    assert set(statuses(nodes, "oom").values()) == {"FAILED"}
    nodes.wait_for_workers()
    again = nodes.submit(TRAIN[0], "--resume", "oom", "--storage", "/mnt/out")
    assert again.end() == 0, again.text
    trained_of(nodes, "oom").assert_same(trained)


def test_a_head_without_memory_leaves_no_run_that_seems_to_run(nodes: Cluster, trained: History):
    job = nodes.submit(*TRAIN, "--name", "oom-head")
    job.wait_for("rgb epoch 1/4: train")
    with nodes.head.short_of_memory(0):
        code = job.end(300)
    nodes.wait_for_workers()
    if code != 0:
        again = nodes.submit(TRAIN[0], "--resume", "oom-head", "--storage", "/mnt/out")
        assert again.end() == 0, again.text
    trained_of(nodes, "oom-head").assert_same(trained)
