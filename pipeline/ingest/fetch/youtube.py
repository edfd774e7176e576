"""Fetching of one whole video from YouTube, with limited rates and times.

yt-dlp runs in its own process (`youtube_child`), so that a kill stops it if its JavaScript hangs or a server sends only
a byte per minute; its folder is always removed. Before each request the limiter is asked for the egress. Only this
module decides, by the class of an error, whether to try again.

All clips of a video are cut from one file, because fetching sections of a video by yt-dlp is neither exact nor less
load for YouTube (yt-dlp issues 4216, 11176, 13331).
"""

import contextlib
import itertools
import json
import os
import re
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
from pipeline.ingest.child_environment import NETWORK, child_environment
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
from pipeline.ingest.fetch.scratch import scratch_folder, write_privately
from pipeline.masking import masked

DIRECT = "direct"
"""Name of the egress of all nodes without a proxy."""

PATIENCE = 10
"""Number of timeouts (ingest.fetch.timeout_s) within which yt-dlp must each time write `LEAST_BYTES` more."""

LEAST_BYTES = 64 << 10
"""Bytes that yt-dlp must write in that time: 218 bytes per second by default. A slower transfer counts as stalled."""

_ID = re.compile(r"[A-Za-z0-9_-]{11}", re.ASCII)
_HOSTS = ("www.youtube.com", "youtube.com", "m.youtube.com")
_REFUSED = (RateLimited, BotCheck)
_MAY_PASS = (Network, ServerError, Truncated, ZeroByte, Forbidden)  # 403: a file's address or a token may have expired
_NO_ANSWER = (Network, ServerError, ExtractorOutdated)  # these do not show that YouTube accepts the egress
_ROOT = Path(__file__).parents[3]


def video_id(address: str) -> str:
    """Return the video id in an address of YouTube: `watch?v=`, `youtu.be/`, `/embed/`, `/shorts/`, `/v/`.

    Raises:
        BadRow: the address names no video.
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
    """Return the address of a video's page, without the other parts of the given address.

    Raises:
        BadRow: the given address names no video.
    """
    return f"https://www.youtube.com/watch?v={video_id(address)}"


def fetch_video(
    address: str,
    settings: FetchConfig,
    limiter: Limiter,
    folder: Path,
    page: Callable[[str], str] = watch_page,
) -> bytes:
    """Fetch a whole video at the greatest resolution up to `settings.youtube_height`, without sound if possible.

    Args:
        address: address of the video, such as `https://www.youtube.com/watch?v=0sf943sWZls`.
        settings: number of tries, largest size, time limits, proxies and cookies.
        limiter: limiter that is asked before each request and gets its result.
        folder: folder for temporary files, which no other user can read; they are removed afterwards, with those that
            dead processes left.
        page: function that checks the address and returns the one to request; another function can allow mirrors.

    Returns:
        Bytes of a video file that PyAV can read.

    Raises:
        ClipError: the video cannot be fetched; the message has yt-dlp's own words. If another try may help, this is
            raised only after `settings.tries` tries.
    """
    asked = page(address)
    for attempt in itertools.count(1):
        proxy = _in_turn(settings.youtube_proxies, asked, attempt)
        egress = egress_of(proxy)
        try:
            limiter.acquire(egress)
        except RateLimited:  # this egress is blocked; the next proxy may not be
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
            if not isinstance(error, _REFUSED):  # after a refusal the limiter waits instead
                time.sleep(2.0 ** (attempt - 1))
        else:
            limiter.succeeded(egress)
            return content
    raise AssertionError("the last try returns or raises")


def egress_of(proxy: str | None) -> str:
    """Return the name of an egress: the proxy's address without scheme and password, or `direct` without a proxy."""
    if proxy is None:
        return DIRECT
    return re.sub(r"^(\w+://)?(?:([^:@/]*)(?::[^@/]*)?@)?", lambda match: f"{match[2]}@" if match[2] else "", proxy)


def _in_turn(proxies: tuple[str, ...], asked: str, attempt: int) -> str | None:
    """Return the proxy for an attempt; the first depends on the address, to use all proxies; each next try moves on."""
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
            raise error_named(answer["error"])(masked(f"{asked}: {answer['message']}"))
        content = (scratch / "video").read_bytes()
    if not content:
        raise ZeroByte(f"{asked}: an empty file")
    return content


def _own_cookies(file: str, scratch: Path) -> str | None:
    """Copy the cookies, because yt-dlp writes them back when it ends, and many tasks may end at the same time."""
    if not file:
        return None
    try:
        return str(write_privately(scratch / "cookies", Path(file).read_bytes()))
    except OSError as error:
        raise Unreadable(f"{file}: {error.strerror}; give ingest.fetch.youtube_cookies a file on every node") from None


def _run(request: dict[str, Any], scratch: Path, patience_s: float) -> dict[str, str]:
    """Start the child and return its answer; kill it and all its processes at the end, or if it makes no progress."""
    content = json.dumps(request).encode()  # a proxy's address may have a password
    with (
        write_privately(scratch / "request", content).open() as asks,
        write_privately(scratch / "answer").open("w+b") as answer,
        write_privately(scratch / "log").open("w+b") as log,
    ):
        process = subprocess.Popen(
            [sys.executable, "-m", "pipeline.ingest.fetch.youtube_child"],
            stdin=asks, stdout=answer, stderr=log, cwd=_ROOT, env=child_environment(*NETWORK), start_new_session=True,
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
            raise ExtractorOutdated(
                f"{request['address']}: yt-dlp's process ended with code {code}: {masked(last[:1000])}"
            )
        parsed: dict[str, str] = json.loads(text)
        return parsed


def _wait(process: subprocess.Popen[bytes], asked: str, scratch: Path, patience_s: float) -> int:
    """Wait for the process to end and return its exit code.

    Raises:
        Network: the process has not written `LEAST_BYTES` more in `patience_s` seconds.
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
