"""The views of a clip under a test protocol, cut from decoded frames, without access to shards."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.clips.crops import Crop, evaluated_side, view_crops
from pipeline.config import ClipsConfig
from pipeline.evaluation.protocols import Protocol


@dataclass(frozen=True, eq=False)
class Uncut:
    """The frames of one clip, indexed as if all crops were cut; each view is cut when it is requested.

    Attributes:
        frames: all frames of the clip, (T, H, W, C) uint8.
        shown: indices of the frames that are shown, (shown,).
        under: the crops.
        is_flow: whether the frames are flow.
    """

    frames: NDArray[np.uint8]
    shown: NDArray[np.int64]
    under: Sequence[Crop]
    is_flow: bool

    @property
    def shape(self) -> tuple[int, int, int]:
        """(1, crops, shown), for one clip."""
        return 1, len(self.under), len(self.shown)

    def __getitem__(self, view: tuple[int, int, NDArray[np.int64]]) -> NDArray[np.uint8]:
        """Return the frames, (T, crop, crop, C), of clip 0, a crop and places in `shown`, (T,)."""
        _, crop, places = view
        return self.under[crop].apply(self.frames[self.shown[places]], self.is_flow)


@dataclass(frozen=True)
class ViewCuts:
    """The views of a clip under a test protocol.

    Attributes:
        clips: sizes of windows and crops.
        protocol: the test protocol.
    """

    clips: ClipsConfig
    protocol: Protocol

    def views(self, length: int, stream: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the indices of a clip's shown frames, (shown,), and each window's places in them, (windows, T)."""
        windows = self.protocol.windows(length, self.clips, stream)
        shown, places = np.unique(windows, return_inverse=True)
        return shown, places.reshape(windows.shape)

    def crops(self, frames: NDArray[np.uint8], stream: str) -> NDArray[np.uint8]:
        """Apply every crop to frames (shown, H, W, C); return (crops, shown, crop, crop, C) uint8."""
        return np.stack([crop.apply(frames, stream == "flow") for crop in self._under(frames)])

    def uncut(self, frames: NDArray[np.uint8], stream: str) -> tuple[Uncut, NDArray[np.int64]]:
        """Wrap all frames of a clip, (T, H, W, C), to be cut view by view; return also the places of each window."""
        shown, places = self.views(len(frames), stream)
        return Uncut(frames, shown, self._under(frames), stream == "flow"), places

    def _under(self, frames: NDArray[np.uint8]) -> list[Crop]:
        short_side = evaluated_side(self.clips, self.protocol.whole_side)
        height, width = frames.shape[1:3]
        return view_crops(height, width, short_side, self.clips.crop, self.protocol.crops)
