"""How a step is cut over the workers: into micro-batches that are the same for any number of them.

A step has `resources.workers x training.accumulate` micro-batches of `training.batch_size` clips: as many as make up
`training.clips_per_step`, where that is given. All that is random in
one is a function of (seed, step, number of the micro-batch), so that fewer workers, each with more micro-batches, make
the same steps.
"""

from dataclasses import dataclass

import numpy as np
import torch

from pipeline.clips.order import Batches, training_batches
from pipeline.config import Config


@dataclass(frozen=True)
class Portion:
    """The micro-batches of every step that are one rank's: `count` of them from `first` on, out of `of`.

    Attributes:
        share: what DDP, which takes the mean over ranks, must see of the mean over a step of each micro-batch.
    """

    first: int
    count: int
    of: int
    share: float

    @classmethod
    def cut(cls, config: Config, rank: int, world: int) -> "Portion":
        """As even as it goes: ranks differ by one micro-batch at most."""
        of = config.clips_of_a_step // config.training.batch_size
        each, more = divmod(of, world)
        return cls(rank * each + min(rank, more), each + (rank < more), of, world / of)

    def batches(self, config: Config, clips: int, epoch: int) -> Batches:
        """Rows of this rank's micro-batches of an epoch, `count` of them to a step."""
        numbers = range(self.first, self.first + self.count)
        size, seed = config.training.batch_size, config.seed
        parts = [training_batches(clips, size, number, self.of, seed, epoch) for number in numbers]
        return [rows for step in zip(*parts, strict=True) for rows in step]


def seed_dropout(*seed: int) -> None:
    """Make what torch draws next a function of these numbers."""
    torch.manual_seed(int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0]))
