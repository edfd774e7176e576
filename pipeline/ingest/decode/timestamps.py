"""The time at which each frame of a source is shown, in seconds from its first frame, as players compute it.

Times are repaired in three steps, each of which does nothing to a stream that does not need it:

    Joints      packets: where the times of a transport or program stream begin anew (two recordings joined, a DVD's
                next cell), the clock goes on, as in FFmpeg
    Slots       frames: a container that stores no presentation times (AVI, ASF, Video for Windows in Matroska) has
                only a sequence of slots, one a packet; the frame that is shown k-th gets the k-th slot. libavformat's
                guess for such a container is wrong as soon as there are B-frames
    Clock       frames: a presentation time is used if it is usable. If it is missing, or has been wrong more often than
                the decoding time, the decoding time is used, counted from the first frame's own decoding time. If there
                is neither, the frame follows the one before it at the stream's frame rate. If a time falls back by up
                to `BACK_S` seconds, the frame gets the time of the frame before it. Larger jumps back or very large
                jumps ahead raise `BrokenTimestamps`
"""

import bisect
from collections.abc import Iterator
from fractions import Fraction

import av

from pipeline.ingest.clip_errors import BrokenTimestamps

BACK_S = 1
"""Seconds by which a time may fall back and still count as jitter."""

JOINED = {"mpegts", "mpeg"}
"""Names of the container formats in which times may begin anew."""

JOINT_BACK_S, JOINT_AHEAD_S = Fraction(1, 10), 10
"""Seconds by which a decoding time must fall back or jump ahead to begin anew; these are the limits of FFmpeg."""

REORDERING = {"h264", "hevc", "vvc"}
"""Codecs whose decoders may begin at any time to hold back more frames; others hold back a fixed number."""


class Joints:
    """A pass over packets that continues the clock where times begin anew."""

    def __init__(self, rate: Fraction | None) -> None:
        self._step = 1 / rate if rate else Fraction(0)
        self._next: Fraction | None = None  # decoding time that the next packet should have, in seconds
        self._offset = 0  # units of time that are added
        self.places: list[Fraction] = []
        """Times, in seconds, at which the times began anew so far."""

    def continued(self, packets: Iterator[av.Packet]) -> Iterator[av.Packet]:
        """Yield the packets of one stream, and change their times where that is necessary."""
        for packet in packets:
            if packet.dts is not None and packet.time_base:
                time = (packet.dts + self._offset) * packet.time_base
                if self._next is not None and not -JOINT_BACK_S <= time - self._next <= JOINT_AHEAD_S:
                    self._offset += round((self._next - time) / packet.time_base)
                    self.places.append(self._next)
                packet.dts += self._offset
                self._next = packet.dts * packet.time_base + (packet.duration or 0) * packet.time_base
                if not packet.duration:
                    self._next += self._step
            if packet.pts is not None and packet.time_base:
                packet.pts += self._offset
                if packet.dts is not None and abs(packet.pts - packet.dts) * packet.time_base > JOINT_AHEAD_S:
                    packet.pts = None  # it is that of the next part, which begins in the same packet of the file
            yield packet


class Slots:
    """The assignment of decoding times, which are slots here, to frames in the order in which they are shown."""

    def __init__(self, codec: str) -> None:
        self._grows = codec in REORDERING
        self._free: list[int] = []  # in order
        self._held: int | None = None  # packets that the decoder takes before it gives its first frame

    def take(self, packet: av.Packet) -> None:
        """Take the next packet, before it is decoded; its presentation time, which libavformat guessed, is removed."""
        if packet.dts is not None and packet.size:
            bisect.insort(self._free, packet.dts)
        packet.pts = None

    def give(self, packet: av.Packet, frames: list[av.VideoFrame]) -> None:
        """Set the times of the frames that a packet gave; if a decoder skips a packet, that slot stays empty."""
        if frames and self._held is None:
            self._held = len(self._free) - 1
        for frame in frames:
            frame.pts = frame.dts = self._free.pop(0) if self._free else None
        skipped = not frames and not self._grows and self._held is not None and len(self._free) > self._held
        if skipped and packet.dts in self._free:
            self._free.remove(packet.dts)


def has_slots(container: av.container.InputContainer, stream: av.VideoStream) -> bool:
    """Return whether a container stores no presentation times for this stream."""
    if container.format.name == "matroska,webm":
        try:
            return bool(stream.codec_context.codec_tag.strip("\0"))
        except UnicodeDecodeError:
            return True
    return container.format.name in ("avi", "asf")


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
        self._origins: dict[str, Fraction] = {}  # time of the first frame by each kind, in seconds
        self._now = Fraction(0)
        self._count = 0
        self.guessed = False
        """Whether the time of some frame is not its own presentation time."""

    @property
    def origin(self) -> Fraction | None:
        """Time of the first frame as stated in the file, in seconds; None until a frame states a time."""
        return self._origins.get("pts", self._origins.get("dts"))

    def since_start(self, frame: av.VideoFrame) -> Fraction:
        """Return the seconds from the first frame to this one, never less than for the frame before.

        Raises:
            BrokenTimestamps: the frame has no time and the stream no rate, or times jump far back or far ahead.
        """
        following = self._now + self._step if self._count and self._step else Fraction(0)
        since = self._stated(frame, following)
        if since is None:
            self.guessed = True
            if self._step is None:
                raise BrokenTimestamps(f"frame {self._count} has no time, and the header states no rate")
            since = following
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

    def _stated(self, frame: av.VideoFrame, following: Fraction) -> Fraction | None:
        """Return the seconds since the first frame by the more reliable of presentation and decoding time.

        This is libavcodec's `guess_correct_pts`, but each kind of time counts from its own first one, since the
        decoding time of a frame that waits for others is later than its presentation time.

        Args:
            frame: the frame.
            following: seconds at which it is shown if it follows the frame before it, for a kind's first time.
        """
        if not frame.time_base:
            return None
        times = {"pts": frame.pts, "dts": frame.dts}
        for kind, time in times.items():
            if time is not None:
                self._faults[kind] += kind in self._last and time <= self._last[kind]
                self._last[kind] = time
                self._origins.setdefault(kind, time * Fraction(frame.time_base) - following)
        trusted = "pts" if times["dts"] is None or self._faults["pts"] <= self._faults["dts"] else "dts"
        kind = trusted if times[trusted] is not None else "dts"
        time = times[kind]
        if time is None:
            return None
        self.guessed |= time != frame.pts
        return time * Fraction(frame.time_base) - self._origins[kind]
