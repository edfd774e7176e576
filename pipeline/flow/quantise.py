"""Flow as 8-bit integers, as denseflow and TSN quantise it: 0 px is level 128."""

import numpy as np
from numpy.typing import NDArray

_AT_ONCE = 1 << 14  # displacements in float64: they stay in the cache


def quantise(flow: NDArray[np.float32], bound: float) -> NDArray[np.uint8]:
    """Clip flow to [-bound, bound] pixels and round it to 256 levels, half to even as OpenCV's cvRound.

    Args:
        flow: displacements of any shape, in pixels.
        bound: largest displacement kept, in pixels.
    """
    given, levels = flow.reshape(-1), np.empty(flow.size, np.uint8)
    exact = np.empty(min(flow.size, _AT_ONCE))
    for start in range(0, flow.size, _AT_ONCE):
        part, target = given[start : start + _AT_ONCE], levels[start : start + _AT_ONCE]
        level = np.add(part, bound, out=exact[: len(part)], dtype=np.float64)
        level *= 255 / (2 * bound)
        np.rint(level, out=level)
        np.copyto(target, np.clip(level, 0, 255, out=level), casting="unsafe")
    return levels.reshape(flow.shape)


def dequantise(levels: NDArray[np.uint8], bound: float) -> NDArray[np.float32]:
    """Convert levels to pixels; the error is at most bound / 255 where |flow| <= bound."""
    return (levels.astype(np.float32) * np.float32(2 * bound / 255) - np.float32(bound)).astype(np.float32)


def pictured(levels: NDArray[np.uint8], bound: float) -> NDArray[np.float32]:
    """Convert levels to pixels for a picture: as `dequantise`, but no motion is exactly 0.

    No motion lies between the centres of levels 127 and 128 and is stored as 128, so a picture shows both as 0.

    Args:
        levels: levels of any shape.
        bound: bound of the flow, in pixels.
    """
    return np.where((levels == 127) | (levels == 128), np.float32(0), dequantise(levels, bound))
