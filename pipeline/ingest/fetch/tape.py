"""Reading of an archive's bytes once and in order; gzip is unpacked while reading.

What a stranger's archive may cost is bounded here: its bytes, packed and unpacked, the ratio of the two, and the packed
bytes that unpack to nothing. `tar.py` bounds the number of its members and the size of their headers.
"""

import io
import zlib

from pipeline.ingest.clip_errors import ArchiveBroken

PIECE = 1 << 20
"""Largest number of unpacked bytes read at a time."""

RATIO, SLACK = 100, 256 << 20
"""An archive that unpacks to more than `RATIO` times the bytes read, plus `SLACK` bytes, counts as a bomb.

Videos hardly shrink when they are compressed."""

IDLE = 4 << 20
"""Largest number of packed bytes in a row that unpack to nothing, such as a long header or empty gzip members."""

MOST_GIB = 1024
"""Default of the largest archive in GiB; see `ingest.fetch.max_archive_gib`."""

_GZIP = b"\x1f\x8b"
_PACKED = 64 << 10  # packed bytes read at a time


class Tape:
    """A reader of an archive's unpacked bytes, from first to last.

    Raises:
        ArchiveBroken: while reading, if the bytes are cut short, corrupt, a bomb or too many. Other errors come from
            the file.
    """

    def __init__(self, file: io.BufferedReader, name: str, most_gib: float = MOST_GIB) -> None:
        """Start at the first byte.

        Args:
            file: the archive, plain or gzipped.
            name: name of the archive, for messages.
            most_gib: largest number of GiB that are read, packed and unpacked.
        """
        self.name = name
        self.position = 0
        """Number of unpacked bytes read so far."""
        self._file, self._most_gib = file, most_gib
        self._read = _Gzip(file).read if file.peek(2)[:2] == _GZIP else file.read

    def read(self, size: int) -> bytes:
        """Return the next `size` bytes; raise `ArchiveBroken` if there are fewer."""
        content = io.BytesIO()
        while left := size - content.tell():
            content.write(self._piece(left) or self._cut(left))
        return content.getvalue()

    def read_block(self, size: int) -> bytes:
        """Return the next `size` bytes, or no bytes if the archive ends here."""
        first = self._piece(size)
        return first + self.read(size - len(first)) if first else b""

    def skip(self, size: int) -> None:
        """Skip the next `size` bytes."""
        while size:
            size -= len(self._piece(size) or self._cut(size))

    def broken(self, problem: str) -> ArchiveBroken:
        """Return an error with this problem and the current position."""
        where = f"{self._file.tell():,}, {self.position:,} unpacked"
        return ArchiveBroken(
            f"{self.name}: {problem} near byte {where}; fetch the archive again or take another source"
        )

    def _piece(self, most: int) -> bytes:
        try:
            piece = self._read(min(PIECE, most))
        except EOFError:
            raise self.broken("cut short") from None
        except zlib.error as error:
            reason = str(error).rpartition(": ")[2].replace("incorrect data check", "CRC check failed")
            raise self.broken(f"corrupt ({reason})") from None
        self.position += len(piece)
        packed = self._file.tell()
        if self.position > SLACK + RATIO * packed:
            raise self.broken(f"unpacks to more than {RATIO} times its size")
        if max(self.position, packed) > self._most_gib * 2**30:
            raise self.broken(f"more than {self._most_gib:g} GiB (ingest.fetch.max_archive_gib)")
        return piece

    def _cut(self, missing: int) -> bytes:
        raise self.broken(f"cut short: {missing:,} bytes missing")


class _Gzip:
    """A reader of a file of gzip members, one after another and perhaps with zeros after each.

    The standard library's `GzipFile` would read an endless header, or endless empty members, within one call.
    """

    def __init__(self, file: io.BufferedReader) -> None:
        self._file = file
        self._packed = b""  # bytes that have been read and not yet unpacked
        self._member: zlib._Decompress | None = None  # None between two members
        self._idle = 0

    def read(self, most: int) -> bytes:
        """Return up to `most` bytes, and no bytes at the end.

        Raises:
            EOFError: the file ends inside a member.
            zlib.error: the file is corrupt.
        """
        while True:
            self._packed = self._packed or self._file.read(_PACKED)
            if not self._packed and self._member is None:
                return b""
            if not self._packed:
                raise EOFError
            left = len(self._packed)
            piece = self._unpacked(most)
            self._idle = 0 if piece else self._idle + left - len(self._packed)
            if self._idle > IDLE:
                raise zlib.error(f"{IDLE >> 20} MiB in it unpack to nothing")
            if piece:
                return piece

    def _unpacked(self, most: int) -> bytes:
        if self._member is None:
            self._packed = self._packed.lstrip(b"\0")
            self._member = zlib.decompressobj(wbits=31) if self._packed else None
            return b""
        piece = self._member.decompress(self._packed, most)
        ended = self._member.eof
        self._packed = self._member.unused_data if ended else self._member.unconsumed_tail
        self._member = None if ended else self._member
        return piece
