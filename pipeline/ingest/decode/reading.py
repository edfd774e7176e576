"""Packets and frames of a video stream, with every sign of damage that appears while they are read.

A sign is an error line of the demuxer or of the stream's decoder, or a packet that the demuxer marks as corrupt. What a
sign means is decided in `pipeline.ingest.decode.wholeness`, after the clip was read.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction

import av

from pipeline.ingest.clip_errors import DecodeError, Encrypted
from pipeline.ingest.decode.encryption import is_encrypted
from pipeline.ingest.decode.source import Log
from pipeline.ingest.decode.timestamps import JOINED, Joints, Slots, has_slots

ENDED_WITHIN = ("File ended prematurely", "Attempted to read next track", "partial file")
"""What libav says if a file ends within an element."""

_HARMLESS = re.compile(
    "mmco: |co located POCs|number of reference frames|SEI type|reordering|Increasing reorder|first_mb_in_slice"
)
"""What decoders of H.264 say about the bookkeeping of references in streams whose pictures are all there."""


@dataclass
class Sign:
    """A sign of damage, with times of the stream in seconds.

    Attributes:
        before: end of all packets before it.
        time: time of its packet; None if it came behind the last packet.
        lines: number of libav's error lines.
        spoilt: whether the picture of the packet is damaged.
        harmless: whether the lines speak of bookkeeping alone.
    """

    before: Fraction
    time: Fraction | None
    lines: int
    spoilt: bool = False
    harmless: bool = False


@dataclass
class Signs:
    """What was noticed while a stream was read."""

    all: list[Sign] = field(default_factory=list)
    at_opening: bool = False
    """Whether the demuxer complained when libavformat looked into the first seconds: nobody knows where."""
    last_words: str = ""
    """libav's last error line."""
    ended_within: bool = False
    """Whether libav said that the file ends within an element."""
    early: int = 0
    """Number of packets before the first frame that did not decode."""
    end: Fraction = Fraction(0)
    """End of the stream's last packet, in the stream's own seconds."""
    start: Fraction = Fraction(0)
    """Start of the stream's first packet in these seconds, if it is below zero."""
    others_end: Fraction = Fraction(0)
    """The same for the other streams: the largest of them."""
    others_cut: bool = False
    """Whether the last packet of another stream is corrupt: the file may have been cut there."""
    slots: int = 0
    """Number of slots up to the last packet, in a container that has only slots: those of skipped frames count."""
    position: int = 0
    """Byte of the file at which the last packet ends."""

    def harm_from(self, time: Fraction) -> bool:
        """Return whether there is a sign of damage in packets that are shown from `time` on."""
        return any(not sign.harmless and (sign.time is None or sign.time >= time) for sign in self.all)


