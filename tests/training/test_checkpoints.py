"""What each rank has of its own inside an epoch: back to the same ranks, or to another number of them."""

import pytest
import torch
from torch import nn
from torch.optim import SGD

from pipeline.training.checkpoints import Position, State
from pipeline.training.metrics import Sums


def state_of(mean: float, clips: float) -> State:
    network = nn.Sequential(nn.BatchNorm1d(2))
    network[0].running_mean.fill_(mean)
    sums = Sums(torch.tensor([8.0, 1.0, 2.0, clips], dtype=torch.float64))
    return State(network, SGD(network.parameters(), lr=0.1), position=Position(3, sums, seconds=5.0, waited=1.0))


@pytest.fixture
def folder(tmp_path):
    """A checkpoint of two ranks inside an epoch."""
    for rank, state in enumerate([state_of(1.0, 4.0), state_of(2.0, 6.0)]):
        if rank == 0:
            state.save(tmp_path)
        state.save_rank(tmp_path, rank)
    return tmp_path


@pytest.mark.parametrize(
    ("rank", "world", "mean", "clips"),
    [(0, 2, 1.0, 4), (1, 2, 2.0, 6), (0, 1, 1.5, 10), (0, 3, 1.5, 10), (2, 3, 1.5, 0)],
)
def test_every_rank_has_its_own_again_or_the_mean(folder, rank, world, mean, clips):
    state = state_of(9.0, 0.0)
    state.position = Position()
    state.load(folder, torch.device("cpu"))
    state.load_rank(folder, rank, world)
    assert state.model[0].running_mean.tolist() == [mean, mean]
    assert (state.position.steps, state.position.sums.values[3].item()) == (3, clips)
    assert (state.position.seconds, state.restarts) == (5.0, 1)


def test_the_sums_of_one_rank_are_counted_once_by_two(tmp_path):
    before = state_of(1.0, 4.0)
    before.save(tmp_path)
    before.save_rank(tmp_path, 0)
    clips = []
    for rank in range(2):
        state = state_of(9.0, 0.0)
        state.load(tmp_path, torch.device("cpu"))
        state.load_rank(tmp_path, rank, 2)
        assert state.model[0].running_mean.tolist() == [1.0, 1.0]
        clips.append(state.position.sums.values[3].item())
    assert clips == [4, 0]


def test_weights_that_are_not_finite_are_not_stored():
    state = state_of(0.0, 0.0)
    state.check_finite("flow")
    state.step = 7
    state.model[0].weight.data[1] = float("nan")
    with pytest.raises(FloatingPointError, match=r"flow: weights are not finite after step 7; lower optimiser\.lr"):
        state.check_finite("flow")
