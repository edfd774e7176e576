"""What happens when in a video: the likeliest action of each window, with equal neighbours as one segment.

A window stands for the time that is nearer to its middle than to that of its neighbours, as far as it shows it. So the
segments of a video do not overlap, whether its windows do or not.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Segment:
    """A part of a video with one action.

    Attributes:
        start_s: beginning, in seconds of the source.
        end_s: end, in seconds of the source.
        action: number of the action.
        confidence: mean probability of the action over the windows.
        windows: number of windows.
    """

    start_s: float
    end_s: float
    action: int
    confidence: float
    windows: int


def cells(start_s: NDArray[np.float64], end_s: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the beginning and the end of the time that each window stands for.

    Args:
        start_s: (windows,) beginning of each window, rising.
        end_s: (windows,) end of each window.
    """
    centres = (start_s + end_s) / 2
    between = (centres[:-1] + centres[1:]) / 2
    return np.maximum(start_s, [start_s[0], *between]), np.minimum(end_s, [*between, end_s[-1]])


def segments(
    probabilities: NDArray[np.floating], start_s: NDArray[np.float64], end_s: NDArray[np.float64], least: float = 0.0
) -> list[Segment]:
    """Merge neighbouring windows whose likeliest action is the same.

    Args:
        probabilities: (windows, classes).
        start_s: (windows,) beginning of each window, in seconds, rising.
        end_s: (windows,) end of each window, in seconds.
        least: windows whose likeliest action has a smaller probability belong to no segment.
    """
    if not len(probabilities):
        return []
    actions, best = probabilities.argmax(axis=1), probabilities.max(axis=1)
    begin, end = cells(start_s, end_s)
    found, first = [], 0
    for window in range(1, len(actions) + 1):
        same = window < len(actions) and actions[window] == actions[first]
        if same and (best[window] >= least) == (best[first] >= least):
            continue
        if best[first] >= least:
            own = slice(first, window)
            found.append(
                Segment(
                    float(begin[first]),
                    float(end[window - 1]),
                    int(actions[first]),
                    float(probabilities[own, actions[first]].mean()),
                    window - first,
                )
            )
        first = window
    return found


def smoothed(probabilities: NDArray[np.floating], width: int) -> NDArray[np.float64]:
    """Return the mean of each window's probabilities and those of its neighbours, (windows, classes).

    Args:
        probabilities: (windows, classes).
        width: number of windows in a mean, odd; at the ends there are fewer.
    """
    if width <= 1:
        return probabilities.astype(np.float64)
    half, count = width // 2, len(probabilities)
    total = np.vstack([np.zeros((1, probabilities.shape[1])), probabilities.cumsum(axis=0, dtype=np.float64)])
    places = np.arange(count)
    low, high = np.maximum(places - half, 0), np.minimum(places + half + 1, count)
    return (total[high] - total[low]) / (high - low)[:, None]


def top(probabilities: NDArray[np.floating], count: int) -> Sequence[int]:
    """Return the numbers of the likeliest actions, best first."""
    return [int(each) for each in np.argsort(-probabilities, kind="stable")[:count]]
