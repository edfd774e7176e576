"""Reading of any source as a stream or as bytes: local paths, http(s) addresses and pyarrow's file systems."""

import io
import os
import queue
import re
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar, cast
from urllib.parse import quote, urlsplit, urlunsplit

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
"""Bytes read at a time from a local file and from an object store; for the latter each block is one request."""

# Words of the AWS SDK, and status codes in its messages. The first match counts.
_MEANINGS: tuple[tuple[str, type[ClipError]], ...] = (
    (r"NO_SUCH_(BUCKET|KEY)|RESOURCE_NOT_FOUND|status:? 404|HTTP 404", FileNotFound),
    (r"ACCESS_DENIED|INVALID_ACCESS_KEY|SIGNATURE|INVALID_CLIENT_TOKEN|UNRECOGNIZED_CLIENT|status:? 40[13]", Forbidden),
    (r"SLOW_DOWN|THROTTLING|REQUEST_LIMIT|status:? 429", RateLimited),
    (r"Not a regular file", Unreadable),
    (r"INTERNAL_FAILURE|SERVICE_UNAVAILABLE|status:? 5\d\d", ServerError),
)


def open_source(uri: str, settings: FetchConfig) -> io.BufferedReader:
    """Open a file for reading from beginning to end.

    Args:
        uri: a local path, an http(s) address, or an address that `pyarrow.fs.FileSystem.from_uri` knows, such as
            `gs://` or `s3://`. An `s3://` address may have `endpoint_override` and `region` in its query; credentials
            stand in front of the bucket or in the usual environment variables.
        settings: time limits and number of tries.

    Returns:
        The stream; reading from it may raise `ClipError` too.

    Raises:
        ClipError: see `pipeline.ingest.fetch.http`; `Unreadable` if the source is not a file that can be read.
    """
    if uri.partition("://")[0].lower() in ("http", "https"):
        return open_http(uri, settings)
    file = _StoredFile(uri, settings)
    return io.BufferedReader(file, PIECE if file.local else BLOCK)


def fetch(uri: str, settings: FetchConfig) -> bytes:
    """Return the whole content of a file.

    Args:
        uri: see `open_source`.
        settings: time limits, number of tries, and largest size of a file.

    Raises:
        ClipError: as for `open_source`; `TooLarge` above `max_mib`, `ZeroByte` if the file is empty.
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
    """Return the clip error that an error of Arrow or the system means; its message omits secrets in the address."""
    text = f"{public(uri)}: {one_line(error).replace(uri, public(uri))}"
    if isinstance(error, FileNotFoundError):
        return FileNotFound(text)
    if not isinstance(error, OSError):
        return BadRow(text)
    if local:
        return Unreadable(text)
    return next((kind for words, kind in _MEANINGS if re.search(words, text)), Network)(text)


def patience_s(settings: FetchConfig) -> float:
    """Return the seconds that an object store may take to answer, which include the retries of its own client."""
    return settings.tries * settings.timeout_s


def in_time(call: Callable[[], T], seconds: float) -> T:
    """Make a call on another thread, with a time limit, because Arrow's clients of object stores may wait forever.

    It returns or raises what the call returns or raises.

    Raises:
        TimeoutError: the call has not ended within `seconds`. Its thread keeps running, and Arrow lets a process exit
            only when its requests have ended, so an exit may wait as long as the host keeps the connection open.
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


def files_below(where: str, settings: FetchConfig, wanted: Callable[[str], bool]) -> list[str] | None:
    """Return the wanted files below a folder, in order; `where` itself if it is a file; None if nothing is there.

    Args:
        where: a local path, or an address that `pyarrow.fs.FileSystem.from_uri` knows.
        settings: time limits and number of tries.
        wanted: function that says of a file's path whether the file is wanted.

    Raises:
        ClipError: the folder cannot be listed.
    """
    local = "://" not in where
    try:
        root, files = _look(where) if local else in_time(lambda: _look(where), patience_s(settings))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, NotImplementedError) as error:
        raise meaning(error, where, local) from None
    if files is None:
        return [where]
    files = [file for file in files if wanted(file)]
    if local:
        return files
    parts = urlsplit(where)
    return [urlunsplit(parts._replace(path=parts.path.rstrip("/") + quote(file[len(root) :]))) for file in files]


def _look(where: str) -> tuple[str, list[str] | None]:
    """Return a folder's path in its store and the sorted paths of its files; None instead of these for a file."""
    store, path = open_store(where)
    kind = store.get_file_info(path).type
    if kind == pafs.FileType.NotFound:
        raise FileNotFoundError(where)
    return path.rstrip("/"), sorted(_files(store, path)) if kind == pafs.FileType.Directory else None


def _files(store: pafs.FileSystem, folder: str) -> Iterator[str]:
    """Yield every file below a folder; links to folders are not followed, because they may lead in a circle."""
    if isinstance(store, pafs.LocalFileSystem):
        for where, _, names in os.walk(folder, onerror=_fail):
            yield from (f"{where}/{name}" for name in names)
    else:
        below = store.get_file_info(pafs.FileSelector(folder, recursive=True))
        yield from (info.path for info in below if info.type == pafs.FileType.File)


def _fail(error: OSError) -> None:
    raise error


def _too_large(uri: str, settings: FetchConfig) -> TooLarge:
    return TooLarge(f"{public(uri)}: more than {settings.max_mib} MiB (ingest.fetch.max_mib)")


class _StoredFile(io.RawIOBase):
    """A file on the local disk or in an object store; errors are raised as `ClipError`."""

    def __init__(self, uri: str, settings: FetchConfig) -> None:
        self._uri, self.local, self._position = uri, "://" not in uri, 0
        self._patience_s = patience_s(settings)
        try:
            store, path = open_store(uri) if self.local else in_time(lambda: open_store(uri), self._patience_s)
            self.local = isinstance(store, pafs.LocalFileSystem)
            if self.local and not stat.S_ISREG(Path(path).stat().st_mode):  # reading a pipe could wait forever
                raise Unreadable(f"{public(uri)}: no plain file")
            self._file = io.FileIO(path) if self.local else self._opened(store, path)
        except (OSError, ValueError, NotImplementedError) as error:  # the last two: Arrow cannot parse the address
            raise meaning(error, self._uri, self.local) from None

    def readable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the number of bytes read so far."""
        return self._position

    def readinto(self, buffer: "memoryview | bytearray") -> int:  # type: ignore[override]
        """Fill the buffer or a part of it, and return the number of bytes; 0 at the end."""
        try:
            part = self._part(len(buffer))
        except OSError as error:
            raise meaning(error, self._uri, self.local) from None
        buffer[: len(part)] = part
        self._position += len(part)
        return len(part)

    def _opened(self, store: pafs.FileSystem, path: str) -> Any:
        # Without `compression=None` Arrow would unpack files whose name ends in .gz.
        return in_time(lambda: store.open_input_stream(path, compression=None), self._patience_s)

    def _part(self, most: int) -> bytes:
        if self.local:
            return self._file.read(most)
        return in_time(lambda: self._file.read(most), self._patience_s + most / SLOWEST)

    def close(self) -> None:
        """Close the file."""
        if hasattr(self, "_file"):
            self._file.close()
        super().close()
