"""The process of a job is killed; the MLflow server goes away in the middle of a training.

The server's database is a file here. That PostgreSQL is killed and starts again, and the server with it, is a scenario
of `tests/infra/test_mlflow_server.py`; a job sees the same of both: a server that does not answer.
"""

import contextlib
import signal

import psutil
import pytest

from tests.cluster.conftest import EPOCHS, EVALUATE, resume, train, wait_for_epoch
from tests.cluster.ray_cluster import Cluster
from tests.cluster.results import History, assert_scores, evaluated_of, statuses, trained_of

pytestmark = pytest.mark.cluster


def test_the_runs_of_a_killed_driver_are_ended_by_the_next_job_and_go_on(nodes: Cluster, trained: History):
    job = train(nodes, "orphan")
    drivers = nodes.head.processes(r"^python jobs/pretrain_kinetics\.py .*--name orphan")
    assert drivers, job.text
    for process in drivers:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGKILL)
    assert job.end(120) != 0, job.text
    assert statuses(nodes, "orphan") == {"all": "RUNNING", "rgb": "RUNNING"}  # nobody was left to end them
    other = nodes.submit(*EVALUATE)
    assert other.end() == 0, other.text
    assert_scores(evaluated_of(nodes, other), trained.logits)
    (line,) = [line for line in other.said if line.startswith("run orphan")] or [other.text]
    assert line.startswith("run orphan is FAILED now: its process ended without a word"), line
    assert line.endswith("; --resume orphan continues it"), line
    assert statuses(nodes, "orphan") == {"all": "FAILED", "rgb": "KILLED"}
    again = resume(nodes, "orphan")
    after = trained_of(nodes, "orphan")
    assert after.restarts == 1, again.text  # it has not begun anew
    after.assert_same(trained)
    again.assert_calm()


def test_a_training_outlives_the_mlflow_server(nodes: Cluster, trained: History):
    job = train(nodes, "no-mlflow")
    nodes.mlflow.kill()
    wait_for_epoch(nodes, job, "no-mlflow", 3)  # without the server, then
    nodes.start_mlflow()
    assert job.end(400) == 0, job.text
    after = trained_of(nodes, "no-mlflow")
    assert len(after.metrics["val/loss"]) == EPOCHS
    assert after.restarts == 0, job.text
    after.assert_same(trained)
    assert job.says(r"MLflow at http://\S+ failed \(.*\); training goes on, its metrics follow"), job.text
    job.assert_calm()
