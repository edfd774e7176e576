"""A lock that keeps the folder of a run, or of an experiment, for one process at a time.

The system releases the lock when the process ends, in whatever way. Object stores have no locks, so there nothing is
done.
"""

import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.config import ConfigError
from pipeline.storage import exists, remove

LOCK = "lock"
PAUSE_S = 0.5  # seconds between two looks at a lock
SILENT_S = 30.0  # seconds of waiting before a word about it


@contextmanager
def claimed(folder: str, name: str, resume: bool) -> Iterator[None]:
    """Lock a run's folder, and at the end remove it if it has no run.json.

    Args:
        folder: folder of the run, which is created if it does not exist.
        name: name of the run.
        resume: whether the folder may exist already.

    Raises:
        ConfigError: the name of a new run is taken, or another process is running the run.
    """
    if "://" in folder:
        yield
        return
    try:
        Path(folder).mkdir(parents=True, exist_ok=resume)
    except FileExistsError:
        raise ConfigError(f"--name {name}: taken; --resume {name} continues it, another name starts anew") from None
    with locked(folder, f"--resume {name}"):
        try:
            yield
        finally:
            if not exists(f"{folder}/run.json"):
                remove(folder)  # there is nothing to resume, so the name becomes free again


@contextmanager
def locked(folder: str, flag: str) -> Iterator[None]:
    """Lock a folder that exists.

    Args:
        folder: the folder.
        flag: the option with which the user named what is in it, for the message.

    Raises:
        ConfigError: another process has the lock.
    """
    if "://" in folder:
        yield
        return
    with Path(folder, LOCK).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise ConfigError(f"{flag}: it is running now ({file.read().strip()})") from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        yield


def wait_until_free(folder: str) -> None:
    """Wait until no process has the lock of a folder, and say so after a while; the folder may not exist."""
    if "://" in folder or not Path(folder, LOCK).exists():
        return
    begin, said = time.monotonic(), False
    with Path(folder, LOCK).open("a+") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not said and time.monotonic() - begin > SILENT_S:
                    file.seek(0)
                    print(f"{folder}: waiting for {file.read().strip() or 'another process'}, which has it", flush=True)
                    said = True
                time.sleep(PAUSE_S)
            else:
                return
