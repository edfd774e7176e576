"""One epoch in this process, without Ray Train: what it counts, where it begins and stops, what it leaves behind."""

import copy

import pytest
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from pipeline.command_line import override
from pipeline.config import Config
from pipeline.networks import build_network
from pipeline.tracking.runs import Run
from pipeline.training.checkpoints import State
from pipeline.training.consensus import with_consensus
from pipeline.training.ema import build_average
from pipeline.training.job import Job
from pipeline.training.loop import finished
from pipeline.training.optimisers import build_optimiser
from pipeline.training.rank import Rank
from pipeline.training.train_epoch import settle_statistics, train_epoch
from pipeline.training.validation import validate

pytestmark = pytest.mark.ray

HERE = Rank(0, 1, torch.device("cpu"), None)


def job_of(config: Config, **fields: str) -> Job:
    wanted = {"resources.workers": "1"} | {name.replace("__", "."): text for name, text in fields.items()}
    return Job(override(config, wanted), "rgb", Run("sqlite:////nowhere/mlflow.db", "none"))


def state_of(job: Job) -> State:
    torch.manual_seed(0)
    network = build_network(job.config.model, job.stream, 8)
    average = build_average(network, job.config.training.average)
    return State(network, build_optimiser(job.config.optimiser, network), average=average)


def run(job: Job, state: State, after_step=lambda: None) -> dict[str, float]:
    return train_epoch(job, state.model, state, job.task.index("train"), HERE, after_step)


def statistics(network: torch.nn.Module) -> list[torch.Tensor]:
    return [module.running_mean.clone() for module in network.modules() if isinstance(module, _BatchNorm)]


def test_an_epoch_trains_on_every_clip_once_and_leaves_the_position_at_a_new_one(shards):
    job = job_of(shards)
    state = state_of(job)
    calls = []
    metrics = run(job, state, lambda: calls.append(state.position.steps))
    assert metrics["train/clips"] == 16
    assert metrics["perf/workers"] == 1
    assert metrics["perf/restarts"] == 0
    assert metrics["perf/clips_per_second"] > 0
    assert 0 <= metrics["perf/data_wait"] <= 1
    assert state.step == 4
    assert calls == [1, 2, 3]  # after the last step comes the checkpoint of the epoch
    assert (state.position.steps, state.epoch) == (0, 0)  # the loop counts the epoch, after its validation


def test_an_epoch_that_goes_on_from_its_middle_ends_where_an_uninterrupted_one_ends(shards):
    job = job_of(shards)
    whole, parts = state_of(job), state_of(job)
    expected = run(job, whole)
    stored = {}

    def interrupt() -> None:
        if parts.position.steps == 2:
            stored.update(
                model=copy.deepcopy(parts.model.state_dict()),
                optimiser=copy.deepcopy(parts.optimiser.state_dict()),
                position=copy.deepcopy(parts.position),
                step=parts.step,
            )
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(job, parts, interrupt)
    again = state_of(job)
    again.model.load_state_dict(stored["model"])
    again.optimiser.load_state_dict(stored["optimiser"])
    again.position, again.step = stored["position"], stored["step"]
    found = run(job, again)
    assert found["train/clips"] == expected["train/clips"] == 16
    assert found["train/loss"] == pytest.approx(expected["train/loss"], rel=1e-6)
    for a, b in zip(whole.model.parameters(), again.model.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_a_number_of_steps_ends_a_training_inside_an_epoch(shards):
    job = job_of(shards, training__steps="3", training__epochs="5")
    state = state_of(job)
    assert run(job, state)["train/clips"] == 12
    state.epoch += 1
    assert state.step == 3
    assert finished(job, state)


def test_a_training_is_finished_by_epochs_by_steps_or_by_its_rate_and_never_inside_an_epoch(shards):
    job = job_of(shards, training__epochs="2", schedule__stop_lr="1e-5")
    state = state_of(job)
    assert not finished(job, state)
    state.optimiser.param_groups[0]["lr"] = 1e-6
    assert finished(job, state)
    state.position.steps = 1
    assert not finished(job, state)
    state.position.steps, state.optimiser.param_groups[0]["lr"], state.epoch = 0, 0.1, 2
    assert finished(job, state)


def test_precise_statistics_are_those_of_the_weights_at_the_end(shards):
    job = job_of(shards, training__precise_batch_norm="4", training__average="0.5")
    state = state_of(job)
    run(job, state)
    running = statistics(state.evaluated)
    assert running
    settle_statistics(job, state, job.task.index("train"), HERE)
    settled = statistics(state.evaluated)
    assert any(not torch.allclose(a, b) for a, b in zip(running, settled, strict=True))
    settle_statistics(job, state, job.task.index("train"), HERE)
    for a, b in zip(settled, statistics(state.evaluated), strict=True):
        torch.testing.assert_close(a, b)  # the same clips and weights give the same again


def test_an_epoch_on_three_segments_counts_each_clip_once_and_trains_the_network_itself(shards):
    job = job_of(shards, clips__segments="3", training__precise_batch_norm="1")
    state = state_of(job)
    before = copy.deepcopy(state.model.state_dict())
    model = with_consensus(state.model, 3)
    metrics = train_epoch(job, model, state, job.task.index("train"), HERE, lambda: None)
    assert metrics["train/clips"] == 16
    settle_statistics(job, state, job.task.index("train"), HERE)
    after = state.model.state_dict()
    assert before.keys() == after.keys()
    assert sum(not torch.equal(before[name], after[name]) for name in before) > len(before) / 2
    assert validate(job, state.evaluated, job.task.index("val"), HERE)["val/clips"] == 101


def test_without_precise_statistics_nothing_changes_on_one_worker(shards):
    job = job_of(shards)
    state = state_of(job)
    before = copy.deepcopy(state.model.state_dict())
    settle_statistics(job, state, job.task.index("train"), HERE)
    for name, value in state.model.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_validation_counts_every_clip_once_and_changes_nothing(shards):
    job = job_of(shards)
    state = state_of(job)
    before = copy.deepcopy(state.model.state_dict())
    metrics = validate(job, state.evaluated, job.task.index("val"), HERE)
    assert metrics["val/clips"] == 101
    assert 0 <= metrics["val/top1"] <= metrics["val/top5"] <= 1
    for name, value in state.model.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_a_validation_whose_loss_is_no_number_says_what_to_do(shards):
    job = job_of(shards)
    state = state_of(job)
    with torch.no_grad():
        list(state.model.parameters())[-1].fill_(float("nan"))
    with pytest.raises(FloatingPointError, match=r"rgb: validation loss is nan; lower optimiser\.lr"):
        validate(job, state.evaluated, job.task.index("val"), HERE)
