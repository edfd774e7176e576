"""A fraction of a training split: the same share of each class, chosen by a seed.

Which clips are chosen depends on the seed, the fraction and the ids of the clips of a class, and not on the machine. A
smaller fraction is part of a larger one with the same seed.
"""

import hashlib

import numpy as np
from numpy.typing import NDArray

from pipeline.clips.index import ClipIndex


def fraction_of(index: ClipIndex, fraction: float, seed: int) -> ClipIndex:
    """Return the index with this fraction of the clips of each class, at least one, in the same order.

    Args:
        index: the clips of a split.
        fraction: share of each class, above 0 and at most 1; clips without a label count as one class.
        seed: seed of the choice.
    """
    if fraction >= 1:
        return index
    return index.take(chosen(index.clip_ids, index.label, fraction, seed))


def chosen(clip_ids: NDArray[np.str_], label: NDArray[np.int64], fraction: float, seed: int) -> NDArray[np.int64]:
    """Return the rows of the clips that are chosen, in rising order.

    Args:
        clip_ids: (clips,) the ids.
        label: (clips,) the class of each clip.
        fraction: see `fraction_of`.
        seed: see `fraction_of`.
    """
    keys = np.array([hashlib.sha256(f"{seed} {name}".encode()).digest()[:8] for name in clip_ids], "S8")
    order = np.lexsort((clip_ids, keys.view(">u8"), label))  # by class, and in it by key
    _, first, count = np.unique(label[order], return_index=True, return_counts=True)
    kept = np.maximum(1, np.floor(count * fraction + 0.5)).astype(np.int64)
    return np.sort(np.concatenate([order[start : start + some] for start, some in zip(first, kept, strict=True)]))
