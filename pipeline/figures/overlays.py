"""Animations of where networks look: the clip, class-activation maps over it, and their means over time."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from pipeline.escaping import one_line
from pipeline.figures.animations import gif

INK, FAINT, RULE, PAPER = (32, 36, 40), (120, 126, 132), (216, 220, 224), (255, 255, 255)
COLOURS = ((194, 65, 12), (29, 78, 216), (21, 128, 61), (124, 58, 237))
SIDE, GAP, LINE, STRIP = 144, 8, 17, 36  # pixels


@dataclass(frozen=True)
class Row:
    """One stream of a clip.

    Attributes:
        name: text written above the row.
        frames: (T, H, W, 3) uint8 RGB.
        maps: (classes, T, H', W'); values below 0 are not shown over the frames.
    """

    name: str
    frames: NDArray[np.uint8]
    maps: NDArray[np.float32]


def heat(frames: NDArray[np.uint8], maps: NDArray[np.float32], most: float) -> NDArray[np.uint8]:
    """Draw the map of a class over grey frames, in colours from transparent through violet and orange to yellow.

    Args:
        frames: (T, H, W, 3) uint8 RGB.
        maps: (T, H', W') map of the class.
        most: value shown in yellow.
    """
    height, width = frames.shape[1:3]
    shown = []
    for frame, small in zip(frames, maps, strict=True):
        share = cv2.resize(np.ascontiguousarray(small), (width, height), interpolation=cv2.INTER_LINEAR)
        share = np.clip(share / most, 0, 1)[..., None] if most > 0 else np.zeros((height, width, 1))
        colours = cv2.applyColorMap((90 + 165 * share).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
        grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)[..., None] * 0.7 + 50
        weight = 0.8 * share**0.7
        shown.append((grey * (1 - weight) + colours * weight).astype(np.uint8))
    return np.stack(shown)


def attention_animation(title: Sequence[str], rows: Sequence[Row], classes: Sequence[str], fps: int = 8) -> bytes:
    """Make a GIF that repeats forever, with one row per stream: the clip, a map per class, and their means over time.

    Args:
        title: lines of text at the top.
        rows: the streams. The first sets the number of pictures, at most 32; frames are taken evenly from each stream.
        classes: names of the maps' classes, written above the maps.
        fps: pictures per second.
    """
    steps = min(len(rows[0].frames), 32)
    width = GAP + (SIDE + GAP) * (1 + len(classes))
    height = GAP + LINE * len(title) + len(rows) * (2 * LINE + SIDE + STRIP + 3 * GAP)
    page = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(page)
    for number, line in enumerate(title):
        _write(draw, (GAP, GAP // 2 + LINE * number), line, width - 2 * GAP, 13)
    panels: list[tuple[int, int, NDArray[np.uint8]]] = []
    cursors: list[tuple[int, int]] = []
    top = GAP + LINE * len(title)
    for row in rows:
        when = (np.arange(steps) * len(row.frames)) // steps
        frames, maps = row.frames[when], row.maps[:, when]
        _write(draw, (GAP, top), row.name, width - 2 * GAP, 12)
        labels = ["what it sees", *(f"for {name}" for name in classes)]
        most = float(np.percentile(maps, 99.5))  # the maximum may be one bright place, and all else dark
        pictures = [frames, *(heat(frames, one, most) for one in maps)]
        for number, (label, picture) in enumerate(zip(labels, pictures, strict=True)):
            left = GAP + number * (SIDE + GAP)
            _write(draw, (left, top + LINE), label, SIDE, 11, COLOURS[number - 1] if number else INK)
            panels.append((left, top + 2 * LINE, np.stack([_square(each) for each in picture])))
        top += 2 * LINE + SIDE + GAP
        _course(draw, maps.mean(axis=(2, 3)), (GAP, top, width - GAP, top + STRIP))
        _write(draw, (GAP + 3, top), "mean over the picture", width - 2 * GAP, 9, FAINT)
        cursors.append((top, top + STRIP))
        top += STRIP + 2 * GAP
    return gif([_at(page, panels, cursors, step, steps) for step in range(steps)], fps)


def _at(
    page: Image.Image,
    panels: Sequence[tuple[int, int, NDArray[np.uint8]]],
    cursors: Sequence[tuple[int, int]],
    step: int,
    steps: int,
) -> Image.Image:
    """Draw the page at one moment."""
    picture = page.copy()
    for left, top, frames in panels:
        picture.paste(Image.fromarray(frames[step]), (left, top))
    draw = ImageDraw.Draw(picture)
    place = GAP + (page.width - 2 * GAP - 1) * (step + 0.5) / steps
    for top, bottom in cursors:
        draw.line([(place, top), (place, bottom)], fill=INK, width=1)
    return picture


def _course(draw: ImageDraw.ImageDraw, means: NDArray[np.float32], box: tuple[int, int, int, int]) -> None:
    """Draw the (classes, T) means over space as lines in a box, with a line at 0."""
    left, top, right, bottom = box
    low, high = min(float(means.min()), 0.0), max(float(means.max()), 0.0)
    scale = (bottom - top - 4) / (high - low) if high > low else 0.0

    def y(value: float) -> float:
        return bottom - 2 - (value - low) * scale

    draw.rectangle(box, outline=RULE)
    draw.line([(left, y(0)), (right, y(0))], fill=RULE)
    steps = means.shape[1]
    for colour, line in zip(COLOURS, means, strict=False):
        points = [
            (left + (right - left - 1) * (step + 0.5) / steps, y(float(value))) for step, value in enumerate(line)
        ]
        draw.line(points, fill=colour, width=2)


def _square(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    small = picture.shape[0] < SIDE
    return np.asarray(cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC if small else cv2.INTER_AREA))


def _write(
    draw: ImageDraw.ImageDraw, place: tuple[int, int], text: str, width: int, size: int, fill: tuple[int, ...] = INK
) -> None:
    """Write a line of text, cut to the width in pixels."""
    font = ImageFont.load_default(size=size)
    text = one_line(text)
    while draw.textlength(text, font=font) > width and len(text) > 1:
        text = text[:-2].rstrip() + "…"
    draw.text(place, text, fill=fill, font=font)
