"""Division of a step into micro-batches, which are the same for any number of workers.

A step has `resources.workers x training.accumulate` micro-batches of `training.batch_size` clips or, if
`training.clips_per_step` is given, as many as make up that number of clips. All random numbers of a micro-batch are a
function of (seed, step, number of the micro-batch). Therefore fewer workers, each with more micro-batches, make the
same steps.
"""

from dataclasses import dataclass

import numpy as np
import torch

from pipeline.clips.order import Batches, training_batches


@dataclass(frozen=True)
class Portion:
    """The micro-batches of every step that belong to one rank: numbers `first` to `first + count - 1` out of `of`.

    Attributes:
        share: factor for the loss of each micro-batch. With it, the mean that DDP takes over ranks is the mean over the
            micro-batches of the step.
    """

    first: int
    count: int
    of: int
    share: float

    @classmethod
    def cut(cls, clips_of_a_step: int, batch_size: int, rank: int, world: int) -> "Portion":
        """Return the portion of a rank; the counts of two ranks differ by at most one.

        Args:
            clips_of_a_step: number of clips of a step, over all ranks.
            batch_size: number of clips of a micro-batch.
            rank: the rank.
            world: number of ranks.
        """
        of = clips_of_a_step // batch_size
        each, more = divmod(of, world)
        return cls(rank * each + min(rank, more), each + (rank < more), of, world / of)

    def batches(self, clips: int, batch_size: int, seed: int, epoch: int) -> Batches:
        """Return the rows of this rank's micro-batches in an epoch; `count` consecutive ones belong to one step.

        Args:
            clips: number of clips of the split.
            batch_size: number of clips of a micro-batch.
            seed: seed of the training.
            epoch: number of the epoch.
        """
        numbers = range(self.first, self.first + self.count)
        parts = [training_batches(clips, batch_size, number, self.of, seed, epoch) for number in numbers]
        return [rows for step in zip(*parts, strict=True) for rows in step]


def seed_dropout(*seed: int) -> None:
    """Seed torch's random numbers with a function of these numbers."""
    torch.manual_seed(int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0]))
