"""Selection of the frames of a stored clip that a network sees: index arithmetic only, without decoding.

A window is `frames` indices, `stride` apart; a clip that is too short is looped (I3D section 2.5: "for shorter videos,
we looped the video as many times as necessary").
"""

import numpy as np
from numpy.typing import NDArray


def random_window(length: int, frames: int, stride: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return a window with a random start; every start at which it fits is equally likely, including the last."""
    span = (frames - 1) * stride + 1
    return _window(int(rng.integers(max(length - span, 0) + 1)), length, frames, stride)


def segment_windows(
    length: int, frames: int, stride: int, count: int, rng: np.random.Generator | None = None
) -> NDArray[np.int64]:
    """Return a window from each of `count` equal parts of the clip, in order, (count, frames).

    As in Temporal Segment Networks (arXiv 1608.00859), it is the starts that are divided into equal parts, so every
    window fits into the clip if one does, and windows may overlap.

    Args:
        length: number of frames of the clip.
        frames: frames of a window.
        stride: step from one frame to the next.
        count: number of windows.
        rng: draws each start within its part; None for the middle of each part.
    """
    starts = max(length - (frames - 1) * stride, 1)
    within = 0.5 if rng is None else rng.random(count)
    first = ((np.arange(count) + within) * starts / count).astype(np.int64)
    return np.stack([_window(int(start), length, frames, stride) for start in first])


def centre_window(length: int, frames: int, stride: int) -> NDArray[np.int64]:
    """Return the window in the middle of the clip."""
    span = (frames - 1) * stride + 1
    return _window(max(length - span, 0) // 2, length, frames, stride)


def whole_clip(length: int, stride: int) -> NDArray[np.int64]:
    """Return every `stride`-th frame of the clip."""
    return np.arange(0, length, stride)


def middle_frames(window: NDArray[np.int64], every: int) -> NDArray[np.int64]:
    """Return the middle one of every `every` frames: the RGB frames for a window of flow (Quo Vadis, section 2.3)."""
    return window[every // 2 :: every]


def consecutive_windows(length: int, frames: int, stride: int) -> NDArray[np.int64]:
    """Return adjacent windows from the first frame on, (windows, frames): as many as fit whole, or a looped one."""
    clip = whole_clip(length, stride)
    fitting = len(clip) // frames
    if not fitting:
        return _window(0, length, frames, stride)[None]
    return clip[: fitting * frames].reshape(fitting, frames)


def sliding_windows(length: int, frames: int, stride: int) -> NDArray[np.int64]:
    """Return adjacent windows over the whole clip, (windows, frames), as in 3D-ResNets-PyTorch (branch CVPR2018).

    The last window loops over the frames that are left for it, not over the clip (`LoopPadding`). A single frame that
    is left gets no window (`range(1, n_frames, 16)`, frames counted from 1).
    """
    clip = whole_clip(length, stride)
    return np.stack([np.resize(clip[start:][:frames], frames) for start in range(0, max(len(clip) - 1, 1), frames)])


def spread_windows(length: int, frames: int, stride: int, count: int) -> NDArray[np.int64]:
    """Return windows spread evenly from the first start to the last, (count, frames); a single one is in the middle."""
    if count == 1:
        return centre_window(length, frames, stride)[None]
    last = max(length - ((frames - 1) * stride + 1), 0)
    return np.stack([_window(last * number // (count - 1), length, frames, stride) for number in range(count)])


def snapshots(length: int, count: int, depth: int) -> NDArray[np.int64]:
    """Return the `depth` frames around each of `count` moments spread evenly over the clip, (count * depth,) in order.

    Args:
        length: number of frames of the clip; each moment is in the middle of one of `count` equal parts.
        count: number of moments.
        depth: frames per moment; 1 for the moment alone. If it is even, one more frame comes before the moment than
            after it.
    """
    moments = (2 * np.arange(count) + 1) * length // (2 * count)
    starts = np.clip(moments - depth // 2, 0, max(length - depth, 0))
    return ((starts[:, None] + np.arange(depth)) % length).reshape(-1)


def _window(start: int, length: int, frames: int, stride: int) -> NDArray[np.int64]:
    return (start + stride * np.arange(frames)) % length
