"""The repeats of a point wait for the verdict on its first, and ASHA judges no other."""

from types import SimpleNamespace

import pytest
from ray.tune.schedulers import TrialScheduler

from pipeline.command_line import override
from pipeline.config import SweepConfig
from pipeline.experiments.asha import asha
from pipeline.experiments.repeats import AfterTheFirst
from pipeline.experiments.space import Space, pinned
from pipeline.experiments.trial import Outcome


@pytest.fixture
def space(tiny) -> Space:
    base = pinned(override(tiny, {"model.streams": "flow", "training.epochs": "4"}), 8)
    return Space(SweepConfig(base=base, axes={"clips.frames": "2,3,4", "seed": "5,6,7"}, scheduler="asha"), {}, 8)


def outcome(ended: str) -> Outcome:
    return Outcome("run", {}, 0, "d", {}, 8, {}, 1.0, {}, ended)


def test_the_other_seeds_of_a_point_run_unless_its_first_was_stopped(space):
    after = AfterTheFirst(space, None)
    done, stopped, failed = after.first(space.trials(space.points()))
    assert [trial.seed for trial in (done, stopped, failed)] == [5, 5, 5]
    assert after.left() == 6
    assert after.ask() is None
    after.tell(stopped, outcome("stopped early"))
    assert after.ask() is None
    after.tell(done, outcome("done"))
    assert after.left() == 4
    others = after.ask()
    assert [str(trial) for trial in others] == ["frames 2 seed 6", "frames 2 seed 7"]
    after.tell(failed, None)  # says nothing about its other seeds
    assert [str(trial) for trial in after.ask()] == ["frames 4 seed 6", "frames 4 seed 7"]
    for trial in others:
        after.tell(trial, outcome("done"))
    assert (after.ask(), after.left()) == (None, 0)


def test_a_sampler_gives_the_points_and_hears_of_all_outcomes(space):
    told, left = [], [space.trials([point]) for point in space.points()[:1]]
    sampler = SimpleNamespace(
        ask=lambda: left.pop() if left else None, tell=lambda trial, outcome: told.append(str(trial))
    )
    after = AfterTheFirst(space, sampler)
    (first,) = after.ask()
    assert after.ask() is None
    after.tell(first, outcome("done"))
    for trial in after.ask():
        after.tell(trial, outcome("done"))
    assert told == ["frames 2 seed 5", "frames 2 seed 6", "frames 2 seed 7"]


def test_asha_neither_stops_a_further_seed_nor_compares_others_with_it(space):
    scheduler = asha(space.sweep, space.repeats[0])

    def told(name: str, seed: str, accuracy: float) -> str:
        trial = SimpleNamespace(trial_id=name, config={"axes": {"clips.frames": "2", "seed": seed}})
        scheduler.on_trial_add(None, trial)
        return scheduler.on_trial_result(None, trial, {"epoch": 1, "val/top1": accuracy})

    assert told("a", "5", 0.5) == TrialScheduler.CONTINUE
    assert told("b", "6", 0.9) == TrialScheduler.CONTINUE
    assert told("c", "5", 0.6) == TrialScheduler.CONTINUE  # better than a, and b does not count
    assert told("d", "7", 0.1) == TrialScheduler.CONTINUE
    assert told("e", "5", 0.1) == TrialScheduler.STOP
