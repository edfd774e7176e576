"""A step has the same clips, random numbers and gradient for any number of workers."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.clips.loader import Batch
from pipeline.clips.order import training_batches
from pipeline.config import Config, ResourcesConfig, TrainingConfig
from pipeline.training.checkpoints import State
from pipeline.training.micro_batches import Portion
from pipeline.training.optimisers import build_optimiser
from pipeline.training.rank import Rank
from pipeline.training.step import train_step

CONFIG = Config(
    training=TrainingConfig(batch_size=2, accumulate=3, mixup=0.4), resources=ResourcesConfig(workers=4, min_workers=1)
)
CLIPS = 60


@pytest.mark.parametrize("world", [1, 2, 3, 4])
def test_the_workers_of_any_group_share_every_step(world):
    portions = [Portion.cut(CONFIG.clips_of_a_step, 2, rank, world) for rank in range(world)]
    assert [number for one in portions for number in range(one.first, one.first + one.count)] == list(range(12))
    rows = [one.batches(CLIPS, 2, CONFIG.seed, epoch=5) for one in portions]
    for step, expected in enumerate(training_batches(CLIPS, 24, 0, 1, CONFIG.seed, epoch=5)):
        parts = [part[step * one.count :][: one.count] for part, one in zip(rows, portions, strict=True)]
        assert np.array_equal(np.concatenate([batch for part in parts for batch in part]), expected)


def small() -> nn.Module:
    """A network without batch norm, with dropout."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv3d(3, 4, 3), nn.Flatten(), nn.Dropout(0.5), nn.Linear(4 * 2 * 6 * 6, 5))


@pytest.mark.parametrize("world", [2, 3])
def test_the_mean_of_the_workers_gradients_is_that_of_one_worker(world):
    """As DDP takes the mean; three workers share four micro-batches unevenly."""
    config = replace(CONFIG, training=replace(CONFIG.training, accumulate=1))
    windows = torch.randint(256, (8, 4, 8, 8, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    batches = [Batch({"rgb": w}, torch.arange(2), torch.arange(2)) for w in windows.split(2)]
    network = small()

    def gradients(rank: int, of: int) -> list[torch.Tensor]:
        own, portion = copy.deepcopy(network), Portion.cut(config.clips_of_a_step, 2, rank, of)
        state = State(own, build_optimiser(config.optimiser, own))
        here = Rank(rank, of, torch.device("cpu"), None)
        mine = batches[portion.first :][: portion.count]
        train_step(config.training, config.seed, own, mine, ("rgb",), here, state, portion)
        return [value.grad for value in own.parameters()]

    alone = gradients(0, 1)
    shared = [
        torch.stack(parts).mean(dim=0) for parts in zip(*(gradients(r, world) for r in range(world)), strict=True)
    ]
    for a, b in zip(alone, shared, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_fewer_workers_than_at_least_are_a_mistake():
    with pytest.raises(ValueError, match="min_workers: 3 is more than workers, which is 2"):
        ResourcesConfig(workers=2, min_workers=3)
