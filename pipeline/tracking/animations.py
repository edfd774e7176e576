"""Clips as small animated pictures, which a browser shows where MLflow lists them."""

import io

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.flow import colour, dequantise


def animate(
    frames: NDArray[np.uint8],
    flow: NDArray[np.uint8] | None = None,
    bound: float = 20.0,
    height: int = 112,
    fps: int = 8,
) -> bytes:
    """A GIF of a clip that repeats for ever, the flow in colours to the right of each frame.

    Args:
        frames: (T, H, W, 3) uint8 RGB.
        flow: (T or T - 1, H, W, 2) uint8 levels; the last field stays where there is one fewer. None for none.
        bound: of the flow, in pixels; half of it is fully saturated.
        height: of the picture.
        fps: pictures a second.
    """
    pictures = [_resized(frame, height) for frame in frames]
    if flow is not None:
        fields = flow[np.minimum(np.arange(len(frames)), len(flow) - 1)]
        beside = [_resized(colour(dequantise(field, bound), bound / 2), height) for field in fields]
        pictures = [np.concatenate(pair, axis=1) for pair in zip(pictures, beside, strict=True)]
    first, *rest = (Image.fromarray(picture).quantize(128) for picture in pictures)
    buffer = io.BytesIO()
    first.save(buffer, "GIF", save_all=True, append_images=rest, duration=round(1000 / fps), loop=0)
    return buffer.getvalue()


def _resized(picture: NDArray[np.uint8], height: int) -> NDArray[np.uint8]:
    width = max(1, round(picture.shape[1] * height / picture.shape[0]))
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
