"""One video from YouTube, whole, politely, and never without an end.

yt-dlp runs in a process of its own (`youtube_child`): its JavaScript, and a server that sends a byte a minute, are
stopped by a kill, and what it leaves in its folder goes in every case. Before each request this asks the
limiter of the egress; whether an error is worth another try is decided by its class, here and nowhere else.

All clips of a video are cut from the one file: YouTube's own sections are neither exact nor kinder to it
(yt-dlp issues 4216, 11176, 13331).
"""

import contextlib
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from pipeline.config import FetchConfig
from pipeline.ingest.clip_errors import (
    BadRow,
    BotCheck,
    ClipError,
    ExtractorOutdated,
    Forbidden,
    Network,
    RateLimited,
    ServerError,
    Truncated,
    Unreadable,
    ZeroByte,
    error_named,
)
from pipeline.ingest.fetch.limiter import Limiter
from pipeline.ingest.fetch.scratch import scratch_folder

DIRECT = "direct"
"""The egress of all nodes without a proxy."""

PATIENCE = 10
"""Timeouts (ingest.fetch.timeout_s) after which yt-dlp must have begun to write, and then have written more."""

LEAST_BYTES = 64 << 10
"""That much more: 218 bytes a second by default. A transfer slower than that has stalled."""

_ID = re.compile(r"[A-Za-z0-9_-]{11}", re.ASCII)
_HOSTS = ("www.youtube.com", "youtube.com", "m.youtube.com")
_REFUSED = (RateLimited, BotCheck)
_MAY_PASS = (Network, ServerError, Truncated, ZeroByte, Forbidden)  # 403: an address of a file that expired, a token
_NO_ANSWER = (Network, ServerError, ExtractorOutdated)  # nothing by which to say that the egress is welcome
_ROOT = Path(__file__).parents[3]


def video_id(address: str) -> str:
    """The id in an address of YouTube: `watch?v=`, `youtu.be/`, `/embed/`, `/shorts/`.

    Raises:
        BadRow: it is none.
    """
    try:
        parts = urlsplit(address)
        host, query = parts.hostname, parse_qs(parts.query).get("v", [])
    except ValueError:
        parts, host, query = urlsplit(""), None, []
    place = parts.path.split("/")
    name = ""
    if parts.scheme in ("http", "https") and host in _HOSTS:
        if parts.path == "/watch" and len(query) == 1:
            name = query[0]
        elif len(place) == 3 and place[1] in ("embed", "shorts", "v"):
            name = place[2]
    elif parts.scheme in ("http", "https") and host == "youtu.be" and len(place) == 2:
        name = place[1]
    if not _ID.fullmatch(name):
        raise BadRow(f"{address[:200]!r} names no video; expected https://www.youtube.com/watch?v= and 11 characters")
    return name


def watch_page(address: str) -> str:
    """The page of the video that an address names, and nothing else of the address.

    Raises:
        BadRow: it names none.
    """
    return f"https://www.youtube.com/watch?v={video_id(address)}"


def fetch_video(
    address: str,
    settings: FetchConfig,
    limiter: Limiter,
    folder: Path,
    page: Callable[[str], str] = watch_page,
) -> bytes:
    """Fetch a video whole, at the greatest resolution up to `settings.youtube_height`, without sound where that can be.

    Args:
        address: Such as `https://www.youtube.com/watch?v=0sf943sWZls`.
        settings: How often, how large, how long, by which way.
        limiter: Asked before each request, told after it.
        folder: Local scratch space; what is written there is gone afterwards, and what dead processes left as well.
        page: Checks the address and says what is asked for. Another than YouTube's own serves mirrors of plain files.

    Returns:
        Bytes of a file that PyAV reads.

    Raises:
        ClipError: what stands against it, with yt-dlp's own words, after `settings.tries` where another try may help.
    """
    asked = page(address)
    for attempt in itertools.count(1):
        proxy = _in_turn(settings.youtube_proxies, asked, attempt)
        egress = egress_of(proxy)
        try:
            limiter.acquire(egress)
        except RateLimited:  # for good; the next proxy may do better
            if attempt == settings.tries or len(settings.youtube_proxies) < 2:
                raise
            continue
        try:
            content = _fetch_once(asked, settings, proxy, folder)
        except ClipError as error:
            if isinstance(error, _REFUSED):
                limiter.refused(egress, str(error))
            elif not isinstance(error, _NO_ANSWER):
                limiter.succeeded(egress)
            if attempt == settings.tries or not isinstance(error, _REFUSED + _MAY_PASS):
                raise
            if not isinstance(error, _REFUSED):  # for those the limiter waits
                time.sleep(2.0 ** (attempt - 1))
        else:
            limiter.succeeded(egress)
            return content
    raise AssertionError("the last try returns or raises")


