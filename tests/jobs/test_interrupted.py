"""A job that is interrupted, as its user sees it: a training with a Ray and a process group of its own."""

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest
from mlflow.tracking import MlflowClient

from pipeline.command_line import override
from pipeline.config import Config, save
from tests.forked_workers import JOB

CHECKOUT = Path(__file__).parents[2]


@pytest.mark.ray
@pytest.mark.slow
def test_ctrl_c_in_a_training_leaves_a_checkpoint_a_killed_run_and_the_command_that_goes_on(shards: Config, tmp_path):
    fields = {
        "storage": str(tmp_path), "tracking.uri": f"sqlite:///{tmp_path}/mlflow.db", "name": "broken",
        "training.epochs": "500", "training.val_split": "test", "tracking.every_steps": "1", "resources.workers": "1",
    }  # fmt: skip
    save(override(shards, fields), tmp_path / "config.yaml")
    command = [*JOB, "jobs/pretrain_kinetics.py", "--config", str(tmp_path / "config.yaml")]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "start_new_session": True}
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    with subprocess.Popen(command, cwd=CHECKOUT, env=environment, **options) as job:
        before = []
        for line in job.stdout:
            before.append(line)
            if re.match(r"rgb epoch 2/500: train", line):
                break
        family = psutil.Process(job.pid).children(recursive=True)
        os.killpg(job.pid, signal.SIGINT)
        start = time.monotonic()
        after = job.stdout.read().splitlines()
    assert job.returncode == 130, [*before, *after]
    assert time.monotonic() - start < 60
    assert any(
        re.match(r"rgb epoch 1/500: step 1/\d+, loss \d+\.\d+, lr .* clips/s, data wait", line) for line in before
    )
    assert not [line for line in before if "pid=" in line or "core_worker" in line]
    said = [line for line in after if not line.startswith("rgb epoch")]
    goes_on = rf"this goes on: \S*python\S* jobs/pretrain_kinetics\.py --resume broken --storage {tmp_path}"
    assert said[0] == "interrupted: ending; Ctrl-C again ends it at once"
    assert re.fullmatch(
        rf"interrupted: run broken keeps rgb's checkpoint of step \d+, \d+ epochs done; {goes_on}", said[1]
    )
    assert re.fullmatch(rf"log: {tmp_path}/logs/pretrain_kinetics-\S+\.log", said[2])
    assert len(said) == 3
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("demo").experiment_id])
    assert {run.info.run_name: run.info.status for run in runs} == {"broken": "KILLED", "broken-rgb": "KILLED"}
    psutil.wait_procs(family, timeout=20)
    assert [process.name() for process in family if process.is_running()] == []
