"""A file of a web server as a stream, which continues with a Range request if a connection breaks.

No transfer runs forever, because these limits hold:

    a head     must come within `timeout_s`
    a byte     must come within `timeout_s` of the one before it
    a MiB      must come within `timeout_s` plus the time that it takes at 16 KiB per second
    a fault    is followed by another try, up to `tries` tries in all. The pause before it is 1, 2, 4 ... seconds, or as
               long as the host asks for if that is more, but two minutes at most. The count of faults starts again
               after 64 MiB, because the transfer of a large archive may break more often than that of a small file
"""

import http.client
import io
import re
import time
import zlib
from dataclasses import dataclass

import urllib3

from pipeline.config import FetchConfig
from pipeline.ingest.clip_errors import ClipError, Network, ServerError, SourceChanged, Truncated
from pipeline.ingest.fetch.request import BROKEN, Passing, get, one_line, public, within

BLOCK = 1 << 20
"""Number of bytes read at a time."""

SLOWEST = 16 << 10
"""Bytes per second below which a block counts as stalled."""

PROGRESS = 64 << 20
"""Number of bytes after which earlier faults no longer count."""

LONGEST_PAUSE_S = 120.0
"""Longest pause in seconds before another try, whatever the host asks for."""

_CONTENT_RANGE = r"bytes (?:(?P<start>\d{1,18})-\d+|\*)/(?P<size>\d{1,18}|\*)"

pause = time.sleep
"""Function that makes a pause, in seconds."""


def open_http(url: str, settings: FetchConfig) -> io.BufferedReader:
    """Open a file of a web server for reading; see `HttpStream`.

    Raises:
        ClipError: `FileNotFound`, `Forbidden`, `BadRow`; after all tries, `Network`, `RateLimited`, `ServerError` or
            `Truncated`.
    """
    return io.BufferedReader(HttpStream(url, settings), BLOCK)


@dataclass(frozen=True)
class _Version:
    """Facts that distinguish versions of a file; None if the host does not state them.

    Attributes:
        etag: entity tag, with the quotes as sent.
        modified: date of the last change, as sent.
        size: number of bytes of the whole file.
    """

    etag: str | None
    modified: str | None
    size: int | None

    @property
    def validator(self) -> dict[str, str]:
        """The condition for continuing (RFC 9110, section 13.1.5): a strong tag, else the date, else nothing."""
        strong = self.etag if self.etag and not self.etag.startswith("W/") else None
        return {"If-Range": strong or self.modified or ""} if strong or self.modified else {}

    def differs(self, other: "_Version") -> bool:
        """Return whether any fact that both versions have differs."""
        pairs = ((self.etag, other.etag), (self.modified, other.modified), (self.size, other.size))
        return any(None not in pair and pair[0] != pair[1] for pair in pairs)


