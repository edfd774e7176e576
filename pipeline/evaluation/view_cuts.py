"""What a test protocol shows of a clip, cut from frames that are decoded already: pure arithmetic, no shards."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.clips.crops import Crop, view_crops
from pipeline.config import ClipsConfig
from pipeline.evaluation.protocols import Protocol


@dataclass(frozen=True, eq=False)
class Uncut:
    """The frames of one clip, to be indexed as if they were cut: each view is cut when it is asked for.

    Attributes:
        frames: all of the clip, (T, H, W, C) uint8.
        shown: which of them are shown, (shown,).
        under: the crops.
        is_flow: whether these are flow.
    """

    frames: NDArray[np.uint8]
    shown: NDArray[np.int64]
    under: Sequence[Crop]
    is_flow: bool

    @property
    def shape(self) -> tuple[int, int, int]:
        """(1, crops, shown): one clip."""
        return 1, len(self.under), len(self.shown)

    def __getitem__(self, view: tuple[int, int, NDArray[np.int64]]) -> NDArray[np.uint8]:
        """Of the clip 0, a crop and places in `shown`, (T,): the frames under that crop, (T, crop, crop, C)."""
        _, crop, places = view
        return self.under[crop].apply(self.frames[self.shown[places]], self.is_flow)


@dataclass(frozen=True)
class ViewCuts:
    """The views of a clip under a test protocol.

    Attributes:
        clips: the size of windows and crops.
        protocol: which windows and crops there are.
    """

    clips: ClipsConfig
    protocol: Protocol

    def views(self, length: int, stream: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Which frames of a clip of `length` are shown, (shown,), and each view's places in them, (windows, T)."""
        windows = self.protocol.windows(length, self.clips, stream)
        shown, places = np.unique(windows, return_inverse=True)
        return shown, places.reshape(windows.shape)

    def crops(self, frames: NDArray[np.uint8], stream: str) -> NDArray[np.uint8]:
        """Frames (shown, H, W, C) under every crop, (crops, shown, crop, crop, C) uint8."""
        return np.stack([crop.apply(frames, stream == "flow") for crop in self._under(frames)])

    def uncut(self, frames: NDArray[np.uint8], stream: str) -> tuple[Uncut, NDArray[np.int64]]:
        """All frames of a clip, (T, H, W, C), to be cut view by view; and each view's places, as `views` has them."""
        shown, places = self.views(len(frames), stream)
        return Uncut(frames, shown, self._under(frames), stream == "flow"), places

    def _under(self, frames: NDArray[np.uint8]) -> list[Crop]:
        short_side = self.clips.crop if self.protocol.whole_side else self.clips.short_side
        height, width = frames.shape[1:3]
        return view_crops(height, width, short_side, self.clips.crop, self.protocol.crops)
