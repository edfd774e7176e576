"""Resampling of frames at arbitrary times to one frame at each tick of a constant rate.

Tick k is k / fps seconds after the clip's start, and shows what a viewer sees then: the last source frame whose time is
not later. This works in the same way for constant, variable and missing frame rates.
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
"""Number of bytes that all pictures of a clip may take in any case: 300 s of 341x256 at 25 a second are 2 GB."""

WIDEST = 4
"""A clip may also take as many bytes as the longest accepted clip of pictures with this aspect ratio."""

LONGEST_STILL_S = 10
"""Longest frame duration in seconds that is believed if a header states it."""

Keep = Callable[[int, NDArray[np.uint8]], object]
"""A function that takes a picture's position in the clip and the picture, (H, W, 3) uint8 RGB.

Pictures come in order. A second position 0 means that decoding starts again and the earlier pictures are void."""


class ConstantRate:
    """A resampler that takes source frames in the order of their times and passes on the one on screen at each tick.

    Args:
        fps: ticks per second.
        start_s: start of the clip in seconds from the source's first frame; None for the first frame.
        end_s: end of the clip in seconds, exclusive; None for the end of the source.
        max_seconds: longest clip accepted, in seconds.
        keep: function that takes each picture.

    Raises:
        BadTimes: the times are not an interval.
        TooLong: the interval is longer than `max_seconds`.
    """

    def __init__(self, fps: int, start_s: float | None, end_s: float | None, max_seconds: float, keep: Keep) -> None:
        self._fps, self._max_seconds, self._keep = fps, max_seconds, keep
        if not all(math.isfinite(time) and time >= 0 for time in (start_s or 0.0, end_s or 0.0)):
            raise BadTimes(f"from {start_s} to {end_s} s is no interval; times count from 0 at the first frame")
        self.start = _fraction(start_s or 0.0)
        """Time of the first tick in seconds from the source's first frame."""
        self._wanted: int | None = None  # number of ticks in the clip
        if end_s is not None:
            if _fraction(end_s) <= self.start:
                raise BadTimes(f"end {end_s:g} s is not after start {start_s or 0:g} s")
            self._check_length(_fraction(end_s))
            self._wanted = max(1, round((_fraction(end_s) - self.start) * fps))
        self._shown: av.VideoFrame | None = None  # the frame on screen
        self._view: View | None = None  # view of that frame
        self._since, self._until = Fraction(0), Fraction(0)  # its first and last time on screen, from the first frame
        self._begun = Fraction(0)  # time of the source frame that is on screen at the first tick
        self.count = 0
        """Number of pictures so far."""
        self.frames = 0
        """Number of source frames so far that were on screen at or after the first tick."""

    @property
    def last(self) -> Fraction | None:
        """Time of the last tick in seconds from the first frame; None if the clip ends with the source."""
        return None if self._wanted is None else self.start + Fraction(self._wanted - 1, self._fps)

    @property
    def complete(self) -> bool:
        """Whether every tick up to the stated end of the clip has its picture."""
        return self._wanted is not None and self.count >= self._wanted

    def add(self, frame: av.VideoFrame, since: Fraction, view: View) -> None:
        """Take the next source frame, which is shown `since` seconds after the first.

        Raises:
            TooLong: no end was given, and this frame is more than `max_seconds` after the start.
            TooLarge: the pictures take more bytes than a clip may; see `MAX_CLIP_BYTES` and `WIDEST`.
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
        believable = average <= 2 * stated and stated <= LONGEST_STILL_S  # files of variable rate may state 1 ms
        self._shown, self._view, self._since = frame, view, since
        self._until = since + (stated if believable else average)

    def end(self) -> Fraction:
        """End the source: show the last frame for its own duration, and return the time of its end in seconds.

        A clip that has no stated end does not become longer than `max_seconds` by the duration of its last frame.
        """
        if self._wanted is None:
            self._until = min(self._until, max(self._since, self.start + _fraction(self._max_seconds)))
        half_a_tick = Fraction(1, 2 * self._fps)  # so the number of ticks is the duration in ticks, rounded
        self._fill(until=self._until - half_a_tick, inclusive=True)
        return self._until

    def check(self) -> None:
        """Check that the pictures form a clip.

        Raises:
            BadTimes: the clip begins at or after the source's end.
            TooShort: the clip has fewer than two pictures, or the source has fewer than two frames.
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

    def _check_bytes(self, pictures: int, view: View) -> None:
        """Check the size of a clip of this many pictures; it is known before the first one, if the end is stated."""
        widest = 3 * WIDEST * min(view.width, view.height) ** 2
        most = max(MAX_CLIP_BYTES, int(self._max_seconds * self._fps) * widest)
        if pictures * view.picture_bytes > most:
            raise TooLarge(
                f"{pictures} pictures of {view.width}x{view.height} take {pictures * view.picture_bytes / 2**30:.2f} "
                f"GiB; {most / 2**30:.2f} are the most that a clip may take"
            )

    def _fill(self, until: Fraction, inclusive: bool = False) -> None:
        """Pass on the frame on screen for every tick before `until`, or up to `until` if `inclusive`."""
        picture = None
        while self._shown is not None and self._view is not None and not self.complete:
            tick = self.start + Fraction(self.count, self._fps)
            if tick > until or (tick == until and not inclusive):
                return
            self._check_bytes(self._wanted or self.count + 1, self._view)
            if picture is None:  # so frames without a tick are never converted
                picture = self._view.picture(self._shown)
            self._keep(self.count, picture)
            self.count += 1


def _fraction(seconds: float) -> Fraction:
    return Fraction(seconds).limit_denominator(1_000_000)
