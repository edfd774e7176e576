"""Decoding of a clip from the key frame before it instead of from the beginning of the film.

The pictures and times are the same as when everything is decoded. Time counts from the film's first frame, which is
decoded to get its time. `Doubt` is raised if one of these conditions does not hold, and then the caller decodes from
the beginning:

    the container has an index of key frames by time, as MP4 and Matroska have; for others libavformat guesses
    the jump lands on a packet that is marked as a key frame and shown at or before the clip's start, if necessary after
        further jumps to earlier key frames
    the decoder says that this frame needs no other frame; frames shown before it (leading pictures) are dropped
    every frame has a later presentation time than the frame before it, and is not corrupt
    libav finds no damage while it reads and decodes, and the container stores presentation times
"""

import itertools
from collections.abc import Callable, Iterator
from fractions import Fraction

import av

from pipeline.ingest.decode.reading import Reader
from pipeline.ingest.decode.timestamps import Clock, has_slots

INDEXED = {"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm"}
"""Names of the container formats whose index is trusted."""

JUMPS = 4
"""Largest number of jumps that try to land at or before the clip's start."""


class Doubt(Exception):  # noqa: N818
    """The frames after a jump may differ from those of decoding from the beginning."""


def after_jump(
    container: av.container.InputContainer,
    stream: av.VideoStream,
    reader: Reader,
    clock: Clock,
    start: Fraction,
    read: Callable[[av.Packet], object],
) -> Iterator[av.VideoFrame]:
    """Yield the first frame of a stream, then the frames from a key frame on that is shown at or before `start`.

    Args:
        container: a container that was just opened.
        stream: the container's video stream.
        reader: reader of this stream.
        clock: clock of the stream; the caller has passed each frame to it before it asks for the next.
        start: seconds from the first frame.
        read: called with every packet after the jump, before its frames are yielded.

    Raises:
        Doubt: the frames are not certain; decode from the beginning.
    """
    if container.format.name not in INDEXED or stream.time_base is None or has_slots(container, stream):
        raise Doubt
    first = next(_certain(reader.frames(reader.packets())), None)
    if first is None or first.pts is None:
        raise Doubt
    yield first
    packets, key = _land(container, stream, reader, first.pts + int(start / stream.time_base))
    clock.jump((key - first.pts) * stream.time_base)
    last = first.pts
    for frame in _certain(reader.frames(packets, read)):
        if frame.pts is not None and (frame.pts < key or frame.pts <= first.pts):
            continue  # it needs frames that were skipped, or it was yielded already
        if frame.pts is None or frame.pts <= last or frame.is_corrupt or reader.signs.harm_from(key * stream.time_base):
            raise Doubt
        if last < key and (frame.pts > key or not frame.key_frame):
            raise Doubt
        if last < key:
            reader.signs.all.clear()  # of skipped frames, or harmless ones about references to these
        last = frame.pts
        yield frame
    if last < key:
        raise Doubt


def _land(
    container: av.container.InputContainer, stream: av.VideoStream, reader: Reader, target: int
) -> tuple[Iterator[av.Packet], int]:
    """Return the packets from a key frame on that is shown at or before `target`, and the key frame's time.

    Both times are in units of the stream's time base.
    """
    wanted = target
    for _ in range(JUMPS):
        try:
            container.seek(wanted, stream=stream)
            packets = reader.packets()
            key = next(packets)
        except av.FFmpegError as error:
            raise Doubt from error
        if key.pts is None or not key.is_keyframe:
            raise Doubt
        if key.pts <= target:
            return itertools.chain([key], packets), key.pts
        wanted = min(wanted, key.pts if key.dts is None else key.dts) - 1  # MP4's index uses decoding times
    raise Doubt


def _certain(frames: Iterator[av.VideoFrame]) -> Iterator[av.VideoFrame]:
    """Yield the frames; raise `Doubt` at an error of FFmpeg."""
    try:
        yield from frames
    except av.FFmpegError as error:
        raise Doubt from error
