"""Crops of windows: one resize, one crop and one flip for all frames of a window, RGB or flow."""

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.config import ClipsConfig

SCALES = tuple(2 ** (-step / 4) for step in range(5))  # 3D ResNets: 1 to 1/2, section 3.2 of arXiv 1711.09577


@dataclass(frozen=True)
class Crop:
    """A square of `side` pixels from frames resized to `short_side`; it may be mirrored, and resized to `size`."""

    short_side: int | None
    top: int
    left: int
    side: int
    flip: bool = False
    size: int | None = None

    def apply(self, frames: NDArray[np.uint8], is_flow: bool) -> NDArray[np.uint8]:
        """Apply the crop to the frames of a window.

        Args:
            frames: (T, H, W, C) uint8, C = 3 for RGB or 2 for quantised flow, x before y.
            is_flow: whether the frames are flow: then a flip negates the first channel, and a resize scales
                displacements.

        Returns:
            (T, size, size, C) uint8; if `size` is None, (T, side, side, C).
        """
        frames = _resize(frames, *resized(frames.shape[1], frames.shape[2], self.short_side), is_flow)
        window = frames[:, self.top : self.top + self.side, self.left : self.left + self.side]
        return self.turn(_resize(window, self.size or self.side, self.size or self.side, is_flow), is_flow)

    @property
    def resizes(self) -> bool:
        """Whether frames are resized, before or after the cut."""
        return self.short_side is not None or self.size is not None

    def turn(self, window: NDArray[np.uint8], is_flow: bool) -> NDArray[np.uint8]:
        """Return a cropped window, (T, H, W, C), mirrored if `flip` is set."""
        if not self.flip:
            return np.ascontiguousarray(window)
        mirrored = mirror(window)
        if is_flow:
            mirrored[..., 0] = 255 - mirrored[..., 0]  # the exact negative once levels are mapped to [-1, 1]
        return mirrored


def training_crop(clips: ClipsConfig, height: int, width: int, rng: np.random.Generator) -> Crop:
    """Draw a training crop, of the kind that the config names, for stored frames of the given size."""
    if clips.augment == "random_crop":
        return random_crop(height, width, clips.short_side, clips.crop, clips.flip, rng)
    scales = SCALES if clips.augment == "multi_scale_corner_crop" else None
    return corner_crop(height, width, clips.short_side, clips.crop, clips.flip, rng, scales)


def random_crop(
    height: int, width: int, short_side: int | None, side: int, flip: bool, rng: np.random.Generator
) -> Crop:
    """Draw a crop anywhere in the frame; if `flip` is true, it is mirrored half of the time."""
    height, width = resized(height, width, short_side)
    top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
    return Crop(short_side, top, left, side, flip and bool(rng.integers(2)))


def corner_crop(
    height: int,
    width: int,
    short_side: int | None,
    size: int,
    flip: bool,
    rng: np.random.Generator,
    scales: tuple[float, ...] | None = None,
) -> Crop:
    """Draw a crop at one of the corners or the centre, all equally likely; if `flip`, it is mirrored half of the time.

    Args:
        height: height of the stored frames in pixels.
        width: width of the stored frames in pixels.
        short_side: shorter side to which the frames are resized first; None keeps their size.
        size: side of the result in pixels.
        flip: whether the crop may be mirrored.
        rng: the random generator.
        scales: sides of the square as shares of the shorter side, all equally likely; the square is then resized to
            `size`. With None the square has `size` pixels.
    """
    height, width = resized(height, width, short_side)
    side = round(min(height, width) * scales[rng.integers(len(scales))]) if scales else size
    down, right = height - side, width - side
    places = ((down // 2, right // 2), (0, 0), (0, right), (down, 0), (down, right))
    top, left = places[rng.integers(len(places))]
    return Crop(short_side, top, left, side, flip and bool(rng.integers(2)), size if scales else None)


def centre_crop(height: int, width: int, short_side: int | None, side: int) -> Crop:
    """Return the crop in the middle of the frame."""
    height, width = resized(height, width, short_side)
    return Crop(short_side, (height - side) // 2, (width - side) // 2, side)


def whole_crop(clips: ClipsConfig, height: int, width: int) -> Crop:
    """Return the central crop for evaluation; see `evaluated_side`."""
    return centre_crop(height, width, evaluated_side(clips), clips.crop)


def evaluated_side(clips: ClipsConfig, whole_side: bool = False) -> int | None:
    """Return the shorter side to which frames are resized before an evaluation; None keeps their size.

    Training at several scales shows squares of half the shorter side to all of it, resized to the crop. A test on a
    crop of the stored size would show 112 of 256 pixels, another scale; as in the paper's test, the crop spans the
    side.

    Args:
        clips: how training crops are made.
        whole_side: whether the test protocol wants the same after any training.
    """
    return clips.crop if whole_side or clips.augment == "multi_scale_corner_crop" else clips.short_side


def view_crops(height: int, width: int, short_side: int | None, side: int, count: int) -> list[Crop]:
    """Return the crops on which a clip is tested.

    Args:
        height: height of the stored frames in pixels.
        width: width of the stored frames in pixels.
        short_side: shorter side to which the frames are resized; None keeps their size.
        side: side of the crops in pixels.
        count: number of crops. 1: the centre; 3: both ends and the middle of the longer side; 5: the corners and the
            centre; 10: these and their mirror images.
    """
    height, width = resized(height, width, short_side)
    down, right = height - side, width - side
    centre = (down // 2, right // 2)
    corners = [(0, 0), (0, right), (down, 0), (down, right)]
    ends = [(down // 2, 0), (down // 2, right)] if width >= height else [(0, right // 2), (down, right // 2)]
    places = {1: [centre], 3: [ends[0], centre, ends[1]], 5: [*corners, centre], 10: [*corners, centre]}[count]
    crops = [Crop(short_side, top, left, side) for top, left in places]
    return [*crops, *(replace(crop, flip=True) for crop in crops)] if count == 10 else crops


def resized(height: int, width: int, short_side: int | None) -> tuple[int, int]:
    """Scale (height, width) to the given shorter side with the same aspect ratio; None changes nothing."""
    if short_side is None:
        return height, width
    scale = short_side / min(height, width)
    return round(height * scale), round(width * scale)


def mirror(window: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Mirror a window, (T, H, W) or (T, H, W, C), left to right into a new array."""
    mirrored = np.empty(window.shape, np.uint8)
    for frame, target in zip(window, mirrored, strict=True):
        cv2.flip(frame, 1, dst=target)  # several times as fast as a view with a negative step
    return mirrored


def _resize(frames: NDArray[np.uint8], height: int, width: int, is_flow: bool) -> NDArray[np.uint8]:
    """Resize frames, (T, H, W, C); the displacements of flow are scaled by the same factor."""
    if (height, width) == frames.shape[1:3]:
        return frames
    scale = height / frames.shape[1]
    frames = np.stack([cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR) for frame in frames])
    if is_flow:  # displacements are in pixels, whose size has changed
        frames = np.rint((frames.astype(np.float32) - 127.5) * scale + 127.5).clip(0, 255).astype(np.uint8)
    return frames
