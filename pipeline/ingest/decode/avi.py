"""The structure of an AVI file: whether each chunk begins where the one before it ends.

libavformat searches for the next chunk without a word if bytes are lost or damaged, and the times of all later frames
are then too early, since AVI stores no times. So whoever trusts the times of an AVI must look at its chunks.
"""

import mmap
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

_FRAME = re.compile(rb"([0-9A-Fa-f]{2})(?!pc|wb|tx)[a-zA-Z_ ]{2}")  # a stream's number, and no palette, sound or text
_CHUNK = re.compile(rb"[0-9A-Fa-f]{2}[a-zA-Z_ ]{2}|ix[0-9]{2}|junk|idx1|[A-Z][A-Z0-9 ]{3}")  # the last: JUNK, LIST, PAD
_OPEN = 0xFFFFFFF0  # lengths from here on, and 0, are those of a recording that was not finished


@dataclass
class Chunks:
    """The chunks of a file.

    Attributes:
        frames: number of whole frames of each video stream, by the stream's number; a skipped frame is an empty chunk.
        broken_at: the first byte at which no chunk begins although the chunk before it ends; None if there is none.
        ends_at: byte at which the file ends by its own lengths; None if it states none.
    """

    frames: Counter[int] = field(default_factory=Counter)
    broken_at: int | None = None
    ends_at: int | None = 0


def chunks(path: str) -> Chunks:
    """Walk through the chunks of a file, up to the first place where they are broken."""
    found = Chunks()
    with Path(path).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        place, size = 0, len(content)
        while content[place : place + 4] == b"RIFF" and found.broken_at is None:
            length = _length(content, place)
            finished = 0 < length < _OPEN
            found.ends_at = place + 8 + length if finished else None
            end = min(size, place + 8 + length) if finished else size
            place = _walk(found, content, place + 12, end)
    return found


def _walk(found: Chunks, content: mmap.mmap, place: int, end: int, movi: bool = False) -> int:
    """Walk through the chunks from `place` to `end`, and those of the lists that hold frames; return where it ended."""
    while place + 8 <= end and found.broken_at is None:
        kind, length = content[place : place + 4], _length(content, place)
        if kind == b"RIFF":  # the list was not finished, so its end was not known
            return place
        if movi and not _CHUNK.fullmatch(kind):
            if _CHUNK.fullmatch(content[place - 1 : place + 3]):  # a chunk of odd length without its padding
                place -= 1
                continue
            found.broken_at = place
        elif movi and place + 8 + length > end + 1 and end < len(content):
            found.broken_at = place  # it goes on behind the end of its list
        elif kind == b"LIST" and content[place + 8 : place + 12] in (b"movi", b"rec "):
            inner = min(end, place + 8 + length) if 0 < length < _OPEN else end
            place = _walk(found, content, place + 12, inner, movi=True)
        else:
            frame = _FRAME.fullmatch(kind)
            if movi and frame and place + 8 + length <= len(content):
                found.frames[int(frame[1], 16)] += 1
            place += 8 + length + length % 2
    return end + end % 2


def _length(content: mmap.mmap, place: int) -> int:
    return int.from_bytes(content[place + 4 : place + 8], "little")
