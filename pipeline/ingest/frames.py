"""Videos that lie as JPEGs in a folder, one a frame: joined to a Motion JPEG in memory, which is decoded as any video.

The JPEGs are not decoded here. They go into a Matroska file as they are, whose frame rate is that of the extraction, so
that the child process, its limits and its checks are those of every other clip.
"""

import io
import os
import re
from fractions import Fraction
from pathlib import Path

import av

from pipeline.catalog.rawframes import FRAMES
from pipeline.ingest.clip_errors import BadRow, FileNotFound, NotAVideo, TooLarge, Unreadable, ZeroByte

_FRAME = re.compile(r"(?:img_|image_|frame_|)([0-9]{1,9})\.jpe?g", re.ASCII | re.IGNORECASE)
_SIZES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # markers of a frame header (ITU-T T.81, table B.1)


def is_frames(source: str) -> bool:
    """Return whether a source is a folder of JPEGs."""
    return source.startswith(FRAMES)


def joined(source: str, most_bytes: int) -> bytes:
    """Read the frames of a source, and return them as a video.

    Args:
        source: `frames:FPS:FIRST:COUNT:FOLDER`; see `pipeline.catalog.rawframes`.
        most_bytes: largest number of bytes of all frames.

    Raises:
        ClipError: there is no folder (`FileNotFound`) or it cannot be read (`Unreadable`); a frame is missing
            (`BadRow`), empty (`ZeroByte`) or no JPEG (`NotAVideo`); or the frames are too large (`TooLarge`).
    """
    fps, first, count, folder = source.removeprefix(FRAMES).split(":", 3)
    there = _there(Path(folder))
    wanted = range(int(first), int(first) + int(count))
    if gone := next((number for number in wanted if number not in there), None):
        raise BadRow(f"the list says {count} frames from {first}, and frame {gone} is not in {folder}")
    pictures, size = [], 0
    for number in wanted:
        path = there[number]
        size += path.stat().st_size
        if size > most_bytes:
            raise TooLarge(f"the frames in {folder} have more than {most_bytes >> 20} MiB (ingest.fetch.max_mib)")
        pictures.append(path.read_bytes())
        if not pictures[-1]:
            raise ZeroByte(f"{path}: empty")
    width, height = size_of(pictures[0], there[wanted[0]])
    return _muxed(pictures, int(fps), width, height)


def _there(folder: Path) -> dict[int, Path]:
    """Return the frames of a folder by their numbers; links are not followed."""
    try:
        with os.scandir(folder) as entries:
            found = [(_FRAME.fullmatch(entry.name), entry) for entry in entries if entry.is_file(follow_symlinks=False)]
    except FileNotFoundError:
        raise FileNotFound(f"no folder {folder}") from None
    except OSError as error:
        raise Unreadable(f"{folder}: {error.strerror}") from None
    return {int(match[1]): Path(entry.path) for match, entry in found if match}


def size_of(jpeg: bytes, path: Path) -> tuple[int, int]:
    """Return width and height as the header of a JPEG states them.

    Raises:
        NotAVideo: there is no such header.
    """
    at = 2
    while jpeg[:2] == b"\xff\xd8" and at + 9 < len(jpeg) and jpeg[at] == 0xFF:
        marker, length = jpeg[at + 1], int.from_bytes(jpeg[at + 2 : at + 4], "big")
        if marker in _SIZES:
            height, width = (int.from_bytes(jpeg[at + n : at + n + 2], "big") for n in (5, 7))
            if width and height:
                return width, height
            break
        at += 1 if marker == 0xFF else 2 + max(length, 2)
    raise NotAVideo(f"{path}: no JPEG")


def _muxed(pictures: list[bytes], fps: int, width: int, height: int) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format="matroska", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("mjpeg", rate=fps)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuvj420p"
        stream.time_base = Fraction(1, fps)
        for number, picture in enumerate(pictures):
            packet = av.Packet(picture)
            packet.stream, packet.time_base, packet.is_keyframe = stream, Fraction(1, fps), True
            packet.pts = packet.dts = number
            packet.duration = 1
            container.mux(packet)
    return file.getvalue()
