"""Flow as a picture: hue shows direction, saturation shows length, in the colour wheel of the Middlebury benchmark.

Baker, Scharstein, Lewis, Roth, Black, Szeliski, "A Database and Evaluation Methodology for Optical Flow", IJCV 2011;
the wheel and the arithmetic are those of the benchmark's `colorcode.cpp`. Right is red, down yellow, left cyan, up
violet, no motion white; motion longer than the radius is darkened by a quarter.
"""

import numpy as np
from numpy.typing import NDArray

# Number of hues from one primary or secondary colour to the next: as many as the eye distinguishes there, 55 in all.
_HUES = {"RY": 15, "YG": 6, "GC": 4, "CB": 11, "BM": 13, "MR": 6}
_CORNERS = {"R": (1, 0, 0), "Y": (1, 1, 0), "G": (0, 1, 0), "C": (0, 1, 1), "B": (0, 0, 1), "M": (1, 0, 1)}


def _ring() -> NDArray[np.float64]:
    """Return the hues in order, (55, 3) RGB in [0, 1], with full saturation and starting at red."""
    stretches = []
    for name, count in _HUES.items():
        first, last = np.array(_CORNERS[name[0]]), np.array(_CORNERS[name[1]])
        stretches.append(255 * first + (last - first) * (255 * np.arange(count)[:, None] // count))
    return np.concatenate(stretches) / 255


_RING = _ring()


def colour(flow: NDArray[np.float32], radius: float) -> NDArray[np.uint8]:
    """Convert flow to colours.

    Args:
        flow: (..., 2) displacements in pixels, x (to the right) before y (down).
        radius: length in pixels at which colours are fully saturated.

    Returns:
        (..., 3) uint8 RGB; black where the flow is not finite.

    Raises:
        ValueError: the last axis is not x and y, or the radius is not above zero.
    """
    if flow.shape[-1:] != (2,) or not radius > 0:
        raise ValueError(f"colours need x and y on the last axis and a radius above 0: {flow.shape}, {radius}")
    known = np.isfinite(flow).all(axis=-1, keepdims=True)
    x, y = np.moveaxis(np.where(known, flow, 0).astype(np.float64) / radius, -1, 0)
    length = np.hypot(x, y)[..., None]
    place = (np.arctan2(-y, -x) / np.pi + 1) / 2 * (len(_RING) - 1)
    before = place.astype(np.int64)
    after, weight = (before + 1) % len(_RING), (place - before)[..., None]
    hue = (1 - weight) * _RING[before] + weight * _RING[after]
    shade = np.where(length <= 1, 1 - length * (1 - hue), 0.75 * hue)
    return np.where(known, 255 * shade, 0).astype(np.uint8)


def wheel(size: int) -> NDArray[np.uint8]:
    """Draw the legend: flow that points outwards from the centre and is as long as the radius at the rim.

    Args:
        size: side of the square picture in pixels.

    Returns:
        (size, size, 3) uint8 RGB, white beyond the rim.
    """
    axis = (np.arange(size) + 0.5) * 2 / size - 1
    x, y = np.meshgrid(axis, axis)
    inside = np.hypot(x, y) <= 1
    outwards = np.stack([x, y], axis=-1) * inside[..., None]
    return colour(outwards.astype(np.float32), 1.0)
