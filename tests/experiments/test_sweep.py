"""Sweeps on Ray Tune: each trial is a child run that ends as it ended, and none that has an outcome is run again."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import ray
from mlflow.tracking import MlflowClient

from pipeline.cluster import connect
from pipeline.command_line import override
from pipeline.config import Config, ConfigError, SweepConfig, load, save
from pipeline.experiments.asha import asha, remember
from pipeline.experiments.run import ExperimentError
from pipeline.experiments.summary import swept
from pipeline.experiments.sweep import run_sweep
from pipeline.experiments.trial import Outcome
from pipeline.shards import ShardError
from tests.forked_workers import JOB

CHECKOUT = Path(__file__).parents[2]


def base_of(few: Config, folder: Path) -> Config:
    """The few clips with a storage of its own, one worker and the flow network alone."""
    return override(
        few,
        {
            "name": "sweep", "storage": str(folder), "tracking.uri": f"sqlite:///{folder}/mlflow.db",
            "model.streams": "flow", "resources.workers": "1", "resources.loader_cpus": "0.25",
            "tracking.registered_model": "",
        },
    )  # fmt: skip


def children(client: MlflowClient, run_id: str) -> dict[str, object]:
    """The runs below a run, by the name of their trial."""
    experiment = client.get_run(run_id).info.experiment_id
    below = client.search_runs([experiment], f"tags.mlflow.parentRunId = '{run_id}'")
    return {run.data.tags["experiment"]: run for run in below}


@pytest.mark.ray
def test_trials_that_do_not_fit_at_once_are_refused(cluster, tiny):
    connect(tiny, trials=3)  # 3 trials of 2 workers of 0.5 CPUs, 3 drivers of 0.1, a loader of 0.5: 3.8 of 4
    with pytest.raises(
        ConfigError, match=r"4 trials at a time, each of 2 workers.* need 4\.9 CPUs, .*; --concurrent 3 fits"
    ):
        connect(tiny, trials=4)


@pytest.mark.ray
def test_a_sweep_ingests_nothing(cluster, tiny, tmp_path):
    base = override(tiny, {"storage": str(tmp_path), "ingest.shards": str(tmp_path / "none")})
    with pytest.raises(ShardError, match=r"no shard set there.*run the command ingest"):
        run_sweep(SweepConfig(base=base))


@pytest.mark.ray
def test_every_trial_is_checked_before_any_starts(few, tmp_path):
    sweep = SweepConfig(base=base_of(few, tmp_path), axes={"model.name": "i3d,i3e,c3"})
    with pytest.raises(ConfigError, match=r'^name i3e: model: unknown model "i3e".*; so 1 others.*nothing was started'):
        run_sweep(sweep)
    sweep = SweepConfig(base=base_of(few, tmp_path), axes={"training.batch_size": "2,3"})
    with pytest.raises(
        ConfigError, match=r"^batch_size 3: training\.clips_per_step: .* no whole number of batches of 3"
    ):
        run_sweep(sweep)
    assert not (tmp_path / "experiments").exists()


@pytest.fixture(scope="module")
def done(few, tmp_path_factory):
    """A sweep in which a trial fails in its training, and its lines."""
    folder = tmp_path_factory.mktemp("sweep")
    sweep = SweepConfig(base=base_of(few, folder), axes={"optimiser.lr": "0.01,1e30", "seed": "0"})
    lines: list[str] = []
    return sweep, run_sweep(sweep, lines.append), lines


@pytest.mark.ray
@pytest.mark.slow
def test_a_failed_trial_is_no_number_and_the_best_is_tested(done):
    sweep, result, lines = done
    best, failed = result.rows
    assert (best.axes, best.state, failed.state) == ({"optimiser.lr": "0.01"}, "done", "failed")
    assert len(best.tested()) == 1
    assert failed.validated() == []
    (reason,) = result.failed.values()
    assert "lower optimiser.lr" in reason
    assert lines[0] == "sweep: 2 trainings, 0 done before"
    assert f"failed: lr 1e30 seed 0: {reason}" in swept(result)
    folder = Path(result.folder)
    rows = list(csv.DictReader((folder / "results.csv").open()))
    assert [row["state"] for row in rows] == ["done", "failed"]
    assert rows[1]["val/top1"] == ""
    assert float(rows[0]["gmacs"]) > 0
    assert float(rows[0]["perf/memory_gib"]) > 0
    winner = load(Config, folder / "winner.yaml")
    assert (winner.optimiser.lr, winner.name, winner.tracking) == (0.01, "", sweep.base.tracking)
    client = MlflowClient(result.run.uri)
    below = children(client, result.run.run_id)
    assert {name: run.info.status for name, run in below.items()} == {"lr 0.01": "FINISHED", "lr 1e30": "FAILED"}
    assert reason.partition(";")[0] in below["lr 1e30"].data.tags["last_failure"]
    assert below["lr 0.01"].data.metrics["test/clips"] == best.outcomes[0].clips
    parent = client.get_run(result.run.run_id)
    assert (parent.info.status, parent.data.metrics["failed"]) == ("FINISHED", 1)
    assert {file.path for file in client.list_artifacts(result.run.run_id)} == {
        "config.yaml", "results.csv", "results.md", "trials.csv", "winner.yaml", "axis_optimiser_lr.png", "cost.png",
    }  # fmt: skip


@pytest.mark.ray
@pytest.mark.slow
def test_what_has_an_outcome_is_not_run_again_and_a_sweep_without_any_fails(done):
    sweep, result, _ = done
    lines: list[str] = []
    alone = replace(sweep, axes={**sweep.axes, "optimiser.lr": "0.01"})
    again = run_sweep(alone, lines.append)
    assert lines == ["sweep: 1 trainings, 1 done before", "sweep test: 1 trainings, 1 done before"]
    assert again.run == result.run
    assert again.rows[0].outcomes == result.rows[0].outcomes
    named = override(alone.base, {"tracking.registered_model": "video-best"})
    asked = run_sweep(replace(alone, base=named, register=True), lines.append)
    assert (asked.version, lines[-1]) == ("1", "sweep: registering lr 0.01 seed 0")
    assert "registered video-best version 1 as candidate" in swept(asked)
    version = MlflowClient(result.run.uri).get_model_version_by_alias("video-best", "candidate")
    (best,) = again.rows[0].outcomes
    assert (version.tags["run"], float(version.tags["top1"])) == (best.name, pytest.approx(best.tested, abs=1e-4))
    assert asked.rows[0].outcomes == again.rows[0].outcomes
    with pytest.raises(ExperimentError, match=r"sweep: all 1 trials failed; the first: lr 1e30 seed 0: .*lower"):
        run_sweep(replace(sweep, axes={**sweep.axes, "optimiser.lr": "1e30"}), lines.append)
    client = MlflowClient(result.run.uri)
    assert client.get_run(result.run.run_id).info.status == "FAILED"
    assert len(children(client, result.run.run_id)) == 2  # the second try went on with the run of the first


@pytest.mark.ray
@pytest.mark.slow
def test_asha_stops_a_trial_whose_run_says_so(few, tmp_path, capsys):
    base = override(base_of(few, tmp_path), {"training.epochs": "2"})
    sweep = SweepConfig(base=base, axes={"clips.frames": "2,4", "seed": "0,1"}, scheduler="asha", test="none")
    result = run_sweep(sweep)
    assert "Configuration for experiment" not in capsys.readouterr().out  # of Tune
    assert result.failed == {}
    ended = {outcome.ended for row in result.rows for outcome in row.outcomes}
    assert "done" in ended
    assert all(outcome.epochs == 1 for row in result.rows for outcome in row.outcomes if outcome.ended != "done")
    assert [len(row.outcomes) for row in result.rows] == [2 if row.whole else 1 for row in result.rows]
    client = MlflowClient(result.run.uri)
    below = children(client, result.run.run_id)
    assert {run.data.tags.get("last_failure", run.info.status) for run in below.values()} == {"FINISHED"}
    stopped = {row.trials[0].training.name for row in result.rows if row.state == "stopped early"}
    lines: list[str] = []
    assert [row.outcomes for row in run_sweep(sweep, lines.append).rows] == [row.outcomes for row in result.rows]
    assert not any("left" in line for line in lines)  # nothing is trained again
    assert {name for name, run in below.items() if "stopped_early" in run.data.tags} == stopped
    assert result.rows[0].whole
    end = time.monotonic() + 60
    while any(group["state"] != "REMOVED" for group in ray.util.placement_group_table().values()):
        assert time.monotonic() < end, "the workers of a trial that Tune stopped keep their place"
        time.sleep(0.5)


def test_asha_compares_with_trials_of_an_earlier_start(tiny):
    sweep = SweepConfig(base=override(tiny, {"training.epochs": "4", "model.streams": "flow"}), scheduler="asha")
    scheduler = asha(sweep, {})
    history = {"flow": [{"val/top1": 0.5}, {"val/top1": 0.8}]}
    remember(scheduler, [Outcome("before", {}, 0, "d", history, 8, {}, 1.0, {})])
    (bracket,) = scheduler._brackets
    assert {milestone: recorded for milestone, recorded in bracket._rungs if recorded} == {
        1: {"before": 0.5},
        2: {"before": 0.8},
    }


@pytest.mark.ray
@pytest.mark.slow
def test_a_driver_that_was_killed_is_continued_by_the_same_command(few, tmp_path):
    """Its table is that of a sweep that was not interrupted; MLflow has one run a trial and none that still runs."""
    axes = {"clips.stride": "1,2"}
    tables, environment = [], {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    for name in ("whole", "killed"):
        base = override(base_of(few, tmp_path / name), {"training.epochs": "2", "training.checkpoint_steps": "1"})
        save(SweepConfig(base=base, axes=axes, test="none"), tmp_path / f"{name}.yaml")
        command = [*JOB, "jobs/sweep.py", "--config", str(tmp_path / f"{name}.yaml")]
        if name == "killed":
            silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            job = subprocess.Popen(command, cwd=CHECKOUT, env=environment, **silent)
            runs = tmp_path / name / "runs"
            end = time.monotonic() + 200
            while not any(runs.glob("*/flow/checkpoint_*")):
                assert job.poll() is None, "the sweep ended"
                assert time.monotonic() < end, "no trial has a checkpoint"
                time.sleep(0.2)
            os.kill(job.pid, signal.SIGKILL)
            job.wait()
        subprocess.run(command, cwd=CHECKOUT, env=environment, check=True, timeout=300, capture_output=True)
        outcomes = [json.loads(file.read_text()) for file in sorted((tmp_path / name / "outcomes").glob("*.json"))]
        tables.append([(one["name"], [row["val/loss"] for row in one["history"]["flow"]]) for one in outcomes])
    assert tables[0] == tables[1]
    client = MlflowClient(f"sqlite:///{tmp_path}/killed/mlflow.db")
    (experiment,) = (one for one in client.search_experiments() if one.name != "Default")
    every = client.search_runs([experiment.experiment_id])
    assert {run.info.status for run in every} == {"FINISHED"}
    assert len(every) == 5  # the sweep, two trials, and the network of each


MEASURED = {"seconds", "perf/clips_per_second", "perf/memory_gib", "core_hours"}  # these differ from run to run


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_sweep_that_loses_its_driver_a_worker_and_a_node_ends_with_the_table_of_an_undisturbed_one(few, tmp_path):
    """Depth x resolution x seed, in a cluster of two nodes of its own."""
    if not os.environ.get("KILLED_SWEEP"):
        pytest.skip("on request: KILLED_SWEEP=1, which takes two cores nine minutes")
    axes = {"clips.frames": "2,4", "clips.crop": "20,32", "seed": "0,1"}
    for name in ("whole", "killed"):
        fields = {"name": "same", "training.epochs": "2", "training.checkpoint_steps": "1"}
        base = override(base_of(few, tmp_path / name), fields)
        save(SweepConfig(base=base, axes=axes), tmp_path / f"{name}.yaml")
    several = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1", "PYTHONPATH": str(CHECKOUT)}
    files = [str(tmp_path / "whole.yaml"), str(tmp_path / "killed.yaml"), str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.experiments.killed_sweep", *files],
        cwd=CHECKOUT, env={**os.environ, **several}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads((tmp_path / "result.json").read_text()) == {"code": 0, "nodes": 1}
    for table in ("results.csv", "trials.csv"):
        whole, killed = (
            [
                {name: cell for name, cell in row.items() if name not in MEASURED}
                for row in csv.DictReader((tmp_path / each / "experiments" / "same" / table).open())
            ]
            for each in ("whole", "killed")
        )
        assert killed == whole
        assert len(whole) == (4 if table == "results.csv" else 8)
        assert {row["state"] for row in whole} == {"done"}
    client = MlflowClient(f"sqlite:///{tmp_path}/killed/mlflow.db")
    (experiment,) = (one for one in client.search_experiments() if one.name != "Default")
    every = client.search_runs([experiment.experiment_id])
    assert {run.info.status for run in every} == {"FINISHED"}
    assert len(every) == 1 + 8 + 8  # the sweep, its trials, and the network of each
