"""Which frames of a stored clip a network sees: pure index arithmetic, apart from decoding.

A window is `frames` indices, `stride` apart; a clip that is too short is looped (I3D section 2.5: "for shorter videos,
we looped the video as many times as necessary").
"""

import numpy as np
from numpy.typing import NDArray


def random_window(length: int, frames: int, stride: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """A window at a random start: every start at which it fits is equally likely, the last included."""
    span = (frames - 1) * stride + 1
    return _window(int(rng.integers(max(length - span, 0) + 1)), length, frames, stride)


def centre_window(length: int, frames: int, stride: int) -> NDArray[np.int64]:
    """The window in the middle of the clip."""
    span = (frames - 1) * stride + 1
    return _window(max(length - span, 0) // 2, length, frames, stride)


def whole_clip(length: int, stride: int) -> NDArray[np.int64]:
    """Every frame of the clip at the given stride."""
    return np.arange(0, length, stride)


def middle_frames(window: NDArray[np.int64], every: int) -> NDArray[np.int64]:
    """Of every so many frames the middle one: the RGB frames that go with a window of flow (Quo Vadis, section 2.3)."""
    return window[every // 2 :: every]


def _window(start: int, length: int, frames: int, stride: int) -> NDArray[np.int64]:
    return (start + stride * np.arange(frames)) % length