class HttpStream(io.RawIOBase):
    """A stream of the bytes of a file, in order, over as many connections as are needed.

    If a connection breaks, stalls or ends early, the next one asks for the rest, on condition that the file is still
    the same. If the host sends the whole file again, its beginning is compared with the bytes already read.

    Raises:
        ClipError: as for `open_http`; while reading also `SourceChanged`.
    """

    def __init__(self, url: str, settings: FetchConfig) -> None:
        self._url, self._settings, self._name = url, settings, public(url)
        self._response: urllib3.BaseHTTPResponse | None = None
        self._version = _Version(None, None, None)
        self._position = 0  # number of bytes accepted from the host
        self._checksum = 0  # checksum of these bytes
        self._rest = memoryview(b"")  # the last of these bytes, which the reader has not taken yet
        self._faults, self._since_fault = 0, 0
        self._persist()

    @property
    def size(self) -> int | None:
        """Number of bytes of the file as the host states it; None if it does not."""
        return self._version.size

    def readable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the number of bytes that the reader has taken."""
        return self._position - len(self._rest)

    def readinto(self, buffer: "memoryview | bytearray") -> int:  # type: ignore[override]
        """Fill the buffer or a part of it, and return the number of bytes; 0 at the end."""
        if not self._rest:
            self._persist()
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

    def close(self) -> None:
        """Close the stream and its connection."""
        self._drop()
        super().close()

    def _drop(self) -> None:
        if self._response is not None:
            self._response.close()
            self._response = None

    def _persist(self) -> None:
        """Take the next block from the host, with as many tries as are left; it is empty at the end of the file."""
        while True:
            try:
                self._rest = memoryview(self._block())
                return
            except Passing as fault:
                self._drop()
                self._faults, self._since_fault = self._faults + 1, 0
                if self._faults >= self._settings.tries:
                    raise fault.error from None
                pause(min(max(2.0 ** min(self._faults - 1, 10), fault.pause_s), LONGEST_PAUSE_S))

    def _block(self) -> bytes:
        if self._response is None:
            if self._position and self._position == self.size:
                return b""
            self._response = self._connect()
        block = self._read(self._response, BLOCK)
        end = self._position + len(block)
        if self.size is not None and (end > self.size or (not block and end < self.size)):
            problem = f"sent {end:,} bytes and has promised {self.size:,}"
            raise Passing((ServerError if end > self.size else Truncated)(f"{self._name}: the host {problem}"))
        self._position, self._checksum = end, zlib.crc32(block, self._checksum)
        self._since_fault += len(block)
        if self._since_fault >= PROGRESS:
            self._faults, self._since_fault = 0, 0
        return block

    def _connect(self) -> urllib3.BaseHTTPResponse:
        """Request the file, or the rest of it, and return a response whose next byte is the one at the position."""
        headers = {"Accept-Encoding": "identity"}
        if self._position:
            headers |= {"Range": f"bytes={self._position}-", **self._version.validator}
        response = get(self._url, headers, self._settings.timeout_s)
        try:
            version, start = self._stated(response)
            if not self._position:
                self._version = version
            elif response.status == 416 or self._version.differs(version):
                raise SourceChanged(f"{self._name}: became another file after {self._position:,} bytes were read")
            if start not in (0, self._position) or response.status == 416:
                answer = f"{response.status} {response.headers.get('Content-Range', '')!r:.80}"
                asked = f"asked for bytes from {self._position:,}"
                raise Passing(ServerError(f"{self._name}: {asked}, the host answers {answer}"))
            if start != self._position:
                self._pass_over(response)
        except BaseException:
            response.close()
            raise
        return response

    def _stated(self, response: urllib3.BaseHTTPResponse) -> tuple[_Version, int | None]:
        """Return the version of an answer, and the position in the file at which it begins; None if not stated."""
        headers, size = response.headers, response.length_remaining
        start: int | None = 0
        if response.status != 200:
            stated = re.fullmatch(_CONTENT_RANGE, headers.get("Content-Range", "").strip(), re.ASCII)
            size = int(stated["size"]) if stated and stated["size"] != "*" else None
            start = int(stated["start"]) if stated and stated["start"] else None
        return _Version(headers.get("ETag"), headers.get("Last-Modified"), size), start

    def _pass_over(self, response: urllib3.BaseHTTPResponse) -> None:
        """Read the first bytes again, from a host that ignores Range, and compare them with those already accepted."""
        checksum, left = 0, self._position
        while left:
            block = self._read(response, min(BLOCK, left))
            if not block:
                raise Passing(Truncated(f"{self._name}: the host ended {left:,} bytes before it did the last time"))
            checksum, left = zlib.crc32(block, checksum), left - len(block)
        if checksum != self._checksum:
            raise SourceChanged(f"{self._name}: its first {self._position:,} bytes are others than they were before")

    def _read(self, response: urllib3.BaseHTTPResponse, most: int) -> bytes:
        try:
            with within(self._settings.timeout_s + most / SLOWEST, response.shutdown):
                return response.read(most, decode_content=False)
        except BROKEN as error:
            raise Passing(self._broken(error)) from None

    def _broken(self, error: Exception) -> ClipError:
        cut = isinstance(error, urllib3.exceptions.ProtocolError) and any(
            isinstance(cause, http.client.IncompleteRead) for cause in error.args
        )
        promised = "" if self.size is None else f" of {self.size:,}"
        broken = f"{self._name}: the transfer broke after byte {self._position:,}{promised}: {one_line(error)}"
        return (Truncated if cut else Network)(broken)