def egress_of(proxy: str | None) -> str:
    """The name of an egress address: a proxy's without its password, or `direct`."""
    if proxy is None:
        return DIRECT
    return re.sub(r"^(\w+://)?(?:([^:@/]*)(?::[^@/]*)?@)?", lambda match: f"{match[2]}@" if match[2] else "", proxy)


def _in_turn(proxies: tuple[str, ...], asked: str, attempt: int) -> str | None:
    """A video's first proxy is drawn by its address, so that workers spread over all of them; then come the next."""
    return proxies[(zlib.crc32(asked.encode()) + attempt) % len(proxies)] if proxies else None


def _fetch_once(asked: str, settings: FetchConfig, proxy: str | None, folder: Path) -> bytes:
    with scratch_folder(folder) as scratch:
        request = {
            "address": asked,
            "folder": str(scratch),
            "file": "video",
            "height": settings.youtube_height,
            "timeout_s": settings.timeout_s,
            "max_bytes": settings.max_mib << 20,
            "cookies": _own_cookies(settings.youtube_cookies, scratch),
            "proxy": proxy,
        }
        answer = _run(request, scratch, PATIENCE * settings.timeout_s)
        if "error" in answer:
            message = answer["message"].replace(proxy, egress_of(proxy)) if proxy else answer["message"]
            raise error_named(answer["error"])(f"{asked}: {message}")
        content = (scratch / "video").read_bytes()
    if not content:
        raise ZeroByte(f"{asked}: an empty file")
    return content


def _own_cookies(file: str, scratch: Path) -> str | None:
    """A copy: yt-dlp writes its cookies back as it ends, and many tasks end at once."""
    if not file:
        return None
    try:
        return str(shutil.copyfile(file, scratch / "cookies"))
    except OSError as error:
        raise Unreadable(f"{file}: {error.strerror}; give ingest.fetch.youtube_cookies a file on every node") from None


def _run(request: dict[str, Any], scratch: Path, patience_s: float) -> dict[str, str]:
    """Have the child answer; kill it, and all that it has started, where it makes no progress."""
    (scratch / "request").write_text(json.dumps(request))
    with (
        (scratch / "request").open() as asks,
        (scratch / "answer").open("w+b") as answer,
        (scratch / "log").open("w+b") as log,
    ):
        process = subprocess.Popen(
            [sys.executable, "-m", "pipeline.ingest.fetch.youtube_child"],
            stdin=asks, stdout=answer, stderr=log, cwd=_ROOT, start_new_session=True,
        )  # fmt: skip
        try:
            code = _wait(process, request["address"], scratch, patience_s)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        answer.seek(0)
        text = answer.read()
        if code or not text:
            log.seek(0)
            words = log.read().decode(errors="replace").split("\n")
            last = next((line.strip() for line in reversed(words) if line.strip()), "no last words")
            raise ExtractorOutdated(f"{request['address']}: yt-dlp's process ended with code {code}: {last[:1000]}")
        parsed: dict[str, str] = json.loads(text)
        return parsed


def _wait(process: subprocess.Popen[bytes], asked: str, scratch: Path, patience_s: float) -> int:
    """Its exit code, once it has ended.

    Raises:
        Network: it has not written `LEAST_BYTES` more in `patience_s`.
    """
    written = 0
    while True:
        try:
            return process.wait(patience_s)
        except subprocess.TimeoutExpired:
            before, written = written, sum(file.stat().st_size for file in scratch.glob("video*"))
            if written < before + LEAST_BYTES:
                grown = f"{written - before} bytes more in {patience_s:g} s, after {before}"
                raise Network(f"{asked}: stalled, {grown}; yt-dlp was killed") from None
