"""A machine runs out of memory in the middle of a training: a worker's, then the head's, where the driver is.

The machine has a limit of its own, which Ray finds where a container shows it. A process that Ray has not started takes
all that is left, and Ray ends what it has started there itself, until there is room. When the user has been told, or
the job has ended, the memory is free again.
"""

import contextlib
import re
from collections.abc import Iterator

import psutil
import pytest

from tests.cluster.conftest import resume, survived, train
from tests.cluster.machines import Machine
from tests.cluster.ray_cluster import Cluster
from tests.cluster.results import History, statuses, trained_of

pytestmark = pytest.mark.cluster
SPARE = 1 << 30  # bytes that stay free


def limited(machine: Machine) -> Machine:
    """Return the machine; skip the scenario where its memory cannot be filled."""
    if machine.memory_bytes is None:
        pytest.skip("the memory of a machine is limited by control groups of version 1, which this system has not")
    if (missing := machine.bytes_to_fill() + SPARE - psutil.virtual_memory().available) > 0:
        pytest.skip(f"this system has {missing >> 20} MiB too little free memory to fill that of a machine")
    return machine


@contextlib.contextmanager
def full(nodes: Cluster, machine: Machine) -> Iterator[None]:
    """Fill the memory of a machine; the training, which needs w1 too, stands still while this takes seconds."""
    with contextlib.ExitStack() as stack:
        with nodes.workers["w1"].paused():
            stack.enter_context(machine.out_of_memory())
        yield


def test_a_worker_machine_without_memory_costs_a_restart_and_a_line(nodes: Cluster, trained: History):
    """If there is still no room when the workers start again for the third time, `--resume` goes on."""
    machine = limited(nodes.workers["w2"])
    job = train(nodes, "oom")
    with full(nodes, machine):
        job.wait_until(lambda: survived(job))
    assert any(re.search(r"^rgb: lost rank \d \(memory\); all workers go on", line) for line in survived(job)), job.text
    if job.end() != 0:
        (line,) = [line for line in job.said if line.startswith("error: ")] or [job.text]
        assert line.startswith("error: rgb: a node ran out of memory; --resume oom "), line
        resume(nodes, "oom")
    job.assert_calm()
    after = trained_of(nodes, "oom")
    assert after.restarts >= 1, job.text
    after.assert_same(trained)


def test_a_head_without_memory_leaves_no_run_that_seems_to_run(nodes: Cluster, trained: History):
    """Ray ends the training's controller, or the supervisor of the job, with which the driver ends."""
    machine = limited(nodes.head)
    job = train(nodes, "oom-head")
    with full(nodes, machine):
        job.wait_until(lambda: job.says("the process that controls the training was lost") or job.ended())
    if job.end() == 0:
        (line, *_) = [line for line in job.said if "controls the training was lost" in line]
        assert line == "rgb: the process that controls the training was lost (memory); it starts again"
        job.assert_calm()
    else:
        nodes.wait_for_workers()
        resume(nodes, "oom-head")
    after = trained_of(nodes, "oom-head")
    assert after.restarts >= 1, job.text
    after.assert_same(trained)
    assert set(statuses(nodes, "oom-head").values()) == {"FINISHED"}
