"""A file of a web server as a stream, which goes on by Range where a connection breaks.

Every transfer ends:

    a head     comes within `timeout_s`
    a byte     comes within `timeout_s` of the one before it
    a MiB      comes within `timeout_s` and what it takes at 16 KiB a second: a drip is no progress
    a fault    is tried again, `tries` times in all, after 1, 2, 4 ... seconds or what the host asks for, two minutes
               at most; 64 MiB on, the count begins anew: a large archive may break more often than a small file
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
"""Bytes read at a time."""

SLOWEST = 16 << 10
"""Bytes a second below which a block counts as stalled."""

PROGRESS = 64 << 20
"""Bytes after which earlier faults are forgotten."""

LONGEST_PAUSE_S = 120.0
"""Longest pause before another try, whatever the host asks for."""

_CONTENT_RANGE = r"bytes (?:(?P<start>\d{1,18})-\d+|\*)/(?P<size>\d{1,18}|\*)"

pause = time.sleep
"""How a pause is made."""


def open_http(url: str, settings: FetchConfig) -> io.BufferedReader:
    """A file of a web server, open for reading; see `HttpStream`.

    Raises:
        ClipError: `FileNotFound`, `Forbidden`, `BadRow`; after all tries `Network`, `RateLimited`, `ServerError`.
    """
    return io.BufferedReader(HttpStream(url, settings), BLOCK)


@dataclass(frozen=True)
class _Version:
    """What tells one version of a file from another; None where the host does not say.

    Attributes:
        etag: Entity tag, quoted as sent.
        modified: Date of the last change, as sent.
        size: Bytes of the whole file.
    """

    etag: str | None
    modified: str | None
    size: int | None

    @property
    def validator(self) -> dict[str, str]:
        """The condition for going on (RFC 9110, section 13.1.5): a strong tag, else the date."""
        strong = self.etag if self.etag and not self.etag.startswith("W/") else None
        return {"If-Range": strong or self.modified or ""} if strong or self.modified else {}

    def differs(self, other: "_Version") -> bool:
        """Whether any fact that both have is another one."""
        pairs = ((self.etag, other.etag), (self.modified, other.modified), (self.size, other.size))
        return any(None not in pair and pair[0] != pair[1] for pair in pairs)


class HttpStream(io.RawIOBase):
    """The bytes of a file in order, over as many connections as it takes.

    A connection that breaks, stalls or ends early is followed by one that asks for the rest, on condition that the file
    is still the same. A host that sends the whole file again has its beginning compared with what was handed out.

    Raises:
        ClipError: while reading `Network`, `Truncated`, `ServerError`, `RateLimited` after all tries; `SourceChanged`.
    """

    def __init__(self, url: str, settings: FetchConfig) -> None:
        self._url, self._settings, self._name = url, settings, public(url)
        self._response: urllib3.BaseHTTPResponse | None = None
        self._version = _Version(None, None, None)
        self._position = 0  # bytes taken from the host for good, with their checksum
        self._checksum = 0
        self._rest = memoryview(b"")  # of them, those that are still to be handed out
        self._faults, self._since_fault = 0, 0
        self._persist()

    @property
    def size(self) -> int | None:
        """Bytes of the file as the host states them."""
        return self._version.size

    def readable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Bytes handed out."""
        return self._position - len(self._rest)

    def readinto(self, buffer: "memoryview | bytearray") -> int:  # type: ignore[override]
        """Fill the buffer, or a part of it; 0 at the end."""
        if not self._rest:
            self._persist()
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

    def close(self) -> None:
        """Let go of the connection."""
        self._drop()
        super().close()

    def _drop(self) -> None:
        if self._response is not None:
            self._response.close()
            self._response = None

    def _persist(self) -> None:
        """Take the next block from the host, empty at the end, with as many tries as there are."""
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
        """Ask for the file, or for the rest of it, and see to it that the next byte is the one at the position."""
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
        """The version that an answer belongs to, and where in the file it begins; None where it does not say."""
        headers, size = response.headers, response.length_remaining
        start: int | None = 0
        if response.status != 200:
            stated = re.fullmatch(_CONTENT_RANGE, headers.get("Content-Range", "").strip(), re.ASCII)
            size = int(stated["size"]) if stated and stated["size"] != "*" else None
            start = int(stated["start"]) if stated and stated["start"] else None
        return _Version(headers.get("ETag"), headers.get("Last-Modified"), size), start

    def _pass_over(self, response: urllib3.BaseHTTPResponse) -> None:
        """Read again what was handed out, of a host that knows no Range, and compare."""
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
