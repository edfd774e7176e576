"""Client of the public id lookup of YouTube-8M, with a rate limit, a deadline and retries.

`GET {base}/nX/nXSc.js` answers `i("nXSc","0sf943sWZls");`
(https://research.google.com/youtube8m/video_id_conversion.html). For a deleted video it answers 404, or 403 with
`AccessDenied`, which is how a storage bucket says that it has no such object.
"""

import re
import time
import urllib.request
from dataclasses import dataclass
from urllib.parse import urlsplit

import urllib3

from pipeline.catalog.rows import CatalogError, shown

BASE = "https://data.yt8m.org/2/j/i"
PSEUDO_ID = re.compile(r"[A-Za-z0-9_-]{4}", re.ASCII)

_ANSWER = re.compile(rb'\s*i\(\s*"([A-Za-z0-9_-]{4})"\s*,\s*"([A-Za-z0-9_-]{11})"\s*\)\s*;?\s*')
_MOST_BYTES = 1024  # bytes of an answer that are read; a correct answer has 24
_LONGEST_PAUSE_S = 120.0


@dataclass(frozen=True)
class Lookup:
    """The settings of the lookup.

    Attributes:
        base: Address before `/nX/nXSc.js`.
        per_second: Largest number of requests per second.
        tries: Largest number of requests for one id.
        timeout_s: Longest wait for an answer, in seconds.
        pause_s: Pause before the second try, in seconds; doubled before each further one, or longer if the server asks.
    """

    base: str = BASE
    per_second: float = 10.0
    tries: int = 5
    timeout_s: float = 15.0
    pause_s: float = 1.0

    def __post_init__(self) -> None:
        parts = urlsplit(self.base)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise CatalogError(f"lookup {shown(self.base)}: give an http or https address, such as {BASE}")
        if min(self.per_second, self.tries, self.timeout_s) <= 0 or self.pause_s < 0:
            raise CatalogError("lookup: per_second, tries and timeout_s must be above 0, pause_s not below it")


class NoAnswerError(Exception):
    """No answer for an id. `pause_s` is the pause in seconds that the server asks for; None if a retry is useless."""

    def __init__(self, message: str, pause_s: float | None = 0.0) -> None:
        super().__init__(message)
        self.pause_s = pause_s


class VideoGoneError(Exception):
    """The lookup has no such id. `certain` is False for a 403, which might also mean that we are refused."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the lookup answers {status}: the video was deleted or made private")
        self.certain = status != 403


class Client:
    """A client with one kept connection and a limited rate, which uses the usual environment variables for proxies."""

    def __init__(self, lookup: Lookup) -> None:
        self.lookup = lookup
        parts = urlsplit(lookup.base)
        proxy = urllib.request.getproxies().get(parts.scheme)
        if proxy and not urllib.request.proxy_bypass(parts.hostname or ""):
            self._pool: urllib3.PoolManager = urllib3.ProxyManager(proxy)
        else:
            self._pool = urllib3.PoolManager()
        self._next_request = 0.0

    def address(self, pseudo_id: str) -> str:
        """Return the address to ask for an id, which must match `PSEUDO_ID`."""
        return f"{self.lookup.base.rstrip('/')}/{pseudo_id[:2]}/{pseudo_id}.js"

    def ask(self, pseudo_id: str) -> str:
        """Return the YouTube id of a pseudo id.

        Raises:
            VideoGoneError: the lookup has no such id.
            NoAnswerError: no try was answered.
        """
        pause = self.lookup.pause_s
        for _ in range(self.lookup.tries - 1):
            try:
                return self._ask_once(pseudo_id)
            except NoAnswerError as error:
                if error.pause_s is None:
                    raise
                self._next_request = time.monotonic() + min(max(pause, error.pause_s), _LONGEST_PAUSE_S)
                pause *= 2
        return self._ask_once(pseudo_id)

    def _ask_once(self, pseudo_id: str) -> str:
        time.sleep(max(0.0, self._next_request - time.monotonic()))
        self._next_request = time.monotonic() + 1 / self.lookup.per_second
        try:
            status, headers, body = self._get(self.address(pseudo_id))
        except urllib3.exceptions.HTTPError as error:
            raise NoAnswerError(f"no answer ({type(error).__name__}: {shown(str(error), most=200)})") from None
        if status == 200:
            match = _ANSWER.fullmatch(body)
            if match is None or match[1].decode() != pseudo_id:
                text = shown(body.decode(errors="replace"))
                raise NoAnswerError(f'the lookup answers {text}; expected i("{pseudo_id}","...");')
            return match[2].decode()
        if status in (404, 410) or (status == 403 and b"<Code>AccessDenied</Code>" in body):
            raise VideoGoneError(status)
        if status in (408, 425, 429) or status >= 500:
            stated = headers.get("Retry-After", "")
            raise NoAnswerError(
                f"the lookup answers {status}", float(stated) if re.fullmatch("[0-9]+", stated) else 0.0
            )
        raise NoAnswerError(f"the lookup answers {status}", pause_s=None)

    def _get(self, address: str) -> tuple[int, urllib3.HTTPHeaderDict, bytes]:
        """Return status, headers and the start of the body, within `timeout_s` even if the body arrives slowly."""
        timeout_s = self.lookup.timeout_s
        deadline = time.monotonic() + timeout_s
        response = self._pool.request(
            "GET", address, timeout=timeout_s, retries=False, redirect=False, preload_content=False
        )
        try:
            body = b""
            while len(body) < _MOST_BYTES and (part := response.read1(_MOST_BYTES)):
                body += part
                if time.monotonic() > deadline:
                    raise NoAnswerError(f"the answer did not end within {timeout_s:g} s")
            return response.status, response.headers, body
        finally:
            response.close()  # an answer read to its end still leaves the connection in the pool
