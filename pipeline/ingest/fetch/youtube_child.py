"""yt-dlp in a process of its own, which `pipeline.ingest.fetch.youtube` starts for one video and can kill.

A request in JSON comes on standard input: `address`, `folder` and the `file` in it, `height`, `timeout_s`, `max_bytes`,
`cookies`, `proxy`. The answer goes to standard output: `{}`, or the class and message of the error.
"""

import ctypes
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yt_dlp
from yt_dlp.globals import plugin_dirs

from pipeline.ingest.clip_errors import ClipError, FormatUnavailable, LiveOrPremiere, TooLarge
from pipeline.ingest.fetch.youtube_errors import clip_error

_PR_SET_PDEATHSIG = 1  # of linux/prctl.h


def options(request: dict[str, Any], log: "Log") -> dict[str, Any]:
    """The options of `yt_dlp.YoutubeDL` for a request; relative names are of the current folder."""
    host = urlsplit(request["address"]).hostname or ""

    def only_what_is_over(info: dict[str, Any], **_: bool) -> None:
        if info.get("live_status") in ("is_live", "is_upcoming", "post_live"):
            raise LiveOrPremiere(f"it is {info['live_status'].replace('_', ' ')}; fetch it when it is over")

    def not_too_large(progress: dict[str, Any]) -> None:
        if progress.get("downloaded_bytes", 0) > request["max_bytes"]:
            raise TooLarge(_too_large(request))

    return {
        # One stream, as ffmpeg is not there to merge two. `res` is the shorter side, as in YouTube's own names (360p);
        # where none is so small, the smallest is taken. High dynamic range would lose its look in 8 bits.
        "format": "bv*[protocol^=http]/bv*[protocol=m3u8_native]",
        "format_sort": [f"res:{request['height']}", "+hdr", "fps:60", "vcodec:h264"],
        "outtmpl": request["file"],
        "fixup": "never",
        "allowed_extractors": ["youtube" if host.endswith("youtube.com") else "generic"],
        "noplaylist": True,
        "extract_flat": True,
        "match_filter": only_what_is_over,
        "progress_hooks": [not_too_large],
        "max_filesize": request["max_bytes"],
        "socket_timeout": request["timeout_s"],
        "retries": 0,  # whether to try again is decided by the class of the error, outside
        "extractor_retries": 0,
        "fragment_retries": 0,
        "file_access_retries": 0,
        "skip_unavailable_fragments": False,
        "cookiefile": request["cookies"],
        "proxy": request["proxy"],
        "cachedir": False,
        "updatetime": False,
        "writethumbnail": False,
        "quiet": True,
        "noprogress": True,
        "color": "no_color",
        "logger": log,
    }


class Log:
    """What yt-dlp has to say."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.warnings: list[str] = []

    def debug(self, message: str) -> None:
        """Debug messages and what would go to the screen."""
        self.told.append(message)

    def warning(self, message: str) -> None:
        """Warnings."""
        self.warnings.append(message)

    def error(self, message: str) -> None:
        """Errors; each is raised as well."""


def fetch(request: dict[str, Any]) -> None:
    """Fetch one video into the current folder.

    Raises:
        ClipError: why it is not there.
    """
    log = Log()
    plugin_dirs.value = []  # none of whoever's home this is
    try:
        with yt_dlp.YoutubeDL(options(request, log)) as ydl:
            info = ydl.extract_info(request["address"]) or {}
    except Exception as error:
        raise clip_error(error, log.warnings) from error
    if (kind := info.get("_type", "video")) != "video":
        raise FormatUnavailable(f"it is no video but leads to others (yt-dlp: {kind}), and no link is followed")
    if Path(request["file"]).is_file():
        return
    if any("larger than max-filesize" in line for line in log.told):
        raise TooLarge(_too_large(request))
    raise FormatUnavailable(f"yt-dlp left no file; its last words: {(log.warnings + log.told or ['none'])[-1].strip()}")


def _too_large(request: dict[str, Any]) -> str:
    return f"more than {request['max_bytes'] >> 20} MiB (ingest.fetch.max_mib)"


def _serve() -> None:
    """Answer one request."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    reply = os.dup(1)
    os.dup2(2, 1)  # what anybody prints is no answer
    request = json.load(sys.stdin)
    os.chdir(request["folder"])
    answer: dict[str, str] = {}
    try:
        fetch(request)
    except ClipError as error:
        answer = {"error": type(error).__name__, "message": str(error)}
    os.write(reply, json.dumps(answer).encode())


if __name__ == "__main__":
    _serve()
