"""The process of a job is killed; the MLflow server goes away in the middle of a training."""

import re
import signal

import psutil
import pytest

from tests.cluster.conftest import TRAIN
from tests.cluster.machines import Machine
from tests.cluster.ray_cluster import Cluster
from tests.cluster.results import History, statuses, trained_of

pytestmark = pytest.mark.cluster


def processes(machine: Machine, pattern: str) -> list[psutil.Process]:
    """The processes of a machine whose command line matches."""
    found = [psutil.Process(pid) for pid in machine.pids()]
    return [one for one in found if re.search(pattern, " ".join(one.cmdline()))]


def test_the_runs_of_a_killed_driver_are_ended_by_the_next_job_and_go_on(nodes: Cluster, trained: History):
    job = nodes.submit(*TRAIN, "--name", "orphan")
    job.wait_for("rgb epoch 1/4: train")
    for process in processes(nodes.head, "^python jobs/pretrain_kinetics"):
        process.send_signal(signal.SIGKILL)
    assert job.end(120) != 0
    assert set(statuses(nodes, "orphan").values()) == {"RUNNING"}  # nobody was left to end them
    other = nodes.submit("jobs/evaluate.py", "--run", "whole", "--storage", "/mnt/out")
    assert other.end() == 0, other.text
    (line,) = [line for line in other.said if "orphan" in line]
    assert re.search("--resume orphan", line)
    assert statuses(nodes, "orphan") == {"all": "FAILED", "rgb": "KILLED"}
    again = nodes.submit(TRAIN[0], "--resume", "orphan", "--storage", "/mnt/out")
    assert again.end() == 0, again.text
    trained_of(nodes, "orphan").assert_same(trained)
    again.assert_calm()


def test_a_training_outlives_the_mlflow_server(nodes: Cluster, trained: History):
    job = nodes.submit(*TRAIN, "--name", "no-mlflow")
    job.wait_for("rgb epoch 1/4: train")
    nodes.mlflow.kill()
    job.wait_for("rgb epoch 3/4: train")
    nodes.start_mlflow()
    assert job.end() == 0, job.text
    trained_of(nodes, "no-mlflow").assert_same(trained)
    job.assert_calm()
