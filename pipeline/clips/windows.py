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


def consecutive_windows(length: int, frames: int, stride: int) -> NDArray[np.int64]:
    """Windows end to end from the first frame on, (windows, frames): as many as fit whole, or one that loops."""
    clip = whole_clip(length, stride)
    fitting = len(clip) // frames
    if not fitting:
        return _window(0, length, frames, stride)[None]
    return clip[: fitting * frames].reshape(fitting, frames)


def sliding_windows(length: int, frames: int, stride: int) -> NDArray[np.int64]:
    """Windows end to end over the whole clip, (windows, frames), as 3D-ResNets-PyTorch has them (branch CVPR2018).

    The last one loops over what is left for it, not over the clip (`LoopPadding`); a single frame that is left makes
    none (`range(1, n_frames, 16)`, frames counted from 1).
    """
    clip = whole_clip(length, stride)
    return np.stack([np.resize(clip[start:][:frames], frames) for start in range(0, max(len(clip) - 1, 1), frames)])


def spread_windows(length: int, frames: int, stride: int, count: int) -> NDArray[np.int64]:
    """Windows spread evenly from the first start to the last, (count, frames); one alone is in the middle."""
    if count == 1:
        return centre_window(length, frames, stride)[None]
    last = max(length - ((frames - 1) * stride + 1), 0)
    return np.stack([_window(last * number // (count - 1), length, frames, stride) for number in range(count)])


def snapshots(length: int, count: int, depth: int) -> NDArray[np.int64]:
    """Moments spread evenly over the clip, each with the `depth` frames around it, (count * depth,) in their order.

    Args:
        length: frames of the clip; every moment is in the middle of an equal part of it.
        count: moments.
        depth: 1 for the frames alone. Of an even number, one frame more comes before the moment than behind it.
    """
    moments = (2 * np.arange(count) + 1) * length // (2 * count)
    starts = np.clip(moments - depth // 2, 0, max(length - depth, 0))
    return ((starts[:, None] + np.arange(depth)) % length).reshape(-1)


def _window(start: int, length: int, frames: int, stride: int) -> NDArray[np.int64]:
    return (start + stride * np.arange(frames)) % length
