"""Clips as small animated pictures, which a browser shows where MLflow lists them."""

import io
from collections.abc import Sequence

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
        bound: the bound of the flow, in pixels.
        height: the height of the picture.
        fps: pictures a second.
    """
    pictures = [_resized(frame, height) for frame in frames]
    if flow is not None:
        fields = flow[np.minimum(np.arange(len(frames)), len(flow) - 1)]
        beside = [_resized(picture, height) for picture in flow_pictures(fields, bound)]
        pictures = [np.concatenate(pair, axis=1) for pair in zip(pictures, beside, strict=True)]
    return gif([Image.fromarray(picture) for picture in pictures], fps)


def gif(pictures: Sequence[Image.Image], fps: int) -> bytes:
    """A GIF that repeats for ever, in colours chosen once, from eight pictures: eight times as fast as for each.

    Args:
        pictures: RGB, of one size.
        fps: pictures a second.
    """
    chosen = np.unique(np.linspace(0, len(pictures) - 1, 8).astype(int))
    small = np.concatenate([np.asarray(pictures[number])[::3, ::3] for number in chosen])
    palette = Image.fromarray(small).quantize(192)
    first, *rest = (picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures)
    buffer = io.BytesIO()
    first.save(buffer, "GIF", save_all=True, append_images=rest, duration=round(1000 / fps), loop=0)
    return buffer.getvalue()


def flow_pictures(flow: NDArray[np.uint8], bound: float) -> NDArray[np.uint8]:
    """Quantised flow in colours, so that most of the clip's motion is seen.

    Args:
        flow: (T, H, W, 2) uint8 levels.
        bound: the bound of the flow, in pixels.

    Returns:
        (T, H, W, 3) uint8 RGB; fully saturated is what 1 % of the places exceed, half a pixel at least.
    """
    fields = dequantise(flow, bound)
    radius = max(1.01 * float(np.percentile(np.linalg.norm(fields, axis=-1), 99)), 0.5)
    return colour(fields, radius)


def _resized(picture: NDArray[np.uint8], height: int) -> NDArray[np.uint8]:
    width = max(1, round(picture.shape[1] * height / picture.shape[0]))
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
