"""The queue of an experiment: what it takes for done, what it takes once, what it hears twice."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from pipeline.command_line import override
from pipeline.config import Config, SweepConfig
from pipeline.experiments.queue import Queue
from pipeline.experiments.space import Space, pinned
from pipeline.experiments.trial import Outcome, Trial, outcome_file

EPOCH = {"val/loss": 1.0, "val/top1": 0.5, "train/clips": 8.0, "perf/clips_per_second": 4.0}


@pytest.fixture
def trials(tiny: Config, tmp_path: Path) -> list[Trial]:
    """Two trials of a sweep."""
    base = pinned(override(tiny, {"storage": str(tmp_path), "model.streams": "flow"}), 8)
    space = Space(SweepConfig(base=base, axes={"clips.frames": "2,4", "seed": "0"}), {"train": 16, "val": 8}, 8)
    return space.trials(space.points())


def queue_of(trials: Sequence[Trial], early: bool, sampler: object = None) -> Queue:
    config = trials[0].training.config
    counts = {split: {"present": 8} for split in ("train", "val", "test")}
    manifests = {config.ingest.shards: {"digest": "d", "splits": counts}}
    return Queue("q", config.storage, manifests, trials, False, early, sampler, write=lambda line: None)  # type: ignore[arg-type]


def test_a_trial_that_a_scheduler_stopped_goes_on_without_one(trials):
    first = queue_of(trials, early=True)
    name = first.run_name(trials[0])
    stopped = Outcome(name, {}, 0, "d", {"flow": [EPOCH]}, 8, {}, 1.0, {"flow": EPOCH}, "stopped early")
    stopped.save(outcome_file(trials[0].training.config.storage, name))
    assert [str(trial) for trial in queue_of(trials, early=True).waiting] == [str(trials[1])]
    assert queue_of(trials, early=True).known(trials) == [stopped]
    assert len(queue_of(trials, early=False).waiting) == 2


def test_an_epoch_that_a_restarted_trial_tells_again_counts_once(trials):
    queue = queue_of(trials[:1], early=True)
    queue.suggest("t")
    for epoch in (1, 2, 1, 2, 3):
        queue.on_trial_result("t", {**EPOCH, "epoch": epoch})
    queue.on_trial_complete("t", {})
    (outcome,) = queue.outcomes.values()
    assert (outcome.ended, outcome.epochs, outcome.seconds) == ("stopped early", 3, 6.0)


def test_a_point_that_is_drawn_twice_is_one_trial_and_many_known_points_are_passed(trials):
    class Draws:
        """Draws the same point a thousand times, then another."""

        def __init__(self) -> None:
            self.left = [[trials[1]], *[[trials[0]]] * 1500]

        def ask(self):
            return self.left.pop() if self.left else None

        def tell(self, trial, outcome):
            pass

    queue = queue_of(trials[:1], True, Draws())
    assert queue.suggest("a")["trial"] == str(trials[0])
    assert queue.suggest("b")["trial"] == str(trials[1])
    assert [str(trial) for trial in queue.trials] == [str(trial) for trial in trials]
