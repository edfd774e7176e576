"""Errors that stop a whole ingest (full disk, unreachable store, cluster out of memory), as one-line messages."""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import ray.exceptions

from pipeline.ingest.clip_errors import ClipError, verdict_of
from pipeline.ingest.nodes import place


class IngestError(RuntimeError):
    """An error that stops the ingest; its message is one line for the user."""


def stopped(act: Callable[[], Any]) -> str | None:
    """Call a function that writes, in a worker, and return the message of the OSError that stopped it, or None.

    It is a return value because Ray Data keeps only the text of an exception in a worker, not its type.
    """
    try:
        act()
    except OSError as error:
        return _words(error)
    return None


def check(row: Mapping[str, Any]) -> None:
    """Raise, in the driver, the error that `stopped` returned in a worker.

    Args:
        row: what the worker has told: the error as `stopped`, and the id of its `node`.

    Raises:
        OSError: `stopped` is not None.
    """
    if row["stopped"] is not None:
        raise OSError(row["stopped"] + place(row.get("node")))


class LostClipsError(IngestError):
    """More clips failed than `ingest.max_failed` allows; what was made of the others is complete.

    Attributes:
        manifest: the manifest of the run.
    """

    def __init__(self, message: str, manifest: dict[str, Any]) -> None:
        super().__init__(message)
        self.manifest = manifest


def check_lost(
    folder: str,
    manifest: dict[str, Any],
    allowed: float,
    *,
    expected: int,
    failed: Mapping[str, int],
    what: str,
    complete: str,
    table: str,
) -> None:
    """Check that no more clips failed than a run allows.

    Args:
        folder: folder or URI of the run.
        manifest: the manifest of the run, for the error.
        allowed: largest share of the clips that may fail.
        expected: number of clips.
        failed: number of failures by error class.
        what: word for the clips.
        complete: words that say what is complete, with {} for the number of the other clips.
        table: name of the file that has the reason of each failure.

    Raises:
        LostClipsError: more clips failed.
    """
    lost = sum(failed.values())
    if lost <= allowed * expected:
        return
    reasons = ", ".join(f"{name} {count}" for name, count in sorted(failed.items(), key=lambda item: -item[1]))
    tries = "--retry retryable" if any(verdict_of(name) == "retryable" for name in failed) else "--retry CLASS"
    enough = math.ceil(100 * lost / expected) / 100
    raise LostClipsError(
        f"{folder}: {lost} of {expected} {what} failed, more than ingest.max_failed = {allowed:g} allows: {reasons}; "
        f"{complete.format(expected - lost)}; --ingest.max_failed {enough:g} accepts it, {tries} tries again once the "
        f"cause is mended; {table} there has every reason",
        manifest,
    )


@contextmanager
def explained(shards: str) -> Iterator[None]:
    """Turn errors that stop a run into an `IngestError` that gives the reason and says that finished work is kept.

    Raises:
        IngestError: the operating system, an object store or the cluster failed, or archives cannot be listed.
            Exceptions that come from bugs pass unchanged.
    """
    try:
        yield
    except ClipError as error:  # it belongs to no single clip: archives cannot be listed
        raise IngestError(str(error)) from error
    except (ray.exceptions.ObjectStoreFullError, ray.exceptions.OutOfDiskError) as error:
        raise _ended(
            shards, "Ray's object store and its disk for spilling are full; give Ray more, or free some"
        ) from error
    except ray.exceptions.OutOfMemoryError as error:
        reason = "a node ran out of memory; raise resources.ingest_cpus, so that fewer clips are done at a time"
        raise _ended(shards, reason) from error
    except ray.exceptions.RayTaskError:  # raised by the pipeline's own code, so a bug
        raise
    except (OSError, ray.exceptions.RayError) as error:
        raise _ended(shards, _words(error)) from error


def _ended(shards: str, reason: str) -> IngestError:
    return IngestError(f"{shards}: {reason}; what is finished stays, and the same command goes on from there")


def _words(error: BaseException) -> str:
    said = getattr(error, "strerror", None) or str(error).splitlines()[0]
    file = getattr(error, "filename", None)
    return f"{said}: {file}" if file else said
