"""The queue of an experiment: what it takes for done, what it takes once, what it hears twice."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from ray.exceptions import NodeDiedError, ObjectLostError, RayTaskError

from pipeline.command_line import override
from pipeline.config import Config, SweepConfig
from pipeline.experiments.queue import Queue
from pipeline.experiments.run import Settings, is_loss, run_trials
from pipeline.experiments.space import Space, pinned
from pipeline.experiments.trial import Outcome, Trial, outcome_file
from pipeline.tracking.runs import tracked_run

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


def done_as(name: str, weights: dict[str, str]) -> Outcome:
    return Outcome(name, {"flow": 0.5}, 8, "d", {"flow": [EPOCH]}, 8, weights, 60.0, {"flow": EPOCH})


def test_the_same_training_under_two_names_is_run_once(trials):
    other = replace(trials[0], training=replace(trials[0].training, name="of another table"))
    queue = queue_of([trials[0], other, trials[1]], early=False)
    assert queue.run_name(other) == queue.run_name(trials[0])
    assert queue.suggest("a")["trial"] == str(trials[0])
    assert queue.suggest("b")["trial"] == str(trials[1])
    assert queue.suggest("c") is None  # it waits for the first
    outcome = done_as(queue.run_name(trials[0]), {})
    outcome.save(outcome_file(queue.storage, outcome.name))
    queue.on_trial_complete("a", {})
    assert queue.outcomes[other.id] == queue.outcomes[trials[0].id] == outcome
    assert not queue.waiting


def test_a_trial_whose_initial_weights_are_gone_says_what_brings_them_back(trials, tmp_path):
    second = replace(trials[1], training=replace(trials[1].training, starts={"flow": trials[0].training}))
    weights = tmp_path / "weights.pt"
    queue = queue_of([trials[0], second], early=False)
    outcome = done_as(queue.run_name(trials[0]), {"flow": str(weights)})
    file = outcome_file(queue.storage, outcome.name)
    outcome.save(file)
    assert queue_of([trials[0], second], early=False).suggest("a") == "FINISHED"
    queue = queue_of([trials[0], second], early=False)
    queue.suggest("a")
    (reason,) = queue.failed.values()
    assert reason == f"its initial weights {weights} are gone; without {file} they are trained again"
    weights.touch()
    assert queue_of([trials[0], second], early=False).suggest("a")["starts"] == {"flow": str(weights)}


@pytest.mark.parametrize("text", ['{"name": "x', '{"name": "x"}', '{"of_tomorrow": 1}'])
def test_an_outcome_that_cannot_be_read_is_none(trials, text):
    queue = queue_of(trials, early=False)
    file = Path(outcome_file(queue.storage, queue.run_name(trials[0])))
    file.parent.mkdir(parents=True)
    file.write_text(text)
    assert len(queue_of(trials, early=False).waiting) == 2


def test_the_time_left_counts_the_trials_that_are_not_chosen_yet(trials, monkeypatch):
    class One:
        """Has another trial to give."""

        def ask(self):
            return None

        def tell(self, trial, outcome):
            pass

        def left(self):
            return 1

    queue = queue_of(trials[:1], False, One())
    queue.suggest("a")
    monkeypatch.setattr(queue, "_begun", queue._begun - 60)
    lines: list[str] = []
    queue.write = lines.append
    done_as("x", {}).save(outcome_file(queue.storage, queue.run_name(trials[0])))
    queue.on_trial_complete("a", {})
    assert re.search(r"; 1:\d\d left$", lines[0])  # as long as the one that is done


def test_what_another_experiment_has_trained_has_a_run_here_too(trials, tmp_path):
    names = [queue_of(trials, early=False).run_name(trial) for trial in trials]
    for name in names:
        done_as(name, {}).save(outcome_file(str(tmp_path), name))
    settings = Settings(str(tmp_path), f"{tmp_path}/experiments/q", 1, 0)
    with tracked_run(f"sqlite:///{tmp_path}/mlflow.db", "e", "parent") as run:
        for _ in range(2):
            run_trials(queue_of(trials, early=False), run, settings)
    children = run.children()
    assert sorted(child.info.run_name for child in children) == ["frames 2 seed 0", "frames 4 seed 0"]
    assert {child.data.tags["trial"] for child in children} == set(names)
    assert {(child.info.status, child.data.metrics["test/flow_top1"]) for child in children} == {("FINISHED", 0.5)}


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (ValueError("a broken clip"), False),
        (RayTaskError("score", "Traceback", ValueError("a broken clip")), False),
        (RayTaskError("score", "Traceback", ObjectLostError("0" * 56, None, "")), True),
        (NodeDiedError("gone"), True),
    ],
)
def test_an_error_in_a_ray_task_is_no_lost_process(error, lost):
    assert is_loss(error) is lost
