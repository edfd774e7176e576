"""Folders for a moment, which are gone afterwards, if need be by whoever comes next: a kill leaves them behind.

Each is named after its host, its process and when that process started, so that anybody on the host can tell whether it
is still in use: ids of processes come again, an id and its start do not.
"""

import contextlib
import glob
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

_NAME = "scratch"


@contextlib.contextmanager
def scratch_folder(folder: Path) -> Iterator[Path]:
    """Make a folder below another, for this process alone; remove it in the end, and first what dead processes left."""
    folder.mkdir(parents=True, exist_ok=True)
    remove_stale(folder)
    name = f"{_NAME}-{socket.gethostname()}-{os.getpid()}-{process_start(os.getpid())}-"
    with tempfile.TemporaryDirectory(prefix=name, dir=folder, ignore_cleanup_errors=True) as scratch:
        yield Path(scratch)


def remove_stale(folder: Path) -> None:
    """Remove what processes of this host left in the folder as they were killed."""
    for left in folder.glob(f"{_NAME}-{glob.escape(socket.gethostname())}-*-*-*"):
        pid, start = left.name.split("-")[-3:-1]
        if pid.isdecimal() and process_start(int(pid)) != start:
            shutil.rmtree(left, ignore_errors=True)


def process_start(pid: int) -> str:
    """When a process started, in ticks since the machine did; empty for one that is not there."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""
