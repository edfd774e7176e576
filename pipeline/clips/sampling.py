"""Sampling of one window of one clip: choose the frames and the crop, and decode them."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.clips.crops import Crop, training_crop, whole_crop
from pipeline.clips.planes import Window, area_of, plane_window
from pipeline.clips.stored_clips import StoredClips
from pipeline.clips.windows import centre_window, middle_frames, random_window, segment_windows, whole_clip
from pipeline.config import ClipsConfig
from pipeline.shards import decode_flow, decode_video

DECODE: dict[str, Callable[[bytes, NDArray[np.int64]], NDArray[np.uint8]]] = {"rgb": decode_video, "flow": decode_flow}


@dataclass(frozen=True)
class TrainingSampler:
    """A sampler of random windows, crops and flips: a pure function of seed, epoch and clip, in any process and order.

    Attributes:
        clips: sizes of the window and the crop.
        seed: the seed of the run.
        epoch: number of the epoch, from 0.
        paired: whether one network takes both streams: both then have the same window, RGB every `rgb_every`-th frame.
    """

    clips: ClipsConfig
    seed: int
    epoch: int
    paired: bool = False

    def __call__(self, index: StoredClips, row: int, stream: str) -> Window:
        """Decode the window, (T, crop, crop, C) uint8; RGB that is not resized comes as planes.

        The windows of several segments follow each other in T.
        """
        return _decode(index, row, stream, *self.drawn(index, row, stream))

    def drawn(self, index: StoredClips, row: int, stream: str) -> tuple[NDArray[np.int64], Crop]:
        """Draw the indices of the frames, (T,), and the crop, which is the same for all segments."""
        rng = np.random.default_rng([self.seed, self.epoch, row])
        length = int(index.length("flow" if self.paired else stream)[row])
        if self.clips.segments == 1:
            frames = random_window(length, self.clips.frames, self.clips.stride, rng)
        else:
            wanted = self.clips.frames, self.clips.stride, self.clips.segments
            frames = segment_windows(length, *wanted, rng).reshape(-1)
        if self.paired and stream == "rgb":
            frames = middle_frames(frames, self.clips.rgb_every)
        height, width = map(int, index.size[row])
        return frames, training_crop(self.clips, height, width, rng)


@dataclass(frozen=True)
class CentreSampler:
    """A sampler of the central crop of the central window, or of the whole clip if `frames` is None.

    `paired` has the same meaning as in training.
    """

    clips: ClipsConfig
    frames: int | None
    paired: bool = False

    def lengths(self, index: StoredClips, stream: str) -> NDArray[np.int64]:
        """Return the number of frames of each clip that the network will see, (clips,)."""
        if self.frames is not None:
            return np.full(len(index), self.frames)
        lengths = -(-index.length("flow" if self.paired else stream).astype(np.int64) // self.clips.stride)
        return np.maximum(lengths // self.clips.rgb_every, 1) * self.clips.rgb_every if self.paired else lengths

    def __call__(self, index: StoredClips, row: int, stream: str) -> Window:
        """Decode the window, (T, crop, crop, C) uint8; RGB that is not resized comes as planes."""
        length = int(index.length("flow" if self.paired else stream)[row])
        if self.frames is None and not self.paired:
            frames = whole_clip(length, self.clips.stride)
        else:
            frames = centre_window(length, int(self.lengths(index, stream)[row]), self.clips.stride)
        if self.paired and stream == "rgb":
            frames = middle_frames(frames, self.clips.rgb_every)
        height, width = map(int, index.size[row])
        return _decode(index, row, stream, frames, whole_crop(self.clips, height, width))


def _decode(index: StoredClips, row: int, stream: str, frames: NDArray[np.int64], crop: Crop) -> Window:
    blob, is_flow = index.blob(row, stream), stream == "flow"
    if crop.resizes:
        return crop.apply(DECODE[stream](blob, frames), is_flow)
    return crop.turn(decode_flow(blob, frames, area_of(crop)), is_flow) if is_flow else plane_window(blob, frames, crop)
