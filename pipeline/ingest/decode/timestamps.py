"""The time at which each frame of a source is shown, in seconds from its first frame, as players compute it.

A frame's presentation time is used if it is usable. If it is missing, or has been wrong more often than the decoding
time, the decoding time is used, as FFmpeg and players based on it do. If there is neither, the frame follows the one
before it at the stream's frame rate. If a time falls back by up to `BACK_S` seconds, the frame gets the time of the
frame before it. Larger jumps back or very large jumps ahead raise `BrokenTimestamps`.
"""

from fractions import Fraction

import av

from pipeline.ingest.clip_errors import BrokenTimestamps

BACK_S = 1
"""Seconds by which a time may fall back and still count as jitter."""


class Clock:
    """A reader of the times of one stream's frames, which takes the frames in the order in which they are decoded.

    Args:
        rate: frames per second of the stream; None if unknown.
        max_gap_s: longest time in seconds from one frame to the next.
    """

    def __init__(self, rate: Fraction | None, max_gap_s: float) -> None:
        self._step = 1 / rate if rate else None
        self._max_gap = max_gap_s
        self._last: dict[str, int] = {}  # last time of each kind (pts, dts), in the stream's units
        self._faults = {"pts": 0, "dts": 0}
        self.origin: Fraction | None = None
        """Time of the first frame as stated in the file, in seconds; None until a frame states a time."""
        self._now = Fraction(0)
        self._count = 0
        self.guessed = False
        """Whether the time of some frame is not its own presentation time."""

    def since_start(self, frame: av.VideoFrame) -> Fraction:
        """Return the seconds from the first frame to this one, never less than for the frame before.

        Raises:
            BrokenTimestamps: the frame has no time and the stream no rate, or times jump far back or far ahead.
        """
        time = self._stated(frame)
        if time is None:
            self.guessed = True
            if self._step is None:
                raise BrokenTimestamps(f"frame {self._count} has no time, and the header states no rate")
            since = self._now + self._step if self._count else Fraction(0)
        else:
            if self.origin is None:
                self.origin = time - (self._now + self._step if self._count and self._step else 0)
            since = time - self.origin
        gap = since - self._now
        if gap < -BACK_S or gap > self._max_gap:
            raise BrokenTimestamps(
                f"times jump from {float(self._now):.6g} s to {float(since):.6g} s at frame {self._count}"
            )
        self.guessed |= gap < 0
        self._now = max(self._now, since)
        self._count += 1
        return self._now

    def jump(self, since: Fraction) -> None:
        """Skip the frames up to `since` seconds from the first."""
        self._now = max(self._now, since)

    def _stated(self, frame: av.VideoFrame) -> Fraction | None:
        """Return the more reliable of presentation and decoding time, in seconds; None if there is no time.

        This is libavcodec's `guess_correct_pts`.
        """
        times = {"pts": frame.pts, "dts": frame.dts}
        for kind, time in times.items():
            if time is not None:
                self._faults[kind] += kind in self._last and time <= self._last[kind]
                self._last[kind] = time
        trusted = "pts" if times["dts"] is None or self._faults["pts"] <= self._faults["dts"] else "dts"
        time = times[trusted] if times[trusted] is not None else times["dts"]
        if time is None or not frame.time_base:
            return None
        self.guessed |= time != frame.pts
        return time * Fraction(frame.time_base)
