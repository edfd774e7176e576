"""The digest of the compressed video that makes a clip: equal for copies of it, whatever they are called.

    ffmpeg -i CLIP -map 0:v:0 -c copy -f data - | sha256sum

gives the same for a whole file. Names, metadata, sound and interleaving do not change it, nor does the container as
long as it keeps the payload as it is: MP4 and Matroska do, MPEG-TS stores H.264 in another form. Of a clip that is cut
from a longer film only the packets of frames that are on screen in it count, so that it does not matter what else was
read to decode them.
"""

import hashlib
from collections.abc import Callable, Iterator
from fractions import Fraction

import av


class PacketDigest:
    """SHA-256 over the payloads of the packets on screen from `start` to `last`, in the order of the file."""

    def __init__(self, start: Fraction, last: Fraction | None) -> None:
        """Take the bounds, in seconds from the first frame of the film; none where 0 and None."""
        self._start, self._last = start, last
        self._begun = not start  # whether no packet to come is on screen at the start
        self._early: list[av.Packet] = []  # that came before the time of the first frame was known
        self._held: list[tuple[Fraction, av.Packet]] = []  # the last one shown by the start, and those shown later
        self._digest = hashlib.sha256()

    def add(self, packet: av.Packet, origin: Fraction | None) -> None:
        """Take the next packet.

        Args:
            packet: a packet of the video stream; it counts if it has no time.
            origin: time of the first frame in the file's own count, in seconds; until it is known packets wait.
        """
        self._early.append(packet)
        if origin is not None or (self._begun and self._last is None):
            self._settle(origin)

    def hexdigest(self, origin: Fraction | None) -> str:
        """The digest of all packets so far; nothing may be added afterwards."""
        self._settle(origin)
        self._begin()
        return self._digest.hexdigest()

    def _settle(self, origin: Fraction | None) -> None:
        for packet in self._early:
            shown, decoded = _since(packet.pts, packet, origin), _since(packet.dts, packet, origin)
            time = decoded if shown is None else shown
            if self._last is not None and time is not None and time > self._last:
                continue
            if self._begun or time is None:
                self._digest.update(packet)
                continue
            self._hold(time, packet)
            if decoded is not None and decoded > self._start:  # nothing is shown before it is decoded
                self._begin()
        self._early.clear()

    def _hold(self, time: Fraction, packet: av.Packet) -> None:
        """Of the packets shown by the start, keep the last: it is on screen then."""
        self._held.append((time, packet))
        on_screen = max((held for held, _ in self._held if held <= self._start), default=self._start)
        self._held = [(held, packet) for held, packet in self._held if held >= on_screen]

    def _begin(self) -> None:
        for _, packet in self._held:
            self._digest.update(packet)
        self._held, self._begun = [], True


def decoded(packets: Iterator[av.Packet], read: Callable[[av.Packet], object]) -> Iterator[av.VideoFrame]:
    """The frames of packets, in the order in which they are shown; `read` is told of each packet before its frames."""
    for packet in packets:
        read(packet)
        yield from packet.decode()


def _since(time: int | None, packet: av.Packet, origin: Fraction | None) -> Fraction | None:
    """Seconds from the first frame."""
    return None if time is None or origin is None or packet.time_base is None else time * packet.time_base - origin