class Reader:
    """A reader of one video stream of a container, which keeps a record of the signs of damage.

    Args:
        container: the container.
        stream: its video stream.
        log: the list to which libav's error lines are added.
        rate: frames per second of the stream; None if unknown.
    """

    def __init__(
        self, container: av.container.InputContainer, stream: av.VideoStream, log: Log, rate: Fraction | None
    ) -> None:
        self._container, self._stream, self._log = container, stream, log
        self._others = {
            other.codec_context.name for other in container.streams if other is not stream and other.codec_context
        } - {stream.codec_context.name}
        self._slots = Slots(stream.codec_context.name) if has_slots(container, stream) else None
        self._step = 1 / rate if rate else Fraction(0)
        self._begun, self._seen = False, 0
        self.joints = Joints(rate)
        self.signs = Signs()
        name = container.format.name
        self.signs.at_opening = any(level <= av.logging.ERROR and who == name for level, who, _ in log)
        self._said()  # a decoder says everything again

    def packets(self) -> Iterator[av.Packet]:
        """Yield the stream's packets from the current position on, and at last the empty packet that flushes."""
        packets = self._of_stream()
        yield from self.joints.continued(packets) if self._container.format.name in JOINED else packets

    def frames(
        self, packets: Iterator[av.Packet], read: Callable[[av.Packet], object] = lambda _: None
    ) -> Iterator[av.VideoFrame]:
        """Yield the frames of packets in the order in which they are shown; `read` gets each packet before its frames.

        Raises:
            Encrypted: the packets are encrypted.
        """
        for packet in packets:
            if is_encrypted(packet):
                raise Encrypted("its video is encrypted; decrypt it first")
            self._note_demuxer(packet)
            if self._slots:
                self._slots.take(packet)
            read(packet)
            frames = packet.decode()
            self._note_decoder(packet, frames)
            if self._slots:
                self._slots.give(packet, frames)
            self._begun = self._begun or bool(frames)
            yield from frames

    def _of_stream(self) -> Iterator[av.Packet]:
        """Yield the stream's packets, and note where the other streams end."""
        for packet in _demuxed(self._container):
            if packet.stream.index == self._stream.index:  # `stream_index` of the packets that flush is 0
                yield packet
            elif packet.size:
                self.signs.others_cut = packet.is_corrupt
                self.signs.others_end = max(self.signs.others_end, _end(packet, Fraction(0)))

    def _note_demuxer(self, packet: av.Packet) -> None:
        """Note what was said while this packet was read; an empty packet comes at the end of the file."""
        lines, _ = self._said()
        if lines or packet.is_corrupt:
            time = _time(packet) if packet.size else None
            self.signs.all.append(Sign(self.signs.end, time, lines, bool(packet.size and packet.is_corrupt)))
        if packet.size:
            self.signs.end = max(self.signs.end, _end(packet, self._step))
            self.signs.start = min(self.signs.start, _time(packet) or Fraction(0))
            self.signs.slots = max(self.signs.slots, (packet.dts or 0) + 1)
            self.signs.position = max(self.signs.position, (packet.pos or 0) + packet.size)

    def _note_decoder(self, packet: av.Packet, frames: list[av.VideoFrame]) -> None:
        """Note what was said while this packet was decoded."""
        lines, spoilt = self._said()
        if not lines:
            return
        if not self._begun and not frames:
            self.signs.early += 1
        else:
            time = _time(packet) if packet.size else self.signs.end
            self.signs.all.append(Sign(self.signs.end, time, lines, spoilt, not spoilt))

    def _said(self) -> tuple[int, bool]:
        """Take the error lines that are new: their number, and whether one says that a picture is damaged.

        Lines of the decoders of other streams do not count.
        """
        lines, spoilt = 0, False
        for level, name, message in self._log[self._seen :]:
            if level <= av.logging.ERROR and name not in self._others and name != "swscaler":
                lines += 1
                spoilt = spoilt or _HARMLESS.match(message) is None
                self.signs.last_words = message.strip()
                self.signs.ended_within = self.signs.ended_within or message.startswith(ENDED_WITHIN)
        del self._log[:-1]  # the last one explains an exception
        self._seen = len(self._log)
        return lines, spoilt


def _demuxed(container: av.container.InputContainer) -> Iterator[av.Packet]:
    """Yield all packets; a packet that does not fit into memory has a damaged length."""
    try:
        yield from container.demux()
    except MemoryError as error:
        raise DecodeError("it is damaged: a length in it asks for more memory than there is") from error


def _time(packet: av.Packet) -> Fraction | None:
    """Return a packet's time in seconds."""
    time = packet.dts if packet.pts is None else packet.pts
    return None if time is None or packet.time_base is None else time * packet.time_base


def _end(packet: av.Packet, step: Fraction) -> Fraction:
    """Return the end of a packet in seconds; `step` is its duration if it states none."""
    time = _time(packet)
    if time is None or packet.time_base is None:
        return Fraction(0)
    return time + (packet.duration * packet.time_base if packet.duration else step)
