"""One window of one clip: which frames, which crop, decoded."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.clips.crops import Crop, training_crop, whole_crop
from pipeline.clips.index import ClipIndex
from pipeline.clips.planes import Window, area_of, plane_window
from pipeline.clips.windows import centre_window, middle_frames, random_window, whole_clip
from pipeline.config import ClipsConfig
from pipeline.shards import decode_flow, decode_video

DECODE: dict[str, Callable[[bytes, NDArray[np.int64]], NDArray[np.uint8]]] = {"rgb": decode_video, "flow": decode_flow}


@dataclass(frozen=True)
class TrainingSampler:
    """Random window, crop and flip: a pure function of seed, epoch and clip, whoever decodes it and when.

    Attributes:
        clips: the window's and the crop's size.
        seed: the seed of the run.
        epoch: from 0.
        paired: the streams go into one network: both take one window, RGB every `rgb_every`-th frame of it.
    """

    clips: ClipsConfig
    seed: int
    epoch: int
    paired: bool = False

    def __call__(self, index: ClipIndex, row: int, stream: str) -> Window:
        """The window, (T, crop, crop, C) uint8, of RGB that nothing resizes its planes."""
        return _decode(index, row, stream, *self.drawn(index, row, stream))

    def drawn(self, index: ClipIndex, row: int, stream: str) -> tuple[NDArray[np.int64], Crop]:
        """Which frames, (T,), and which part of them."""
        rng = np.random.default_rng([self.seed, self.epoch, row])
        length = int(index.length("flow" if self.paired else stream)[row])
        frames = random_window(length, self.clips.frames, self.clips.stride, rng)
        if self.paired and stream == "rgb":
            frames = middle_frames(frames, self.clips.rgb_every)
        height, width = map(int, index.size[row])
        return frames, training_crop(self.clips, height, width, rng)


@dataclass(frozen=True)
class CentreSampler:
    """Central crop of the central window, or of the whole clip where `frames` is None; `paired` as in training."""

    clips: ClipsConfig
    frames: int | None
    paired: bool = False

    def lengths(self, index: ClipIndex, stream: str) -> NDArray[np.int64]:
        """(clips,) frames that the network will see of every clip."""
        if self.frames is not None:
            return np.full(len(index), self.frames)
        lengths = -(-index.length("flow" if self.paired else stream) // self.clips.stride)
        return np.maximum(lengths // self.clips.rgb_every, 1) * self.clips.rgb_every if self.paired else lengths

    def __call__(self, index: ClipIndex, row: int, stream: str) -> Window:
        """The window, (T, crop, crop, C) uint8, of RGB that nothing resizes its planes."""
        length = int(index.length("flow" if self.paired else stream)[row])
        if self.frames is None and not self.paired:
            frames = whole_clip(length, self.clips.stride)
        else:
            frames = centre_window(length, int(self.lengths(index, stream)[row]), self.clips.stride)
        if self.paired and stream == "rgb":
            frames = middle_frames(frames, self.clips.rgb_every)
        height, width = map(int, index.size[row])
        return _decode(index, row, stream, frames, whole_crop(self.clips, height, width))


def _decode(index: ClipIndex, row: int, stream: str, frames: NDArray[np.int64], crop: Crop) -> Window:
    blob, is_flow = index.blob(row, stream), stream == "flow"
    if crop.resizes:
        return crop.apply(DECODE[stream](blob, frames), is_flow)
    return crop.turn(decode_flow(blob, frames, area_of(crop)), is_flow) if is_flow else plane_window(blob, frames, crop)
