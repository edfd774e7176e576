"""Flow as 8-bit integers, as denseflow and TSN quantise it: 0 px is level 128."""

import numpy as np
from numpy.typing import NDArray


def quantise(flow: NDArray[np.float32], bound: float) -> NDArray[np.uint8]:
    """Clip flow to [-bound, bound] pixels and round it to 256 levels, half to even as OpenCV's cvRound.

    Args:
        flow: displacements of any shape, in pixels.
        bound: largest displacement kept, in pixels.
    """
    levels = np.empty(flow.shape, np.uint8)
    for field, target in zip(flow, levels, strict=True) if flow.ndim > 3 else [(flow, levels)]:  # not all in float64
        exact = np.rint((field.astype(np.float64) + bound) * (255 / (2 * bound)))
        np.copyto(target, exact.clip(0, 255), casting="unsafe")
    return levels


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
