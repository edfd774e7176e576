"""From frames at any times to one at each tick of a constant rate.

Tick k is k / fps seconds after the clip's start, and shows what a viewer sees then: the last source frame whose time is
not later. That holds for constant, variable and missing frame rates alike.
"""

import math
from collections.abc import Callable
from fractions import Fraction

import av
import numpy as np
from numpy.typing import NDArray

from pipeline.ingest.clip_errors import BadTimes, TooLarge, TooLong, TooShort
from pipeline.ingest.decode.orientation import View

MAX_CLIP_BYTES = 4 << 30
"""Of all pictures of a clip: 300 s of 341x256 at 25 a second are 2 GB."""

LONGEST_STILL_S = 10
"""A header that has the last frame stay for longer is not believed."""

Keep = Callable[[int, NDArray[np.uint8]], object]
"""Takes the position in the clip of a picture, and it, (H, W, 3) uint8 RGB. They come in order; 0 begins anew."""


class ConstantRate:
    """Hands out, from source frames in the order of their times, the one on screen at each tick."""

    def __init__(self, fps: int, start_s: float | None, end_s: float | None, max_seconds: float, keep: Keep) -> None:
        self._fps, self._max_seconds, self._keep = fps, max_seconds, keep
        if not all(math.isfinite(time) and time >= 0 for time in (start_s or 0.0, end_s or 0.0)):
            raise BadTimes(f"from {start_s} to {end_s} s is no interval; times count from 0 at the first frame")
        self.start = _fraction(start_s or 0.0)
        """Time of the first tick, in seconds from the first frame of the source."""
        self._wanted: int | None = None  # ticks in the clip
        if end_s is not None:
            if _fraction(end_s) <= self.start:
                raise BadTimes(f"end {end_s:g} s is not after start {start_s or 0:g} s")
            self._check_length(_fraction(end_s))
            self._wanted = max(1, round((_fraction(end_s) - self.start) * fps))
        self._shown: av.VideoFrame | None = None  # the frame on screen
        self._view: View | None = None  # how it is seen
        self._since, self._until = Fraction(0), Fraction(0)  # when it came and when it leaves, from the first frame
        self._begun = Fraction(0)  # when the frame came that is on screen at the first tick
        self.count = 0
        """Pictures so far."""
        self.frames = 0
        """Source frames on screen so far, from the first tick on."""

    @property
    def last(self) -> Fraction | None:
        """Time of the last tick; None where the clip goes on to the source's end."""
        return None if self._wanted is None else self.start + Fraction(self._wanted - 1, self._fps)

    @property
    def complete(self) -> bool:
        """Whether every tick up to the clip's end has its picture."""
        return self._wanted is not None and self.count >= self._wanted

    def add(self, frame: av.VideoFrame, since: Fraction, view: View) -> None:
        """Take the next source frame, `since` seconds after the first.

        Raises:
            TooLong: no end was given, and this is further from the start than a clip may be.
            TooLarge: the pictures take more than `MAX_CLIP_BYTES`.
        """
        if self._wanted is None:
            self._check_length(since)
        self._fill(until=since)
        if self.complete:
            self._until = since
            return
        self.frames += 1
        if self.start and since <= self.start:
            self.frames, self._begun = 1, since
        average = (since - self._begun) / (self.frames - 1) if self.frames > 1 else Fraction(1, self._fps)
        stated = frame.duration * Fraction(frame.time_base) if frame.duration and frame.time_base else Fraction(0)
        believable = average <= 2 * stated and stated <= LONGEST_STILL_S  # headers of variable rates state 1 ms
        self._shown, self._view, self._since = frame, view, since
        self._until = since + (stated if believable else average)

    def end(self) -> Fraction:
        """The source has no more frames: the last stays on screen for its own duration; when it leaves, in seconds."""
        half_a_tick = Fraction(1, 2 * self._fps)  # the number of ticks is the duration in ticks, rounded
        self._fill(until=self._until - half_a_tick, inclusive=True)
        return self._until

    def check(self) -> None:
        """Whether what was handed out is a clip.

        Raises:
            BadTimes: it begins after the source's end.
            TooShort: it has fewer than two pictures, or the source fewer than two frames.
        """
        if self.start and self.start >= self._until:
            raise BadTimes(f"starts at {float(self.start):g} s; the source ends at {float(self._until):.2f} s")
        if self.frames < 2 and not self._since:
            raise TooShort("1 frame in the source; two are the least")
        if self.count < 2:
            raise TooShort(f"{self.count} frame at {self._fps} frames a second; two are the least")

    def _check_length(self, end: Fraction) -> None:
        if end - self.start > self._max_seconds:
            raise TooLong(f"more than {self._max_seconds:g} s; give start and end times to cut a clip from it")

    def _fill(self, until: Fraction, inclusive: bool = False) -> None:
        """Show the frame on screen at every tick before `until`."""
        picture = None
        while self._shown is not None and self._view is not None and not self.complete:
            tick = self.start + Fraction(self.count, self._fps)
            if tick > until or (tick == until and not inclusive):
                return
            if (self.count + 1) * self._view.picture_bytes > MAX_CLIP_BYTES:
                raise TooLarge(
                    f"{self.count} pictures of {self._view.width}x{self._view.height} take {MAX_CLIP_BYTES >> 30} GiB"
                )
            if picture is None:  # frames that no tick falls on are never converted
                picture = self._view.picture(self._shown)
            self._keep(self.count, picture)
            self.count += 1


def _fraction(seconds: float) -> Fraction:
    return Fraction(seconds).limit_denominator(1_000_000)
