"""Videos that lie as JPEGs in a folder, one a frame: joined to a Motion JPEG in memory, which is decoded as any video.

The JPEGs are not decoded here. They go into a QuickTime file as they are, whose frame rate is that of the extraction.
So the child process, its limits and its checks are those of every other clip. QuickTime states times exactly. Matroska
would round them to milliseconds, and at 30 frames a second some frames would then be shown twice and others never.
"""

import io
import os
import re
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av

from pipeline.catalog.rawframes import FRAMES
from pipeline.ingest.clip_errors import BadRow, FileNotFound, NotAVideo, TooLarge, TooShort, Unreadable, ZeroByte

_FRAME = re.compile(r"()(?:img_|image_|frame_|)([0-9]{1,9})\.jpe?g", re.ASCII | re.IGNORECASE)
_FLOW = re.compile(r"(flow_[xy])_([0-9]{1,9})\.jpe?g", re.ASCII | re.IGNORECASE)
_SIZES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # markers of a frame header (ITU-T T.81, table B.1)


class Frames(NamedTuple):
    """What the source of a clip says: `frames:FPS:FIRST:COUNT:FOLDER`; see `pipeline.catalog.rawframes`."""

    fps: int
    first: int
    length: int
    folder: Path


def is_frames(source: str) -> bool:
    """Return whether a source is a folder of JPEGs."""
    return source.startswith(FRAMES)


def frames_of(source: str) -> Frames:
    """Return the parts of a source that is a folder of JPEGs."""
    fps, first, length, folder = source.removeprefix(FRAMES).split(":", 3)
    return Frames(int(fps), int(first), int(length), Path(folder))


def readable(source: str, most_bytes: int) -> str | bytes:
    """Return what the decoder can read of a local source: the path of a video, or the frames of a folder as a video.

    Args:
        source: path, or `frames:FPS:FIRST:COUNT:FOLDER`.
        most_bytes: largest number of bytes of all frames.

    Raises:
        ClipError: as for `joined`.
    """
    return joined(source, most_bytes) if is_frames(source) else source


def joined(source: str, most_bytes: int) -> bytes:
    """Read the frames of a source, and return them as a video.

    Args:
        source: see `Frames`.
        most_bytes: largest number of bytes of all frames.

    Raises:
        ClipError: there is no folder (`FileNotFound`) or it cannot be read (`Unreadable`); a frame is missing
            (`BadRow`), empty (`ZeroByte`) or no JPEG (`NotAVideo`); or the frames are too large (`TooLarge`).
    """
    clip = frames_of(source)
    pictures = _read(clip, _FRAME, [f"frame {number}" for number in _numbers(clip)], most_bytes)
    first = next(iter(pictures))
    return _muxed(pictures.values(), clip.fps, size_of(pictures[first], first))


def joined_flow(source: str, most_bytes: int) -> tuple[bytes, tuple[int, int]]:
    """Read the flow pictures of a source, and return them as a video: x and y in turn, at twice the frame rate.

    The pictures have the numbers of the frames from which the flow goes; so the last frame has none.

    Args:
        source: see `Frames`.
        most_bytes: largest number of bytes of all pictures.

    Returns:
        The video, and the width and height of its pictures.

    Raises:
        ClipError: as for `joined`; `BadRow` also if the pictures differ in size.
    """
    clip = frames_of(source)
    wanted = [f"flow_{axis} {number}" for number in _numbers(clip)[:-1] for axis in "xy"]
    if not wanted:
        raise TooShort(f"1 frame in {clip.folder}; two are the least")
    pictures = _read(clip, _FLOW, wanted, most_bytes)
    size, *others = {size_of(picture, path) for path, picture in pictures.items()}
    if others:
        raise BadRow(f"the flow pictures in {clip.folder} differ in size; extract them again")
    return _muxed(pictures.values(), 2 * clip.fps, size), size


def _numbers(clip: Frames) -> range:
    return range(clip.first, clip.first + clip.length)


def _read(clip: Frames, kind: re.Pattern[str], wanted: list[str], most_bytes: int) -> dict[Path, bytes]:
    """Return the content of the wanted pictures, which are named as in `_there`."""
    there = _there(clip.folder, kind)
    if gone := next((name for name in wanted if name not in there), None):
        raise BadRow(f"the list says {clip.length} frames from {clip.first}, and {gone} is not in {clip.folder}")
    pictures, size = dict[Path, bytes](), 0
    for name in wanted:
        path = there[name]
        size += path.stat().st_size
        if size > most_bytes:
            raise TooLarge(f"the frames in {clip.folder} have more than {most_bytes >> 20} MiB (ingest.fetch.max_mib)")
        pictures[path] = path.read_bytes()
        if not pictures[path]:
            raise ZeroByte(f"{path}: empty")
    return pictures


def _there(folder: Path, kind: re.Pattern[str]) -> dict[str, Path]:
    """Return the pictures of a kind by their names, such as `frame 7` or `flow_x 7`; links are not followed."""
    try:
        with os.scandir(folder) as entries:
            found = [(kind.fullmatch(entry.name), entry) for entry in entries if entry.is_file(follow_symlinks=False)]
    except FileNotFoundError:
        raise FileNotFound(f"no folder {folder}") from None
    except OSError as error:
        raise Unreadable(f"{folder}: {error.strerror}") from None
    return {f"{match[1].lower() or 'frame'} {int(match[2])}": Path(entry.path) for match, entry in found if match}


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


def _muxed(pictures: Iterable[bytes], fps: int, size: tuple[int, int]) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format="mov", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("mjpeg", rate=fps)
        stream.width, stream.height, stream.pix_fmt = *size, "yuvj420p"
        stream.time_base = Fraction(1, fps)
        for number, picture in enumerate(pictures):
            packet = av.Packet(picture)
            packet.stream, packet.time_base, packet.is_keyframe = stream, Fraction(1, fps), True
            packet.pts = packet.dts = number
            packet.duration = 1
            container.mux(packet)
    return file.getvalue()
