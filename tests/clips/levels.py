"""What a window shows, however it was handed over."""

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.clips.normalise import Planes, rgb
from pipeline.clips.planes import PlaneWindow, Window, columns


def planes(*windows: PlaneWindow) -> Planes:
    """A batch of windows."""
    luma, chroma, phase = (torch.from_numpy(column) for column in columns("rgb", windows).values())
    return Planes(luma, chroma, phase)


def levels(window: Window) -> NDArray[np.uint8]:
    """(T, H, W, C) uint8."""
    return rgb(planes(window))[0].numpy() if isinstance(window, PlaneWindow) else window
