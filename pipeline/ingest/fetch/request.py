"""One GET request: redirects are followed, refusals become typed errors, and the answer's head has a time limit."""

import contextlib
import email.utils
import functools
import http.client
import socket
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from urllib.parse import unquote, urljoin, urlsplit

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from pipeline.ingest.clip_errors import BadRow, ClipError, FileNotFound, Forbidden, Network, RateLimited, ServerError
from pipeline.masking import masked, without_secrets

REDIRECTS = 5
"""Largest number of redirects followed from one address."""

BROKEN = (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError)
"""Exceptions that urllib3 raises if a transfer fails."""


class Passing(Exception):  # noqa: N818
    """A temporary fault, after which another try may succeed.

    Args:
        error: the error to raise if no further try is made.
        pause_s: pause in seconds that the host asks for.
    """

    def __init__(self, error: ClipError, pause_s: float = 0.0) -> None:
        super().__init__(str(error))
        self.error = error
        self.pause_s = pause_s


def get(url: str, headers: dict[str, str], timeout_s: float) -> urllib3.BaseHTTPResponse:
    """Return the answer to a GET, with status 200, 206 or 416; its body is not read yet.

    Raises:
        Passing: the fault is temporary.
        ClipError: the fault is permanent: `FileNotFound`, `Forbidden`, or `BadRow` if this is not an http(s) address.
    """
    asked = url
    for _ in range(REDIRECTS + 1):
        try:
            parts = urlsplit(url)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise BadRow(f"{public(asked)}: leads to {public(url)}, which is no http or https address")
            response = _pools(_proxy(parts.scheme, parts.hostname)).request(
                "GET", url, headers=headers | _login(asked, url), timeout=timeout_s, retries=False, redirect=False,
                preload_content=False,
            )  # fmt: skip
        except (urllib3.exceptions.LocationValueError, http.client.InvalidURL, ValueError) as error:
            raise BadRow(f"{public(asked)}: not an address: {one_line(error)}") from None
        except BROKEN as error:
            raise Passing(Network(f"{public(asked)}: no answer: {one_line(error)}")) from None
        location = response.get_redirect_location()
        if not location:
            return _accepted(response, public(asked))
        response.close()  # its body is not read, since it may be endless
        url = urljoin(url, location)
        if parts.scheme == "https" and url.lower().startswith("http:"):
            raise Forbidden(f"{public(asked)}: leads from https to {public(url)}; give that address instead")
    raise Forbidden(
        f"{public(asked)}: more than {REDIRECTS} redirects, the last to {public(url)}; give the final address"
    )


def _login(asked: str, url: str) -> dict[str, str]:
    """Return the header with user and password of the address that was asked for; no other host gets them."""
    first, now = urlsplit(asked), urlsplit(url)
    if first.username is None or (first.scheme, first.hostname, first.port) != (now.scheme, now.hostname, now.port):
        return {}
    return urllib3.util.make_headers(basic_auth=_user_and_password(asked))


def _user_and_password(url: str) -> str:
    parts = urlsplit(url)
    return f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"


def public(uri: str) -> str:
    """Return an address for messages: one short line without user, password and query, which may be secrets."""
    plain = without_secrets(uri)
    return _printable(plain.partition("?")[0] if "://" in plain else plain)


def one_line(error: BaseException) -> str:
    """Return the type and message of a library's exception on one line."""
    return _printable(masked(" ".join(f"{type(error).__name__}: {error}".split())))


def _printable(text: str, most: int = 300) -> str:
    text = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
    return text if len(text) <= most else text[: most - 3] + "..."


@contextlib.contextmanager
def within(seconds: float, stop: Callable[[], object]) -> Iterator[None]:
    """Call `stop` from another thread if the block takes longer than `seconds`.

    A socket's own timeout is not enough, because it starts again at every byte.

    Raises:
        TimeoutError: the block took longer, and ended normally or with an error of `BROKEN`.
    """
    late = threading.Event()

    def expire() -> None:
        late.set()
        with contextlib.suppress(OSError, ValueError, RuntimeError):  # the connection may have ended already
            stop()

    timer = threading.Timer(seconds, expire)
    timer.daemon = True
    timer.start()
    try:
        yield
    except BROKEN:
        if not late.is_set():
            raise
    finally:
        timer.cancel()
    if late.is_set():
        raise TimeoutError(f"took longer than {seconds:g} s")


def _accepted(response: urllib3.BaseHTTPResponse, name: str) -> urllib3.BaseHTTPResponse:
    """Return the answer if its status is 200, 206 or 416; else raise the error that the status means."""
    status = response.status
    if status in (200, 206, 416):
        return response
    response.close()
    answer = f"{name}: the host answers {status} {_printable(response.reason or '', most=60)}".rstrip()
    if status in (404, 410):
        raise FileNotFound(f"{answer}; the file is gone: correct the address or take another source")
    if status in (408, 425, 429):
        raise Passing(RateLimited(f"{answer}; ask later, or with fewer workers"), _retry_after(response))
    if 400 <= status < 500:
        raise Forbidden(f"{answer}; see what it wants: an account, a licence, another region")
    raise Passing(ServerError(answer), _retry_after(response))


def _retry_after(response: urllib3.BaseHTTPResponse) -> float:
    """Return the seconds that the host asks to wait, stated as seconds or as a date; 0 if it states none."""
    stated = response.headers.get("Retry-After", "").strip()
    if stated.isascii() and stated.isdigit():
        return float(stated[:9])
    try:
        return max(0.0, email.utils.parsedate_to_datetime(stated).timestamp() - time.time())
    except (ValueError, OverflowError):
        return 0.0


def _proxy(scheme: str, host: str) -> str | None:
    """Return the proxy that the usual environment variables set for a host; None if there is none."""
    proxy = urllib.request.getproxies().get(scheme)
    return None if urllib.request.proxy_bypass(host) else proxy


class _Connection(HTTPConnection):
    """A connection on which the whole head of an answer must arrive within the timeout."""

    def getresponse(self) -> urllib3.HTTPResponse:  # type: ignore[override]
        connection = self.sock
        with within(float(self.timeout or 60.0), lambda: socket.socket.shutdown(connection, socket.SHUT_RDWR)):
            return super().getresponse()


class _SecureConnection(_Connection, HTTPSConnection):
    """A `_Connection` over TLS."""


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


@functools.cache
def _pools(proxy: str | None) -> urllib3.PoolManager:
    """Return the connection pools that this process keeps for a proxy, or for direct connections."""
    if proxy:
        login = urlsplit(proxy).username and _user_and_password(proxy)
        known = urllib3.util.make_headers(proxy_basic_auth=login) if login else None
        pools: urllib3.PoolManager = urllib3.ProxyManager(proxy, proxy_headers=known)
    else:
        pools = urllib3.PoolManager()
    pools.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}
    return pools
