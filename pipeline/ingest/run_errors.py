"""What can stop a whole ingest: a full disk, a store that is away, a cluster out of memory; said in one line."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import ray.exceptions

from pipeline.ingest.clip_errors import ClipError


class IngestError(RuntimeError):
    """An ingest that cannot go on; one line, for the user."""


def stopped(act: Callable[[], Any]) -> str | None:
    """Do something that writes, in a worker; what stopped it, or None.

    Ray Data keeps of an error in a worker only its text: so what ends a run comes home as a value.
    """
    try:
        act()
    except OSError as error:
        return _words(error)
    return None


def check(stop: str | None) -> None:
    """Raise, in the driver, what `stopped` brought home.

    Raises:
        OSError: where there is something.
    """
    if stop is not None:
        raise OSError(stop)


@contextmanager
def explained(shards: str) -> Iterator[None]:
    """Say what stopped the run, and that nothing is lost by it.

    Raises:
        IngestError: for errors of the operating system, of an object store, and of a cluster that gives out; for
            archives that cannot be listed. Bugs pass as they are.
    """
    try:
        yield
    except ClipError as error:  # of no clip of its own: a list of archives
        raise IngestError(str(error)) from error
    except (ray.exceptions.ObjectStoreFullError, ray.exceptions.OutOfDiskError) as error:
        raise _ended(
            shards, "Ray's object store and its disk for spilling are full; give Ray more, or free some"
        ) from error
    except ray.exceptions.OutOfMemoryError as error:
        reason = "a node ran out of memory; raise resources.ingest_cpus, so that fewer clips are done at a time"
        raise _ended(shards, reason) from error
    except ray.exceptions.RayTaskError:  # of our own code: a bug
        raise
    except (OSError, ray.exceptions.RayError) as error:
        raise _ended(shards, _words(error)) from error


def _ended(shards: str, reason: str) -> IngestError:
    return IngestError(f"{shards}: {reason}; what is finished stays, and the same command goes on from there")


def _words(error: BaseException) -> str:
    said = getattr(error, "strerror", None) or str(error).splitlines()[0]
    file = getattr(error, "filename", None)
    return f"{said}: {file}" if file else said
