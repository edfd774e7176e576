"""A lock that keeps a run's folder for one process at a time."""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.config import ConfigError
from pipeline.storage import exists, remove


@contextmanager
def claimed(folder: str, name: str, resume: bool) -> Iterator[None]:
    """Lock a run's folder, and at the end remove it if it has no run.json.

    The system releases the lock when the process ends, in whatever way. Object stores have no locks, so there nothing
    is done.

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
    with Path(folder, "lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise ConfigError(f"--resume {name}: it is running now ({file.read().strip()})") from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        try:
            yield
        finally:
            if not exists(f"{folder}/run.json"):
                remove(folder)  # there is nothing to resume, so the name becomes free again
