"""Temporary folders that are removed after use; if a killed process leaves one behind, the next process removes it.

A folder is this user's alone and its name cannot be guessed, so that nobody can make it first, or read the cookies and
passwords in it. The name contains its host, its process id and the start time of that process, so that any process on
the host can tell whether the folder is still in use. The start time is needed because process ids are reused.
"""

import contextlib
import glob
import os
import shutil
import socket
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

_NAME = "video-fetch"


@contextlib.contextmanager
def scratch_folder(folder: Path) -> Iterator[Path]:
    """Make a folder for this process and remove it at the end; remove this user's folders of dead processes before.

    Args:
        folder: the folder in which these folders lie; it is created if it does not exist.
    """
    folder.mkdir(parents=True, exist_ok=True)
    remove_stale(folder)
    name = f"{_NAME}-{socket.gethostname()}-{os.getpid()}-{process_start(os.getpid())}-"
    with tempfile.TemporaryDirectory(prefix=name, dir=folder, ignore_cleanup_errors=True) as scratch:
        yield Path(scratch)


def remove_stale(folder: Path) -> None:
    """Remove the scratch folders inside `folder` that killed processes of this user and host left behind."""
    for left in folder.glob(f"{_NAME}-{glob.escape(socket.gethostname())}-*-*-*"):
        pid, start = left.name.split("-")[-3:-1]
        if pid.isdecimal() and process_start(int(pid)) != start and _is_own_folder(left):
            shutil.rmtree(left, ignore_errors=True)


def write_privately(file: Path, content: bytes = b"") -> Path:
    """Write a new file that only this user can read, and return its path."""
    file.touch(mode=0o600, exist_ok=False)
    file.write_bytes(content)
    return file


def _is_own_folder(path: Path) -> bool:
    try:
        status = path.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid()


def process_start(pid: int) -> str:
    """Return the start time of a process in clock ticks since boot; an empty string if there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""
