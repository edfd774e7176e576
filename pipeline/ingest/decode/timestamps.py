"""When each frame of a source is shown, in seconds from its first frame: what players make of the times in a file.

A frame's own presentation time is taken where it holds. Where it is missing, or goes wrong more often than the decoding
time, the decoding time is taken, as FFmpeg and its players guess; where there is neither, a frame follows the one
before it at the stream's rate. Times that do not advance by a little are held; by a lot, nobody can say what is meant.
"""

from fractions import Fraction

import av

from pipeline.ingest.clip_errors import BrokenTimestamps

BACK_S = 1
"""Seconds by which times may fall back and still be taken for jitter."""


class Clock:
    """Reads the times of the frames of one stream, in the order in which the decoder hands them out."""

    def __init__(self, rate: Fraction | None, max_gap_s: float) -> None:
        self._step = 1 / rate if rate else None
        self._max_gap = max_gap_s
        self._last: dict[str, int] = {}  # by kind of time, in the stream's units
        self._faults = {"pts": 0, "dts": 0}
        self.origin: Fraction | None = None
        """Time of the first frame in the file's own count, in seconds; None until a frame states one."""
        self._now = Fraction(0)
        self._count = 0
        self.guessed = False
        """Whether some frame's time is not its own presentation time."""

    def since_start(self, frame: av.VideoFrame) -> Fraction:
        """Seconds from the first frame to this, never less than for the frame before.

        Raises:
            BrokenTimestamps: there is no time and no rate to follow, or times jump far back or far ahead.
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
        """The frames up to this many seconds from the first are passed over."""
        self._now = max(self._now, since)

    def _stated(self, frame: av.VideoFrame) -> Fraction | None:
        """The better of presentation and decoding time, in seconds (libavcodec's `guess_correct_pts`)."""
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
