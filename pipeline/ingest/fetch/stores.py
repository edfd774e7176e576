"""Any source as a stream or as bytes: a local path, an http(s) address, or what pyarrow's file systems reach."""

import io
import re
import stat
from pathlib import Path
from typing import BinaryIO

import pyarrow.fs as pafs

from pipeline.config import FetchConfig
from pipeline.ingest.errors import (
    BadRow,
    ClipError,
    FileNotFound,
    Forbidden,
    Network,
    RateLimited,
    ServerError,
    TooLarge,
    Unreadable,
    ZeroByte,
)
from pipeline.ingest.fetch.http import HttpStream, open_http
from pipeline.ingest.fetch.request import one_line, public
from pipeline.shards.store import open_store

PIECE, BLOCK = 1 << 20, 8 << 20
"""Bytes read at a time, of a local file and of an object store, to which each block is a request of its own."""

# Words of the AWS SDK, and status codes in its messages; the first that fits.
_MEANINGS: tuple[tuple[str, type[ClipError]], ...] = (
    (r"NO_SUCH_(BUCKET|KEY)|RESOURCE_NOT_FOUND|status:? 404|HTTP 404", FileNotFound),
    (r"ACCESS_DENIED|INVALID_ACCESS_KEY|SIGNATURE|INVALID_CLIENT_TOKEN|UNRECOGNIZED_CLIENT|status:? 40[13]", Forbidden),
    (r"SLOW_DOWN|THROTTLING|REQUEST_LIMIT|status:? 429", RateLimited),
    (r"Not a regular file", Unreadable),
    (r"INTERNAL_FAILURE|SERVICE_UNAVAILABLE|status:? 5\d\d", ServerError),
)


def open_source(uri: str, settings: FetchConfig) -> io.BufferedReader:
    """A file, open for reading from first to last.

    Args:
        uri: a local path, an http(s) address, or an address that `pyarrow.fs.FileSystem.from_uri` knows: `s3://`, with
            `endpoint_override` and `region` in its query and credentials in front of the bucket or in the usual
            environment variables, or `gs://`.
        settings: how patient to be.

    Returns:
        The stream, which raises `ClipError` too.

    Raises:
        ClipError: see `pipeline.ingest.fetch.http`; `Unreadable` where it is no file that can be read.
    """
    if uri.partition("://")[0].lower() in ("http", "https"):
        return open_http(uri, settings)
    file = _StoredFile(uri)
    return io.BufferedReader(file, PIECE if file.local else BLOCK)


def fetch(uri: str, settings: FetchConfig) -> bytes:
    """The whole content of a file.

    Args:
        uri: see `open_source`.
        settings: how patient to be, and how large a file may be.

    Raises:
        ClipError: as `open_source`; `TooLarge` above `max_mib`, `ZeroByte` where nothing is in it.
    """
    with open_source(uri, settings) as file:
        if isinstance(file.raw, HttpStream) and (file.raw.size or 0) > settings.max_mib << 20:
            raise _too_large(public(uri), settings)
        return read_all(file, public(uri), settings)


def read_all(file: BinaryIO, name: str, settings: FetchConfig) -> bytes:
    """What is left of a stream; see `fetch`."""
    most = settings.max_mib << 20
    content = io.BytesIO()
    while part := file.read(min(BLOCK, most + 1 - content.tell())):
        content.write(part)
        if content.tell() > most:
            raise _too_large(name, settings)
    if not content.tell():
        raise ZeroByte(f"{name}: nothing is in it; fetch it again or take another source")
    return content.getvalue()


def meaning(error: Exception, uri: str, local: bool) -> ClipError:
    """What an error of Arrow or of the system means, with its message but without the secrets of the address."""
    text = f"{public(uri)}: {one_line(error).replace(uri, public(uri))}"
    if isinstance(error, FileNotFoundError):
        return FileNotFound(text)
    if not isinstance(error, OSError):
        return BadRow(text)
    if local:
        return Unreadable(text)
    return next((kind for words, kind in _MEANINGS if re.search(words, text)), Network)(text)


def _too_large(name: str, settings: FetchConfig) -> TooLarge:
    return TooLarge(f"{name}: more than {settings.max_mib} MiB (ingest.fetch.max_mib)")


class _StoredFile(io.RawIOBase):
    """A file of the local disk or of an object store whose errors are `ClipError`s."""

    def __init__(self, uri: str) -> None:
        self._uri, self.local, self._position = uri, "://" not in uri, 0
        try:
            store, path = open_store(uri)
            self.local = isinstance(store, pafs.LocalFileSystem)
            if self.local and not stat.S_ISREG(Path(path).stat().st_mode):  # a pipe would be waited for
                raise Unreadable(f"{public(uri)}: no plain file")
            self._file = io.FileIO(path) if self.local else store.open_input_stream(path, compression=None)
        except (OSError, ValueError, NotImplementedError) as error:  # the latter two: an address Arrow cannot read
            raise meaning(error, self._uri, self.local) from None

    def readable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Bytes read."""
        return self._position

    def readinto(self, buffer: "memoryview | bytearray") -> int:  # type: ignore[override]
        """Fill the buffer, or a part of it; 0 at the end."""
        try:
            count = self._file.readinto(buffer)
        except OSError as error:
            raise meaning(error, self._uri, self.local) from None
        self._position += count
        return count

    def close(self) -> None:
        """Let go of the file."""
        if hasattr(self, "_file"):
            self._file.close()
        super().close()
