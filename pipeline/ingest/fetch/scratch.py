"""Temporary folders that are removed after use; if a killed process leaves one behind, the next process removes it.

The name of a folder contains its host, its process id and the start time of that process, so that any process on the
host can tell whether the folder is still in use. The start time is needed because process ids are reused.
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
    """Remove the folders of dead processes inside `folder`, make one for this process, and remove it at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    remove_stale(folder)
    name = f"{_NAME}-{socket.gethostname()}-{os.getpid()}-{process_start(os.getpid())}-"
    with tempfile.TemporaryDirectory(prefix=name, dir=folder, ignore_cleanup_errors=True) as scratch:
        yield Path(scratch)


def remove_stale(folder: Path) -> None:
    """Remove the scratch folders inside `folder` that killed processes of this host left behind."""
    for left in folder.glob(f"{_NAME}-{glob.escape(socket.gethostname())}-*-*-*"):
        pid, start = left.name.split("-")[-3:-1]
        if pid.isdecimal() and process_start(int(pid)) != start:
            shutil.rmtree(left, ignore_errors=True)


def process_start(pid: int) -> str:
    """Return the start time of a process in clock ticks since boot; an empty string if there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""
