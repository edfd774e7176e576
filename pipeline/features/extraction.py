"""One clip from its source to the features of its windows, in a stream: memory does not grow with the clip's length.

    parts of frames -> windows that are complete -> crops -> batches of views -> networks -> rows of features

Frames are decoded once, however many windows show them, and stay in memory until no later window shows them.
"""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.clips.crops import Crop, view_crops
from pipeline.clips.windows import middle_frames
from pipeline.features.frames import Part
from pipeline.features.scorer import Features, Score, View
from pipeline.features.windows import Times, Windows
from pipeline.ingest.clip_errors import TooShort
from pipeline.ingest.convert import Stopwatch
from pipeline.ingest.within import reached

AHEAD = 2
"""Batches that a GPU may have while the next one is decoded."""


@dataclass(frozen=True)
class Cutting:
    """How views are cut from a clip.

    Attributes:
        windows: how windows are cut.
        fps: frames per second of the frames.
        short_side: shorter side to which the frames are resized before the crop; None keeps their size.
        crop: side of the crops in pixels.
        crops: number of crops of each window; see `pipeline.clips.crops.view_crops`.
        rgb_every: flow frames for each RGB frame, for networks that take both; see `ClipsConfig`.
        streams: the streams to cut.
        batch_size: largest number of views in a batch; a batch has all crops of a window in any case.
    """

    windows: Windows
    fps: int
    short_side: int | None
    crop: int
    crops: int
    rgb_every: int
    streams: tuple[str, ...]
    batch_size: int


class Sink(Protocol):
    """What takes the features of a clip."""

    def begin(self) -> None:
        """Begin the clip; if it was begun before, what came before is void."""

    def add(self, times: list[Times], features: Features) -> None:
        """Take the features of the next windows: for each column, (windows, crops, ...)."""


def extract(
    parts: Iterable[Part], cutting: Cutting, score: Score, sink: Sink, watch: Stopwatch, start_s: float = 0.0
) -> dict[str, Any]:
    """Compute the features of every window of a clip.

    Args:
        parts: the clip, from `pipeline.features.frames`.
        cutting: how views are cut.
        score: what computes the features.
        sink: what takes them, window after window.
        watch: stopwatch of this clip, which counts the time that the networks take.
        start_s: time of the first frame in its source.

    Returns:
        Columns: facts of the source, `num_frames`, `num_flow`, `windows`.

    Raises:
        ClipError: the clip cannot be used; `TooShort`: it is shorter than a window, and `ends` is drop.
    """
    clip = _Clip(cutting, score, sink, watch, start_s)
    facts: dict[str, Any] = {}
    for part in parts:
        if part.start == 0:
            clip = _Clip(cutting, score, sink, watch, start_s)
            sink.begin()
        clip.add(part)
        reached(clip.length / cutting.fps)
        facts = part.facts or facts
    windows = clip.end()
    lengths = {name: recent.end for name, recent in clip.recent.items()}
    return facts | {
        "num_frames": lengths.get("rgb", lengths.get("flow", 0) + 1),
        "num_flow": lengths.get("flow"),
        "windows": windows,
    }


class _Recent:
    """The frames of one stream that windows may still show."""

    def __init__(self) -> None:
        self.start = self.end = 0  # positions of the first frame that is kept, and behind the last one
        self._kept: deque[NDArray[np.uint8]] = deque()

    def add(self, frames: NDArray[np.uint8], wanted: int) -> None:
        """Take the next frames; those before `wanted` are not kept."""
        if not self._kept:
            self.start = min(max(wanted, self.end), self.end + len(frames))
            self._kept.extend(frames[self.start - self.end :])
        else:
            self._kept.extend(frames)
        self.end += len(frames)

    def forget(self, before: int) -> None:
        """Drop the frames before a position."""
        while self._kept and self.start < before:
            self._kept.popleft()
            self.start += 1

    def take(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return frames by their positions, (T, H, W, C)."""
        return np.stack([self._kept[index - self.start] for index in indices])


class _Clip:
    """The state of one clip."""

    def __init__(self, cutting: Cutting, score: Score, sink: Sink, watch: Stopwatch, start_s: float) -> None:
        self._cutting, self._score, self._sink, self._watch, self._start_s = cutting, score, sink, watch, start_s
        self.recent = {stream: _Recent() for stream in cutting.streams}
        self._next = 0  # number of the next window
        self._crops: list[Crop] = []
        self._times: list[Times] = []
        self._views: list[View] = []
        self._waiting: deque[tuple[list[Times], Callable[[], Features]]] = deque()

    @property
    def length(self) -> int:
        """Number of frames, and of flow fields if flow is wanted, that are there so far."""
        return min(recent.end for recent in self.recent.values())

    def add(self, part: Part) -> None:
        """Take the next part, and compute the windows that are complete with it."""
        windows = self._cutting.windows
        for stream, recent in self.recent.items():
            recent.add(part.frames[stream], windows.first(self._next))
        if not self._crops:
            height, width = next(iter(part.frames.values())).shape[1:3]
            cutting = self._cutting
            self._crops = view_crops(height, width, cutting.short_side, cutting.crop, cutting.crops)
        self._cut(windows.ready(self.length))

    def end(self) -> int:
        """Compute the windows at the end of the clip, and return the number of all."""
        windows, length = self._cutting.windows, self.length
        count = windows.count(length)
        if not count:
            least, what = windows.span, "frames"
            if "flow" in self.recent:
                least, length, what = least + 1, length + 1, "frames with the flow between them"
            raise TooShort(
                f"{length} frames at {self._cutting.fps} a second; a window needs {least} {what}: "
                "--ends pad or --ends loop makes one of what is there"
            )
        self._cut(count)
        self._send()
        while self._waiting:
            self._receive()
        return count

    def _cut(self, count: int) -> None:
        """Cut the windows up to a number, and send batches that are full."""
        windows, length = self._cutting.windows, self.length
        while self._next < count:
            indices = windows.indices(self._next, length)
            self._times.append(windows.times(self._next, length, self._cutting.fps, self._start_s))
            shown = {stream: recent.take(self._indices(stream, indices)) for stream, recent in self.recent.items()}
            self._views += [
                {stream: crop.apply(frames, stream == "flow") for stream, frames in shown.items()}
                for crop in self._crops
            ]
            self._next += 1
            for recent in self.recent.values():
                recent.forget(self._kept_from())
            if len(self._views) + len(self._crops) > self._cutting.batch_size:
                self._send()

    def _kept_from(self) -> int:
        """Return the position from which frames are kept: the next window's, or the last frame, which `pad` repeats."""
        return max(0, min(self._cutting.windows.first(self._next), self.length - 1))

    def _indices(self, stream: str, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        every = self._cutting.rgb_every if stream == "rgb" and len(self.recent) > 1 else 1
        return middle_frames(indices, every) if every > 1 else indices

    def _send(self) -> None:
        if not self._views:
            return
        with self._watch.of("network"):
            self._waiting.append((self._times, self._score(self._views)))
        self._times, self._views = [], []
        while len(self._waiting) > AHEAD:
            self._receive()

    def _receive(self) -> None:
        times, answer = self._waiting.popleft()
        with self._watch.of("network"):
            features = answer()
        per = len(self._crops)
        self._sink.add(
            times, {name: values.reshape(len(times), per, *values.shape[1:]) for name, values in features.items()}
        )
