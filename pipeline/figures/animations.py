"""Clips as small animations, which a browser shows on MLflow's pages."""

import io
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.flow import colour, pictured


def animate(
    frames: NDArray[np.uint8],
    flow: NDArray[np.uint8] | None = None,
    bound: float = 20.0,
    height: int = 112,
    fps: int = 8,
) -> bytes:
    """Make a GIF of a clip that repeats forever, with the flow in colours to the right of each frame.

    Args:
        frames: (T, H, W, 3) uint8 RGB.
        flow: (T or T - 1, H, W, 2) uint8 levels; with T - 1 fields, the last is shown twice. None for no flow.
        bound: bound of the flow, in pixels.
        height: height of the pictures, in pixels.
        fps: pictures per second.
    """
    pictures = [_resized(frame, height) for frame in frames]
    if flow is not None:
        fields = flow[np.minimum(np.arange(len(frames)), len(flow) - 1)]
        beside = [_resized(picture, height) for picture in flow_pictures(fields, bound)]
        pictures = [np.concatenate(pair, axis=1) for pair in zip(pictures, beside, strict=True)]
    return gif([Image.fromarray(picture) for picture in pictures], fps)


def gif(pictures: Sequence[Image.Image], fps: int) -> bytes:
    """Make a GIF that repeats forever.

    All pictures have the same colours, chosen from eight of them; this is eight times as fast as a choice for each.

    Args:
        pictures: RGB pictures of one size.
        fps: pictures per second.
    """
    chosen = np.unique(np.linspace(0, len(pictures) - 1, 8).astype(int))
    small = np.concatenate([np.asarray(pictures[number])[::3, ::3] for number in chosen])
    palette = Image.fromarray(small).quantize(192)
    first, *rest = (picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures)
    buffer = io.BytesIO()
    first.save(buffer, "GIF", save_all=True, append_images=rest, duration=round(1000 / fps), loop=0)
    return buffer.getvalue()


def flow_pictures(flow: NDArray[np.uint8], bound: float) -> NDArray[np.uint8]:
    """Convert quantised flow to colours, scaled so that most of the clip's motion is visible.

    Args:
        flow: (T, H, W, 2) uint8 levels.
        bound: bound of the flow, in pixels.

    Returns:
        (T, H, W, 3) uint8 RGB, fully saturated just above the length that 1 % of the flow exceeds, or at half a pixel
        if that is more.
    """
    fields = pictured(flow, bound)
    radius = max(1.01 * float(np.percentile(np.linalg.norm(fields, axis=-1), 99)), 0.5)
    return colour(fields, radius)


def _resized(picture: NDArray[np.uint8], height: int) -> NDArray[np.uint8]:
    width = max(1, round(picture.shape[1] * height / picture.shape[0]))
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
