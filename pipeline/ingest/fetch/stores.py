"""Any source as a stream or as bytes: a local path, an http(s) address, or what pyarrow's file systems reach."""

import io
import queue
import re
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import pyarrow.fs as pafs

from pipeline.config import FetchConfig
from pipeline.ingest.clip_errors import (
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
from pipeline.ingest.fetch.http import SLOWEST, HttpStream, open_http
from pipeline.ingest.fetch.request import one_line, public
from pipeline.storage import open_store

T = TypeVar("T")

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
    file = _StoredFile(uri, settings)
    return io.BufferedReader(file, PIECE if file.local else BLOCK)


def fetch(uri: str, settings: FetchConfig) -> bytes:
    """The whole content of a file.

    Args:
        uri: see `open_source`.
        settings: how patient to be, and how large a file may be.

    Raises:
        ClipError: as `open_source`; `TooLarge` above `max_mib`, `ZeroByte` where nothing is in it.
    """
    most = settings.max_mib << 20
    with open_source(uri, settings) as file:
        if isinstance(file.raw, HttpStream) and (file.raw.size or 0) > most:
            raise _too_large(uri, settings)
        content = io.BytesIO()
        while part := file.read(min(BLOCK, most + 1 - content.tell())):
            content.write(part)
            if content.tell() > most:
                raise _too_large(uri, settings)
    if not content.tell():
        raise ZeroByte(f"{public(uri)}: nothing is in it; fetch it again or take another source")
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


def patience_s(settings: FetchConfig) -> float:
    """How long an object store may take to answer: its client tries again by itself."""
    return settings.tries * settings.timeout_s


def in_time(call: Callable[[], T], seconds: float) -> T:
    """What a call returns or raises, made on another thread: Arrow's clients of object stores wait without end.

    Raises:
        TimeoutError: nothing yet after so many seconds. The thread is left to itself, and Arrow lets a process end only
            after its requests: a plain exit waits for the host, as long as it keeps the connection open.
    """
    outcome: queue.SimpleQueue[tuple[T | None, Exception | None]] = queue.SimpleQueue()

    def make() -> None:
        try:
            outcome.put((call(), None))
        except Exception as error:
            outcome.put((None, error))

    threading.Thread(target=make, daemon=True).start()
    try:
        value, error = outcome.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError(f"no answer within {seconds:g} s") from None
    if error is not None:
        raise error
    return cast(T, value)


def _too_large(uri: str, settings: FetchConfig) -> TooLarge:
    return TooLarge(f"{public(uri)}: more than {settings.max_mib} MiB (ingest.fetch.max_mib)")


class _StoredFile(io.RawIOBase):
    """A file of the local disk or of an object store whose errors are `ClipError`s."""

    def __init__(self, uri: str, settings: FetchConfig) -> None:
        self._uri, self.local, self._position = uri, "://" not in uri, 0
        self._patience_s = patience_s(settings)
        try:
            store, path = open_store(uri) if self.local else in_time(lambda: open_store(uri), self._patience_s)
            self.local = isinstance(store, pafs.LocalFileSystem)
            if self.local and not stat.S_ISREG(Path(path).stat().st_mode):  # a pipe would be waited for
                raise Unreadable(f"{public(uri)}: no plain file")
            self._file = io.FileIO(path) if self.local else self._opened(store, path)
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
            part = self._part(len(buffer))
        except OSError as error:
            raise meaning(error, self._uri, self.local) from None
        buffer[: len(part)] = part
        self._position += len(part)
        return len(part)

    def _opened(self, store: pafs.FileSystem, path: str) -> Any:
        # Arrow would otherwise unpack what is named .gz.
        return in_time(lambda: store.open_input_stream(path, compression=None), self._patience_s)

    def _part(self, most: int) -> bytes:
        if self.local:
            return self._file.read(most)
        return in_time(lambda: self._file.read(most), self._patience_s + most / SLOWEST)

    def close(self) -> None:
        """Let go of the file."""
        if hasattr(self, "_file"):
            self._file.close()
        super().close()
