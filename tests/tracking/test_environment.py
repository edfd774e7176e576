"""What a run ran on, and what it used of it."""

import time

import pytest
import torch

from pipeline.tracking import environment as module
from pipeline.tracking.environment import environment, system_metrics
from pipeline.tracking.runs import tracked_run


def test_the_environment_names_versions_and_processor():
    found = environment()
    assert found["packages"]["torch"] == torch.__version__.split("+")[0]
    assert found["cpus"] >= 1
    assert found["memory_gib"] > 0
    assert all(found.values())


def test_system_metrics_are_logged_to_the_run_and_go_on_in_a_resumed_one(uri, monkeypatch):
    pytest.importorskip("psutil", reason="psutil, which MLflow's system metrics need, is not installed")
    monkeypatch.setattr(module, "SAMPLE_S", 0.05)
    key = "system/node_1/cpu_utilization_percentage"

    def record(resume: str | None) -> list[int]:
        with tracked_run(uri, "e", "a", resume=resume) as run, system_metrics(run, "node_1"):
            logged, end = len(run.client.get_metric_history(run.run_id, key)), time.monotonic() + 20
            while len(run.client.get_metric_history(run.run_id, key)) < logged + 2 and time.monotonic() < end:
                time.sleep(0.05)
        return run, [metric.step for metric in run.client.get_metric_history(run.run_id, key)]

    run, steps = record(None)
    assert steps[:2] == [1, 2]  # from 1: what has step 0 when a model is logged, MLflow takes for the model's
    _, more = record(run.run_id)
    assert more == list(range(1, 1 + len(more)))  # no step twice
    assert len(more) > len(steps)


def test_without_psutil_nothing_is_logged_and_the_run_goes_on(uri, monkeypatch):
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    with tracked_run(uri, "e", "a") as run, system_metrics(run):
        run.log_metrics({"x": 1.0}, step=0)
    assert set(run.client.get_run(run.run_id).data.metrics) == {"x"}
