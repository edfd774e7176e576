"""The order of clips: a pure function of seed and epoch, so that a run resumes exactly where it stopped.

Rows are positions in a `ClipIndex`. A batch of the whole job is divided into one part per rank.
"""

import numpy as np
from numpy.typing import NDArray

Batches = list[NDArray[np.int64]]


def training_batches(clips: int, batch_size: int, rank: int, world: int, seed: int, epoch: int) -> Batches:
    """Return the batches of one rank in one epoch: a permutation of all clips without the incomplete last batch.

    All ranks get the same number of batches, of `batch_size` clips each; the clips that are left out differ from epoch
    to epoch. A split smaller than one batch of the job is repeated to fill it.
    """
    order = np.random.default_rng([seed, epoch]).permutation(clips)
    whole = batch_size * world
    if clips < whole:
        order = np.resize(order, whole)
    steps = len(order) // whole
    return [order[step * whole + rank * batch_size :][:batch_size] for step in range(steps)]


def evaluation_batches(lengths: NDArray[np.int64], batch_size: int, rank: int, world: int) -> Batches:
    """Return the batches of one rank over a whole split; every clip is in exactly one batch of one rank.

    Clips are sorted by length, and a batch holds clips of one length only, so that whole clips stack without padding.

    Args:
        lengths: (clips,) number of frames of each clip that the network will see.
        batch_size: largest number of clips in a batch.
        rank: this rank.
        world: number of ranks.
    """
    mine = np.argsort(lengths, kind="stable")[rank::world]
    batches: Batches = []
    for length in np.unique(lengths[mine]):
        same = mine[lengths[mine] == length]
        batches += [same[start : start + batch_size] for start in range(0, len(same), batch_size)]
    return batches


def view_batches(groups: NDArray[np.int64], views: NDArray[np.int64], batch_size: int) -> Batches:
    """Return batches of clips for a test with several views; each clip is in one batch, with clips of its group only.

    Args:
        groups: (clips,) group number of each clip, from 0.
        views: (groups,) number of views per clip in each group.
        batch_size: largest number of views in a batch; a clip with more views is a batch of its own.
    """
    batches: Batches = []
    for group, count in enumerate(views):
        same, clips = np.flatnonzero(groups == group), max(1, batch_size // int(count))
        batches += [same[start : start + clips] for start in range(0, len(same), clips)]
    return batches
