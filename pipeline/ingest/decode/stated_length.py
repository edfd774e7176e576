"""How long a video is by its own header, which is believed before the container's, since that may be the sound's."""

from fractions import Fraction

import av

from pipeline.ingest.decode.source import open_video

MP4, MATROSKA, AVI, FLV = "mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi", "flv"
STATING = {MP4, MATROSKA, AVI, FLV}
"""Containers that state a length, if their writer could return to the header. For others libavformat estimates one."""


def stated_length(container: av.container.InputContainer, stream: av.VideoStream) -> Fraction | None:
    """Return the length of the video stream in seconds as the file states it for this stream alone, or None.

    AVI states the number of frames and MP4 the duration. Matroska may have a tag, which counts from 0 as its times do.
    """
    if stream.time_base is None:
        return None
    if container.format.name == AVI:
        return stream.frames * stream.time_base or None
    if container.format.name == MP4:
        return stream.duration * stream.time_base if stream.duration else None
    if container.format.name == MATROSKA:
        return _seconds(stream.metadata.get("DURATION", ""))
    return None


def is_longer(
    path: str, container: av.container.InputContainer, stream: av.VideoStream, seconds: Fraction, max_gap: float
) -> bool:
    """Return whether a video goes on for more than `seconds` from its first frame, by its header.

    If only a tag or the container states a length, the packet at that time is looked for, since another stream may be
    the long one. A gap of more than `max_gap` seconds there is a fault of the times, which decoding explains.
    """
    if container.format.name not in STATING:
        return False
    stated = stated_length(container, stream)
    if stated is not None and container.format.name in (AVI, MP4):
        return stated > seconds
    stated = max(stated or Fraction(0), Fraction(container.duration or 0, av.time_base))
    if stated <= seconds or stream.time_base is None:
        return False
    until = (stream.start_time or 0) * stream.time_base + seconds
    last = until
    try:
        with open_video(path) as probe:
            same = probe.streams[stream.index]
            probe.seek(int(until / stream.time_base), stream=same)
            for packet in probe.demux(same):
                if packet.pts is None:
                    continue
                time = packet.pts * stream.time_base
                if time > until:
                    return time - last <= max_gap
                last = time
    except av.FFmpegError:  # no seeking in this file: decoding finds out
        return False
    return False


def _seconds(text: str) -> Fraction | None:
    """Return the seconds of a time such as 00:01:02.500000000; None if it is no time."""
    try:
        hours, minutes, seconds = (Fraction(part) for part in text.split(":"))
    except (ValueError, ZeroDivisionError):
        return None
    return hours * 3600 + minutes * 60 + seconds
