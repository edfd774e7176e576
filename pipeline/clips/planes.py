"""RGB windows as H.264 stores them, in luma and chroma planes: half the bytes of RGB, converted on the device only.

The network sees the levels that `decode_video` would give: `pipeline.clips.normalise` computes them from the planes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.clips.crops import Crop, mirror
from pipeline.shards import Area, decode_planes

WHOLE = -1  # the phase of a clip that is stored with full colour resolution


@dataclass(frozen=True, eq=False)
class PlaneWindow:
    """One RGB window as planes.

    Attributes:
        luma: (T, H, W) uint8.
        chroma: (T, 2, h, w) uint8, U before V; h, w = H, W at full colour resolution, else H // 2 + 1, W // 2 + 1.
        phase: (2,) int64, for rows and columns: pixel i has the colour at (i + phase) // 2, or at i for `WHOLE`.
    """

    luma: NDArray[np.uint8]
    chroma: NDArray[np.uint8]
    phase: NDArray[np.int64]


Window = NDArray[np.uint8] | PlaneWindow


def plane_window(video: bytes, frames: NDArray[np.int64], crop: Crop) -> PlaneWindow:
    """Decode the part of an encoded clip that a crop without a resize keeps."""
    luma, chroma, whole = decode_planes(video, frames, area_of(crop))
    phase = np.array([WHOLE, WHOLE] if whole else [crop.top % 2, crop.left % 2])
    if not crop.flip:
        return PlaneWindow(luma, chroma, phase)
    if not whole:
        phase[1] = 2 * chroma.shape[3] - crop.side - phase[1]
    mirrored = mirror(chroma.reshape(-1, *chroma.shape[2:])).reshape(chroma.shape)
    return PlaneWindow(mirror(luma), mirrored, phase)


def area_of(crop: Crop) -> Area:
    """Return the area of the frames that a crop without a resize keeps."""
    return Area(crop.top, crop.left, crop.side, crop.side)


def columns(stream: str, windows: Sequence[Window]) -> dict[str, NDArray]:
    """Return the windows of a batch as table columns: `stream`, and for planes `stream.chroma` and `stream.phase`.

    If a batch also has clips of full colour resolution, chroma of half resolution fills only the upper left corner.
    """
    if arrays := [window for window in windows if not isinstance(window, PlaneWindow)]:  # a sampler returns one kind
        return {stream: np.stack(arrays)}
    planes = [window for window in windows if isinstance(window, PlaneWindow)]
    height, width = np.max([window.chroma.shape[2:] for window in planes], axis=0)
    chroma = np.zeros((len(planes), len(planes[0].luma), 2, height, width), np.uint8)
    for window, target in zip(planes, chroma, strict=True):
        target[:, :, : window.chroma.shape[2], : window.chroma.shape[3]] = window.chroma
    return {
        stream: np.stack([window.luma for window in planes]),
        f"{stream}.chroma": chroma,
        f"{stream}.phase": np.stack([window.phase for window in planes]),
    }
