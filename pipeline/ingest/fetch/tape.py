"""An archive's bytes, each read once and in order, unpacked on the way where they are gzip."""

import gzip
import io
import zlib
from typing import BinaryIO

from pipeline.ingest.clip_errors import ArchiveBroken

PIECE = 1 << 20
"""Bytes held at a time of what is passed over."""

RATIO, SLACK = 100, 256 << 20
"""Archives that unpack to more than so many times their size, and so many bytes, are bombs: videos do not shrink."""


class Tape:
    """An archive's unpacked bytes from first to last.

    Raises:
        ArchiveBroken: while reading, where the bytes are cut short, corrupt or a bomb; others are the file's.
    """

    def __init__(self, file: io.BufferedReader, name: str) -> None:
        self.name = name
        self.position = 0
        """Unpacked bytes read."""
        self._file = file
        zipped = file.peek(2)[:2] == b"\x1f\x8b"
        self._bytes: BinaryIO = gzip.GzipFile(fileobj=file, mode="rb") if zipped else file  # type: ignore[assignment]

    def read(self, size: int) -> bytes:
        """The next bytes, all of them."""
        content = io.BytesIO()
        while left := size - content.tell():
            content.write(self._piece(left) or self._cut(left))
        return content.getvalue()

    def read_block(self, size: int) -> bytes:
        """The next bytes, all of them, or none where the archive ends here."""
        first = self._piece(size)
        return first + self.read(size - len(first)) if first else b""

    def skip(self, size: int) -> None:
        """Pass over the next bytes, keeping none."""
        while size:
            size -= len(self._piece(size) or self._cut(size))

    def broken(self, problem: str) -> ArchiveBroken:
        """The error that says where."""
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
