"""Pairs for supervision transfer (arXiv 1711.08200, section 3.2): frames and a clip, of the same video or of two."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pipeline.clips.decoding import Sampler
from pipeline.clips.index import ClipIndex
from pipeline.clips.planes import Window
from pipeline.clips.stored_clips import StoredClips
from pipeline.shards import ShardError


def partners(index: ClipIndex, seed: int, epoch: int | None) -> NDArray[np.int64]:
    """Choose the clip whose frames are paired with each clip: for half of them itself, else a clip of another video.

    The choice is a pure function of the arguments; all clips of other videos are equally likely.

    Args:
        index: the clips; their ids begin with `DATASET.VIDEO`.
        seed: the seed of the run.
        epoch: number of the epoch, from 0; None for the pairs of the validation, which do not change.

    Returns:
        (clips,) rows of the index.

    Raises:
        ShardError: all clips are of one video.
    """
    rng = np.random.default_rng([seed, 0 if epoch is None else epoch + 1, 8_200])
    video = np.unique([".".join(name.split(".")[:2]) for name in index.clip_ids.tolist()], return_inverse=True)[1]
    by_video = np.argsort(video, kind="stable")
    sizes = np.bincount(video)
    others = len(index) - sizes[video]  # clips of other videos: they follow the own one in this order, cyclically
    if not others.all():
        raise ShardError(f"{index.shards}: all {len(index)} clips of {index.split!r} are of one video; no pair differs")
    behind = np.cumsum(sizes)[video]
    rows = by_video[(behind + rng.integers(others)) % len(index)]
    same = rng.permutation(len(index)) < (len(index) + 1) // 2
    return np.where(same, np.arange(len(index)), rows)


def matched(index: ClipIndex, rows: NDArray[np.int64]) -> ClipIndex:
    """Return the clips with the labels of their pairs: 1 if frames and clip are of the same video and time, else 0."""
    return replace(index, labels=("different", "same"), label=(rows == np.arange(len(index))).astype(np.int64))


@dataclass(frozen=True)
class PairSampler:
    """A sampler of a clip as `rgb` and its partner as `frames`; if both are one clip, they have one window and crop."""

    sample: Sampler
    rows: NDArray[np.int64]

    def lengths(self, index: StoredClips, stream: str) -> NDArray[np.int64]:  # noqa: ARG002 - both streams are alike
        """Return the number of frames of every window, (clips,)."""
        return self.sample.lengths(index, "rgb")  # type: ignore[attr-defined]

    def __call__(self, index: StoredClips, row: int, stream: str) -> Window:
        """Decode the window, (T, crop, crop, 3) uint8 or planes."""
        return self.sample(index, int(self.rows[row]) if stream == "frames" else row, "rgb")
