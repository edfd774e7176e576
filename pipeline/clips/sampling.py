"""One window of one clip: which frames, which crop, decoded."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.clips.crops import Crop, centre_crop, random_crop
from pipeline.clips.index import ClipIndex
from pipeline.clips.windows import centre_window, random_window, whole_clip
from pipeline.config import ClipsConfig
from pipeline.shards import decode_flow, decode_video

DECODE: dict[str, Callable[[bytes, NDArray[np.int64]], NDArray[np.uint8]]] = {"rgb": decode_video, "flow": decode_flow}


@dataclass(frozen=True)
class TrainingSampler:
    """Random window, crop and flip: a pure function of seed, epoch and clip, whoever decodes it and when."""

    clips: ClipsConfig
    seed: int
    epoch: int

    def __call__(self, index: ClipIndex, row: int, stream: str) -> NDArray[np.uint8]:
        """The window, (T, crop, crop, C) uint8."""
        rng = np.random.default_rng([self.seed, self.epoch, row])
        length = int(index.length(stream)[row])
        frames = random_window(length, self.clips.frames, self.clips.stride, rng)
        height, width = map(int, index.size[row])
        crop = random_crop(height, width, self.clips.short_side, self.clips.crop, self.clips.flip, rng)
        return _decode(index, row, stream, frames, crop)


@dataclass(frozen=True)
class CentreSampler:
    """Central crop of the central window, or of the whole clip where `frames` is None."""

    clips: ClipsConfig
    frames: int | None

    def lengths(self, index: ClipIndex, stream: str) -> NDArray[np.int64]:
        """(clips,) frames that the network will see of every clip."""
        if self.frames is not None:
            return np.full(len(index), self.frames)
        return -(-index.length(stream) // self.clips.stride)

    def __call__(self, index: ClipIndex, row: int, stream: str) -> NDArray[np.uint8]:
        """The window, (T, crop, crop, C) uint8."""
        length = int(index.length(stream)[row])
        if self.frames is None:
            frames = whole_clip(length, self.clips.stride)
        else:
            frames = centre_window(length, self.frames, self.clips.stride)
        height, width = map(int, index.size[row])
        return _decode(index, row, stream, frames, centre_crop(height, width, self.clips.short_side, self.clips.crop))


def _decode(index: ClipIndex, row: int, stream: str, frames: NDArray[np.int64], crop: Crop) -> NDArray[np.uint8]:
    return crop.apply(DECODE[stream](index.blob(row, stream), frames), is_flow=stream == "flow")
