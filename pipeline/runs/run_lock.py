"""A run's folder belongs to one process at a time."""

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
    """Hold a run's folder, by a lock that goes with the process however it ends; not on object stores, which have none.

    Args:
        folder: the folder of the run; made here unless it is resumed.
        name: the name of the run.
        resume: whether it was there before.

    Raises:
        ConfigError: another process has the name, or trains under it now.
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
                remove(folder)  # it has come to nothing, and the name is free again
