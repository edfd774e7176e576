"""yt-dlp in its own process, which `pipeline.ingest.fetch.youtube` starts for one video and can kill.

Standard input takes a request in JSON: `address`, `folder`, the `file` in this folder, `height`, `timeout_s`,
`max_bytes`, `cookies`, `proxy`. The answer goes to standard output: `{}`, or the class and message of the error.
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

_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38  # from linux/prctl.h


def options(request: dict[str, Any], log: "Log") -> dict[str, Any]:
    """Return the options of `yt_dlp.YoutubeDL` for a request; file names are relative to the current folder."""
    host = urlsplit(request["address"]).hostname or ""

    def only_what_is_over(info: dict[str, Any], **_: bool) -> None:
        if info.get("live_status") in ("is_live", "is_upcoming", "post_live"):
            raise LiveOrPremiere(f"it is {info['live_status'].replace('_', ' ')}; fetch it when it is over")

    def not_too_large(progress: dict[str, Any]) -> None:
        if progress.get("downloaded_bytes", 0) > request["max_bytes"]:
            raise TooLarge(_too_large(request))

    return {
        # One stream is fetched, because ffmpeg may not be installed to merge two. `res` is the shorter side, as in
        # YouTube's own names (360p); if no format is that small, the smallest is taken. Standard dynamic range is
        # preferred, because pictures of high dynamic range would look wrong in 8 bits.
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
        "retries": 0,  # the caller decides by the class of the error whether to try again
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
    """A logger that collects what yt-dlp says."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.warnings: list[str] = []

    def debug(self, message: str) -> None:
        """Take a debug message, or one that would go to the screen."""
        self.told.append(message)

    def warning(self, message: str) -> None:
        """Take a warning."""
        self.warnings.append(message)

    def error(self, message: str) -> None:
        """Ignore an error, because it is also raised as an exception."""


def fetch(request: dict[str, Any]) -> None:
    """Fetch one video into the current folder.

    Raises:
        ClipError: the video was not fetched; the class says why.
    """
    log = Log()
    plugin_dirs.value = []  # no plugins from the user's home folder
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
    ctypes.CDLL(None).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    os.umask(0o077)
    reply = os.dup(1)
    os.dup2(2, 1)  # so that printed text does not mix with the answer
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
