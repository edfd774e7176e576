"""Digest of a clip's compressed video, which is equal for copies of the clip under any name.

For a whole file this command gives the same digest:

    ffmpeg -i CLIP -map 0:v:0 -c copy -f data - | sha256sum

Names, metadata, sound and interleaving do not change it. Neither does the container if it keeps the payload unchanged,
as MP4 and Matroska do; MPEG-TS stores H.264 in another form. If a clip is cut from a longer film, only the packets of
frames that are on screen in the clip count, so that it does not matter what else was read to decode them.
"""

import hashlib
from fractions import Fraction

import av


class PacketDigest:
    """A SHA-256 over the payloads of the packets on screen from `start` to `last`, in the order of the file."""

    def __init__(self, start: Fraction, last: Fraction | None) -> None:
        """Take the bounds in seconds from the first frame of the film; 0 and None mean no bounds."""
        self._start, self._last = start, last
        self._begun = not start  # whether packets count at once: there is no start, or its packet is known
        self._early: list[av.Packet] = []  # packets that came before the time of the first frame was known
        self._held: list[tuple[Fraction, av.Packet]] = []  # the last one shown at or before the start; all later ones
        self._digest = hashlib.sha256()

    def add(self, packet: av.Packet, origin: Fraction | None) -> None:
        """Take the next packet.

        Args:
            packet: a packet of the video stream; a packet without a time is included in the digest.
            origin: time of the first frame as stated in the file, in seconds; packets are kept until it is known.
        """
        self._early.append(packet)
        if origin is not None or (self._begun and self._last is None):
            self._settle(origin)

    def hexdigest(self, origin: Fraction | None) -> str:
        """Return the digest of all packets so far; no packet may be added afterwards."""
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
            if decoded is not None and decoded > self._start:  # later packets are decoded, so shown, after the start
                self._begin()
        self._early.clear()

    def _hold(self, time: Fraction, packet: av.Packet) -> None:
        """Hold a packet; of those shown at or before the start keep only the last, which is on screen at the start."""
        self._held.append((time, packet))
        on_screen = max((held for held, _ in self._held if held <= self._start), default=self._start)
        self._held = [(held, packet) for held, packet in self._held if held >= on_screen]

    def _begin(self) -> None:
        for _, packet in self._held:
            self._digest.update(packet)
        self._held, self._begun = [], True


def _since(time: int | None, packet: av.Packet, origin: Fraction | None) -> Fraction | None:
    """Return a packet's time in seconds from the first frame; None if a time is unknown."""
    return None if time is None or origin is None or packet.time_base is None else time * packet.time_base - origin
