"""Download of weights files, with resumption after an interruption and a check of the digest in the file name.

A file appears under its own name only when it is complete.
"""

import fcntl
import hashlib
import http.client
import re
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO, Any

TIMEOUT_S = 30.0  # longest wait without receiving a byte
TRIES = 3
MOST_BYTES = 4 << 30  # the largest published weights have a tenth of it
_DIGEST = re.compile(r"-([0-9a-f]{8,})\.\w+$")  # first digits of the sha256: resnet18-f37072fd.pth
_CHUNK = 2**20


class _RefusedError(OSError):
    """A download that another try would not help."""


class _Redirects(urllib.request.HTTPRedirectHandler):
    """A handler of redirects that leads from https only to https, and from http to either."""

    def redirect_request(self, req: Any, fp: Any, code: Any, msg: Any, headers: Any, newurl: str) -> Any:
        if not newurl.lower().startswith("https:" if req.type == "https" else ("http:", "https:")):
            raise _RefusedError(f"the host leads from {req.type} to {newurl.partition('?')[0]}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def download(url: str, folder: Path, timeout_s: float = TIMEOUT_S, tries: int = TRIES) -> Path:
    """Return the path of a file from the web; download it into `folder` unless it is already there.

    The bytes received so far are kept in NAME.part, and a later call continues from there. If several processes ask for
    the same file, only one downloads it.

    Args:
        url: address that ends with the file's name, which may contain a digest as the names of PyTorch's weights do.
        folder: folder for the file; created if it does not exist.
        timeout_s: longest wait for a byte, in seconds.
        tries: total number of connection attempts.

    Raises:
        ConnectionError: the download fails or the content does not match the digest; the message has one line.
    """
    name = url.rpartition("/")[2]
    path, part = folder / name, folder / f"{name}.part"
    if path.is_file():
        return path
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with part.open("ab+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # a process that waited here finds the file complete
            if path.is_file():
                part.unlink(missing_ok=True)
                return path
            _complete(url, file, timeout_s, tries)
            if not _is_whole(file, name):
                file.truncate(0)
                raise ConnectionError("its content is not what its name says; try again")
            part.replace(path)
    except (OSError, http.client.HTTPException) as error:
        raise ConnectionError(f"cannot download {url} ({_line(error)})") from error
    return path


def _complete(url: str, file: IO[bytes], timeout_s: float, tries: int) -> None:
    for number in range(1, tries + 1):
        try:
            return _append(url, file, timeout_s)
        except urllib.error.HTTPError as error:
            if error.code == 416:  # the part file already has all bytes, or more
                return None
            if error.code < 500 or number == tries:
                raise
        except (OSError, http.client.HTTPException) as error:
            if number == tries or isinstance(error, _RefusedError):
                raise
        time.sleep(number)
    return None


def _append(url: str, file: IO[bytes], timeout_s: float) -> None:
    """Request the missing bytes and append them; start over if the server sends the whole file."""
    have = file.seek(0, 2)
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})  # noqa: S310 - ours
    with urllib.request.build_opener(_Redirects).open(request, timeout=timeout_s) as answer:
        if answer.status != 206:
            file.truncate(0)
        left = answer.length
        while chunk := answer.read1(_CHUNK if left is None else min(_CHUNK, left)):
            if file.tell() + len(chunk) > MOST_BYTES:
                file.truncate(0)
                raise _RefusedError(f"it is larger than {MOST_BYTES >> 20} MiB")
            file.write(chunk)
            left = None if left is None else left - len(chunk)
        file.flush()
        if left:
            raise http.client.IncompleteRead(b"", left)


def _is_whole(file: IO[bytes], name: str) -> bool:
    asked = _DIGEST.search(name)
    file.seek(0)
    return asked is None or hashlib.file_digest(file, "sha256").hexdigest().startswith(asked[1])  # type: ignore[arg-type]


def _line(error: BaseException) -> str:
    if isinstance(error, http.client.IncompleteRead):
        return f"it broke off {error.expected} bytes before its end"
    return " ".join(str(getattr(error, "reason", None) or error).split()) or type(error).__name__
