"""The container of a stored stream, checked before libav opens it.

Stored streams are MP4 files as ingest writes them: one track of H.264, without fragments, references to other files or
attachments. Anything else is refused here, and so is a table that would make libav build an index far larger than the
bytes that it is given.
"""

import struct
from collections import Counter
from collections.abc import Iterator

from pipeline.shards.limits import MAX_FRAMES

MAX_BYTES = 2**31  # a cell of Parquet holds no more
_HOLDS = {
    b"": {b"ftyp", b"free", b"mdat", b"moov"},
    b"moov": {b"mvhd", b"trak", b"udta"},
    b"trak": {b"tkhd", b"edts", b"mdia"},
    b"edts": {b"elst"},
    b"mdia": {b"mdhd", b"hdlr", b"minf"},
    b"minf": {b"vmhd", b"dinf", b"stbl"},
    b"stbl": {b"stsd", b"stts", b"stss", b"stsc", b"stsz", b"stco", b"co64"},
}
_ONCE = (b"ftyp", b"moov", b"trak", b"elst", b"stsd", b"stts", b"stsc", b"stsz")


class CodecError(ValueError):
    """The stored bytes do not decode to the requested frames."""


def check_mp4(encoded: bytes) -> None:
    """Check that bytes are an MP4 as ingest writes it, whose tables are no longer than its bytes allow.

    Raises:
        CodecError: they are not.
    """
    if len(encoded) > MAX_BYTES:
        raise CodecError(f"stored clip does not decode: it has {len(encoded)} bytes, and may have {MAX_BYTES}")
    seen: Counter[bytes] = Counter()
    frames = timed = 0
    try:
        for kind, content in _boxes(memoryview(encoded), b""):
            seen[kind] += 1
            if kind == b"stsz":
                size, frames = struct.unpack_from(">II", content, 4)
                if frames > MAX_FRAMES or frames * (size or 4) > len(encoded):
                    raise CodecError(f"stored clip does not decode: it states {frames} frames in {len(encoded)} bytes")
            elif kind == b"stts":
                (count,) = struct.unpack_from(">I", content, 4)
                timed = sum(struct.unpack_from(">I", content, 8 + 8 * entry)[0] for entry in range(count))
            elif kind in (b"elst", b"stsd") and struct.unpack_from(">I", content, 4) != (1,):
                raise CodecError(f"stored clip does not decode: not one entry in {kind.decode()}")
    except struct.error:
        raise CodecError("stored clip does not decode: its header is incomplete") from None
    if wrong := [kind.decode() for kind in _ONCE if seen[kind] != 1]:
        raise CodecError(f"stored clip does not decode: no MP4 with one track ({', '.join(wrong)})")
    if timed != frames:
        raise CodecError(f"stored clip does not decode: it states {frames} frames and times of {timed}")


def _boxes(content: memoryview, parent: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Yield the kind and the content of all boxes, those inside others too."""
    while len(content):
        size, kind = struct.unpack_from(">I4s", content)
        head = 8
        if size == 1:  # the size has 8 bytes, behind the kind
            (size,), head = struct.unpack_from(">Q", content, head), 16
        if kind not in _HOLDS[parent]:
            raise CodecError(f"stored clip does not decode: not the MP4 that ingest writes ({bytes(kind)!a})")
        if not head <= size <= len(content):
            raise CodecError(f"stored clip does not decode: its {kind.decode()} is cut off")
        yield kind, content[head:size]
        if kind in _HOLDS:
            yield from _boxes(content[head:size], kind)
        content = content[size:]
