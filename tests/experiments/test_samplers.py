"""Optuna's samplers choose points, remember them over a restart, and learn the mean of their repeats."""

import json
import re
from dataclasses import replace

import pytest

from pipeline.config import Config, SweepConfig
from pipeline.experiments.samplers import OptunaSampler
from pipeline.experiments.space import Space, pinned
from pipeline.experiments.trial import Outcome

pytest.importorskip("optuna")


def sampler(tiny: Config, file: str, kind: str = "tpe") -> OptunaSampler:
    axes = {"optimiser.lr": "loguniform(1e-4,1e-1)", "clips.frames": "2,4", "seed": "0,1"}
    sweep = SweepConfig(base=pinned(tiny, 8), axes=axes, sampler=kind, points=12)
    return OptunaSampler(Space(sweep, {"train": 16, "val": 101}, 8), file)


def outcome(trial, name: str = "r") -> Outcome:
    """Accuracy that grows with the learning rate."""
    value = trial.training.config.optimiser.lr * 10
    return Outcome(name, {}, 0, "d", {}, 8, {}, 1.0, {"flow": {"val/top1": value}})


def test_it_draws_each_point_with_every_repeat_and_moves_to_where_it_is_good(tiny, tmp_path):
    asked = sampler(tiny, f"{tmp_path}/points.json")
    rates = []
    while (trials := asked.ask()) is not None:
        assert [trial.seed for trial in trials] == [0, 1]
        assert len({trial.training.name for trial in trials}) == 1
        rates.append(trials[0].training.config.optimiser.lr)
        for trial in trials:
            asked.tell(trial, outcome(trial))
    assert len(rates) == 12
    assert all(1e-4 <= rate <= 1e-1 for rate in rates)
    assert asked._study.best_value == pytest.approx(max(rates) * 10, rel=1e-3)


def test_an_interrupted_search_begins_with_the_points_that_it_had(tiny, tmp_path):
    file = f"{tmp_path}/points.json"
    first = sampler(tiny, file)
    before = [str(trial) for _ in range(3) for trial in first.ask()]
    again = sampler(tiny, file)
    assert [str(trial) for _ in range(3) for trial in again.ask()] == before
    assert str(again.ask()[0]) not in before


def test_a_combination_that_cannot_be_trained_is_said_and_another_is_drawn(tiny, tmp_path, capsys):
    axes = {"optimiser.lr": "loguniform(1e-4,1e-1)", "clips.crop": "16,64"}
    sweep = SweepConfig(base=pinned(tiny, 8), axes=axes, sampler="tpe", points=4)
    asked = OptunaSampler(Space(sweep, {"train": 16, "val": 101}, 8), f"{tmp_path}/points.json")
    drawn = [asked.ask() for _ in range(5)]
    assert [trial.training.config.clips.crop for (trial,) in drawn[:4]] == [16] * 4
    assert drawn[4] is None
    assert re.search("crop 64.* of the stored clips.*; this point is left out", capsys.readouterr().out)


def test_points_of_other_axes_are_left_out_and_stay_in_the_file(tiny, tmp_path, capsys):
    file = tmp_path / "points.json"
    fits = {"clips.frames": "2", "optimiser.lr": "0.01"}  # in another order
    others = [{"clips.frames": "2"}, {**fits, "clips.crop": "16"}, {**fits, "optimiser.lr": "0.5"}]
    others += [{**fits, "clips.frames": "3"}]
    file.write_text(json.dumps([*others, fits]))
    asked = sampler(tiny, str(file))
    assert asked.chosen == [{"optimiser.lr": "0.01", "clips.frames": "2"}]
    assert "4 points of an earlier start are none of these axes now" in capsys.readouterr().out
    assert asked.ask()[0].training.config.optimiser.lr == 0.01
    asked.ask()
    assert json.loads(file.read_text())[:5] == [*others, fits]
    assert len(json.loads(file.read_text())) == 6


def test_a_point_that_is_drawn_again_is_none_of_those_asked_for(tiny, tmp_path):
    axes = {"clips.frames": "2,4", "clips.stride": "1,2"}
    sweep = SweepConfig(base=pinned(tiny, 8), axes=axes, sampler="tpe", points=4)
    asked, drawn = OptunaSampler(Space(sweep, {}, 8), f"{tmp_path}/points.json"), []
    while trials := asked.ask():
        drawn += [trial.training.name for trial in trials]
        asked.tell(trials[0], outcome(trials[0]))
    assert len(set(drawn)) == len(drawn) == 4


def test_it_learns_of_a_point_whose_first_repeat_was_stopped(tiny, tmp_path):
    asked = sampler(tiny, f"{tmp_path}/points.json")
    first, _ = asked.ask()
    asked.tell(first, replace(outcome(first), ended="stopped early"))
    assert [trial.state.name for trial in asked._study.trials] == ["COMPLETE"]


def test_a_point_that_failed_is_no_number(tiny, tmp_path):
    asked = sampler(tiny, f"{tmp_path}/points.json")
    for trial in asked.ask():
        asked.tell(trial, None)
    assert [trial.state.name for trial in asked._study.trials] == ["FAIL"]


def test_the_other_sampler_draws_too(tiny, tmp_path):
    assert len(sampler(tiny, f"{tmp_path}/points.json", "gp").ask()) == 2
