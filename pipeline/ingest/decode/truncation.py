"""Check whether a file was cut short: the lengths that it states go beyond its end.

The manifest so distinguishes a broken transfer, which is worth another try, from a broken video, which is not. A file
that only lacks what comes behind its last frame is a good video: `pipeline.ingest.decode.wholeness` decides.
"""

from pathlib import Path
from typing import BinaryIO

from pipeline.ingest.clip_errors import ClipError, MoovMissing, Truncated
from pipeline.ingest.decode.avi import chunks

_BOXES = {b"ftyp", b"styp", b"moov", b"mdat", b"moof", b"sidx", b"free", b"skip", b"wide", b"uuid", b"mfra", b"meta"}
_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
_ASF_HEADER, _ASF_PROPERTIES = bytes.fromhex("3026b2758e66cf11"), bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_PADDING = 1024  # most bytes behind the end mark of a GIF
_FLV_TAGS = (8, 9, 18)  # sound, video, data


def cut_short(path: str) -> ClipError | None:
    """Return `MoovMissing` or `Truncated` if an MP4, AVI, Matroska, FLV, ASF or GIF should go on by its own words."""
    size = Path(path).stat().st_size
    with Path(path).open("rb") as file:
        head = file.read(12)
        if head[4:8] == b"ftyp":
            return _mp4(file, size)
        if head[:4] == b"RIFF":
            return _beyond(chunks(path).ends_at, size)
        if head[:4] == _EBML:
            return _beyond(matroska_end(path), size)
        if head[:3] == b"FLV":
            return _beyond(_flv(file, size), size)
        if head[:8] == _ASF_HEADER:
            return _beyond(_asf(file), size)
        if head[:3] == b"GIF":
            file.seek(max(0, size - _PADDING))
            if not file.read().rstrip(b"\0").endswith(b";"):
                return Truncated("a GIF without its end mark: it was cut short")
    return None


def matroska_end(path: str) -> int | None:
    """Return the byte at which a Matroska file ends by the length of its segment; None if it states none.

    The file is an EBML header and one segment. The leading zero bits of a length say how many bytes the length takes.
    """
    with Path(path).open("rb") as file:
        file.seek(4)
        header = _number(file)
        if header is None:
            return None
        file.seek(header, 1)
        if file.read(4) != _SEGMENT:
            return None
        length = _number(file)
        return None if length is None else file.tell() + length


def _beyond(promised: int | None, size: int) -> ClipError | None:
    if promised is None or promised <= size:
        return None
    return Truncated(f"{size} bytes, and its header promises {promised}: it was cut short")


def _mp4(file: BinaryIO, size: int) -> ClipError | None:
    """Check an MP4 by its boxes.

    A box begins with four bytes of length and four of kind; if the length is 1, eight more bytes hold the length.
    """
    place = 0
    kinds: set[bytes] = set()
    while place + 8 <= size and len(kinds) < len(_BOXES):
        file.seek(place)
        head = file.read(16)
        length, kind = int.from_bytes(head[:4], "big"), head[4:8]
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if kind not in _BOXES or 1 < length < 8:
            return None
        kinds.add(kind)
        place = place + length if length else size  # length 0: to the end of the file
    if b"moov" not in kinds:
        return MoovMissing("an MP4 without its index (moov), which is written last: it was cut short")
    return _beyond(place, size)


def _asf(file: BinaryIO) -> int | None:
    """Return the size of an ASF as its File Properties Object states it; None if it states none."""
    file.seek(0)
    head = file.read(1 << 16)
    place = head.find(_ASF_PROPERTIES)
    return (int.from_bytes(head[place + 40 : place + 48], "little") or None) if place >= 0 else None


def _flv(file: BinaryIO, size: int) -> int | None:
    """Return the byte at which the last tag of an FLV ends; None if something that is no tag lies before the end.

    A tag is eleven bytes of head, of which the second to fourth are the length, the data, and four bytes of length.
    """
    file.seek(5)
    place = int.from_bytes(file.read(4), "big") + 4
    while place < size:
        file.seek(place)
        head = file.read(11)
        if head[:1] and head[0] & 0x1F not in _FLV_TAGS:
            return None
        place += 11 + int.from_bytes(head[1:4], "big") + 4
    return place


def _number(file: BinaryIO) -> int | None:
    """Read the next EBML length; return None if it is unknown (a live recording) or not a number."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    more = 8 - first[0].bit_length()
    value = int.from_bytes(bytes([first[0] & ((1 << (7 - more)) - 1)]) + file.read(more), "big")
    return None if value == (1 << 7 * (more + 1)) - 1 else value
