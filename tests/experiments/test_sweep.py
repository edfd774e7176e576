"""A real Tune run: intermediate results reach ASHA, every trial is a child run, the parent has table and picture."""

import csv
import time
from pathlib import Path

import pytest
import ray
from pipeline.sweeps.search import keep_winner, search
from pipeline.sweeps.space import param_space, trial_config, trials
from pipeline.sweeps.summary import swept

from pipeline.cluster import connect
from pipeline.command_line import override
from pipeline.config import Config, ConfigError, SweepConfig, load
from pipeline.shards import ShardError


def test_the_space_is_every_combination_and_a_trial_is_a_config(tiny):
    sweep = SweepConfig(base=tiny, frames=(2, 4), strides=(1, 2), crops=(16, 32))
    assert trials(sweep) == 8
    assert param_space(sweep)["crop"] == {"grid_search": [16, 32]}
    config = trial_config(tiny, {"frames": 2, "stride": 2, "crop": 16}, "trial-1")
    assert (config.clips.frames, config.clips.stride, config.clips.crop, config.name) == (2, 2, 16, "trial-1")
    assert config.training == tiny.training


@pytest.mark.ray
def test_trials_that_do_not_fit_at_once_are_refused(cluster, tiny):
    connect(tiny, trials=3)  # 3 trials of 2 workers of 0.5 CPUs, 3 drivers of 0.1, a loader of 0.5: 3.8 of 4
    with pytest.raises(
        ConfigError, match=r"4 trials at a time, each of 2 workers.* need 4\.9 CPUs, .*; --concurrent 3 fits"
    ):
        connect(tiny, trials=4)


def test_a_sweep_ingests_nothing(tiny, tmp_path):
    base = override(tiny, {"storage": str(tmp_path), "ingest.shards": str(tmp_path / "none")})
    with pytest.raises(ShardError, match=r"no shard set there.*run the command ingest"):
        search(SweepConfig(base=base, crops=(32,)))


@pytest.mark.ray
@pytest.mark.slow
def test_two_trials_of_two_epochs_compete_and_are_tracked(shards: Config, tmp_path: Path, capsys):
    base = override(
        shards,
        {
            "name": "sweep", "storage": str(tmp_path), "training.epochs": "2", "resources.workers": "1",
            "tracking.uri": f"sqlite:///{tmp_path}/mlflow.db", "resources.loader_cpus": "0.25",
        },
    )  # fmt: skip
    sweep = SweepConfig(base=base, frames=(2, 4), strides=(1,), crops=(32,), concurrent=2)
    result = search(sweep)
    assert "Configuration for experiment" not in capsys.readouterr().out  # of Tune
    assert len(result.rows) == 2
    assert max(row["epochs"] for row in result.rows) == 2  # one was compared after its first epoch
    assert all(row["val/clips"] == 101 for row in result.rows)
    client, parent = result.run.client, result.run.client.get_run(result.run.run_id)
    children = client.search_runs([parent.info.experiment_id], f"tags.mlflow.parentRunId = '{result.run.run_id}'")
    assert len(children) == 2
    assert {child.info.status for child in children} == {"FINISHED"}
    assert {child.data.params["clips.frames"] for child in children} == {"2", "4"}
    assert {row["status"] for row in result.rows if row["epochs"] == 2} == {"done"}
    assert {row["status"] for row in result.rows if row["epochs"] == 1} <= {"stopped early"}
    best = result.rows[0]
    child = next(child for child in children if child.data.tags["trial"] == best["trial"])
    history = client.get_metric_history(child.info.run_id, "val/top1")
    assert len(history) == best["epochs"]
    assert history[-1].value == pytest.approx(best["val/top1"])
    assert {item.path for item in client.list_artifacts(result.run.run_id)} == {
        "config.yaml",
        "results.csv",
        "sweep.png",
    }
    table = list(csv.DictReader((tmp_path / "sweeps" / "sweep" / "results.csv").open()))
    assert [row["trial"] for row in table] == [row["trial"] for row in result.rows]
    assert str(best["seconds"]) in swept(sweep, result)
    winner = load(Config, Path(keep_winner(base, result)))
    assert winner == trial_config(base, best, name="")
    end = time.monotonic() + 60
    while any(group["state"] != "REMOVED" for group in ray.util.placement_group_table().values()):
        assert time.monotonic() < end, "the workers of a trial that Tune stopped keep their place"
        time.sleep(0.5)
