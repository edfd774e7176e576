"""A clip far into a film, decoded from the key frame before it and not from the film's beginning.

The pictures and times are those of decoding everything: time counts from the film's first frame, which is decoded to
know it, and whatever is not certain after a jump is a `Doubt`, upon which the caller decodes from the beginning.

    the container has an index that names key frames by time: MP4 and Matroska; elsewhere libavformat guesses
    the jump lands on a packet marked as a key frame and shown by the clip's start, a key frame earlier if need be
    the decoder says that this very frame needs no other; what is shown before it (leading pictures) is dropped
    every frame has a presentation time after the one before it, and is whole
"""

import itertools
from collections.abc import Callable, Iterator
from fractions import Fraction

import av

from pipeline.ingest.decode.packet_digest import decoded
from pipeline.ingest.decode.timestamps import Clock

INDEXED = {"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm"}
"""Containers whose index is trusted."""

JUMPS = 4
"""Tries to land before the clip's start."""


class Doubt(Exception):  # noqa: N818
    """What comes after a jump may not be what lies there."""


def after_jump(
    container: av.container.InputContainer,
    stream: av.VideoStream,
    clock: Clock,
    start: Fraction,
    read: Callable[[av.Packet], object],
) -> Iterator[av.VideoFrame]:
    """The first frame of a stream, then those from some frame on that is shown by `start`.

    Args:
        container: just opened.
        stream: the container's video stream.
        clock: has told the time of each frame when the next is asked for.
        start: in seconds from the first frame.
        read: told of every packet from there on, before its frames.

    Raises:
        Doubt: decode from the beginning.
    """
    if container.format.name not in INDEXED or stream.time_base is None:
        raise Doubt
    first = next(_certain(container.decode(stream)), None)
    if first is None or first.pts is None:
        raise Doubt
    yield first
    packets, key = _land(container, stream, first.pts + int(start / stream.time_base))
    clock.jump((key - first.pts) * stream.time_base)
    last = first.pts
    for frame in _certain(decoded(packets, read)):
        if frame.pts is not None and (frame.pts < key or frame.pts <= first.pts):
            continue  # needs what was jumped over, or is here already
        if frame.pts is None or frame.pts <= last or frame.is_corrupt:
            raise Doubt
        if last < key and (frame.pts > key or not frame.key_frame):
            raise Doubt
        last = frame.pts
        yield frame
    if last < key:
        raise Doubt


def _land(
    container: av.container.InputContainer, stream: av.VideoStream, target: int
) -> tuple[Iterator[av.Packet], int]:
    """The packets from a key frame on that is shown by `target`, and its time; both in the stream's units."""
    wanted = target
    for _ in range(JUMPS):
        try:
            container.seek(wanted, stream=stream)
            packets = container.demux(stream)
            key = next(packets)
        except av.FFmpegError as error:
            raise Doubt from error
        if key.pts is None or not key.is_keyframe:
            raise Doubt
        if key.pts <= target:
            return itertools.chain([key], packets), key.pts
        wanted = min(wanted, key.pts if key.dts is None else key.dts) - 1  # the index of MP4 goes by decoding time
    raise Doubt


def _certain(frames: Iterator[av.VideoFrame]) -> Iterator[av.VideoFrame]:
    """The frames, as long as they decode without complaint."""
    try:
        yield from frames
    except av.FFmpegError as error:
        raise Doubt from error
