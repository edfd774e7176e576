"""Reading of an archive's bytes once and in order; gzip is unpacked while reading."""

import gzip
import io
import zlib
from typing import BinaryIO

from pipeline.ingest.clip_errors import ArchiveBroken

PIECE = 1 << 20
"""Largest number of unpacked bytes read at a time."""

RATIO, SLACK = 100, 256 << 20
"""An archive that unpacks to more than `RATIO` times the bytes read, plus `SLACK` bytes, counts as a bomb.

Videos hardly shrink when they are compressed."""


class Tape:
    """A reader of an archive's unpacked bytes, from first to last.

    Raises:
        ArchiveBroken: while reading, if the bytes are cut short, corrupt or a bomb. Other errors come from the file.
    """

    def __init__(self, file: io.BufferedReader, name: str) -> None:
        self.name = name
        self.position = 0
        """Number of unpacked bytes read so far."""
        self._file = file
        zipped = file.peek(2)[:2] == b"\x1f\x8b"
        self._bytes: BinaryIO = gzip.GzipFile(fileobj=file, mode="rb") if zipped else file  # type: ignore[assignment]

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
            piece = self._bytes.read(min(PIECE, most))
        except EOFError:
            raise self.broken("cut short") from None
        except (gzip.BadGzipFile, zlib.error) as error:
            raise self.broken(f"corrupt ({error})") from None
        self.position += len(piece)
        if self.position > SLACK + RATIO * self._file.tell():
            raise self.broken(f"unpacks to more than {RATIO} times its size")
        return piece

    def _cut(self, missing: int) -> bytes:
        raise self.broken(f"cut short: {missing:,} bytes missing")
