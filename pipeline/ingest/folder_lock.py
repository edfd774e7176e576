"""A lock that keeps the folder of a shard set for one ingest at a time, and names its holder.

On a disk, also on a network disk, the lock is the system's own (`flock`) on the file `_ingest.lock`, so it is free when
its process has ended, in whatever way. In an object store, and on a disk without locks, it is a file of that name which
its holder writes again every `BEAT_S` seconds. If the holder is a process of this host, its start time in /proc says
whether it still runs. Otherwise a second ingest waits until the file has changed, which means that the holder lives, or
has not changed for `PATIENCE_S`, which means that it is dead; no clocks are compared. If two ingests begin in the same
second, both write the file; after `SETTLE_S` the one whose words are there goes on.
"""

import contextlib
import fcntl
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from pipeline.ingest.fetch.scratch import process_start
from pipeline.ingest.run_errors import IngestError
from pipeline.storage import local_path, read_json, remove_many, write_json

LOCK = "_ingest.lock"
BEAT_S, PATIENCE_S, SETTLE_S = 20.0, 90.0, 1.0


@contextlib.contextmanager
def only_ingest(shards: str) -> Iterator[None]:
    """Hold the lock of a shard set's folder, which must exist.

    Raises:
        IngestError: another ingest holds it; the message gives its host, its process id and since when it has run.
    """
    folder = local_path(shards)
    file = _locked(shards, folder / LOCK) if folder else None
    if folder is None or file is None:
        with _in_store(shards):
            yield
        return
    with file:
        try:
            yield
        finally:
            (folder / LOCK).unlink(missing_ok=True)


def _locked(shards: str, lock: Path) -> TextIO | None:
    """Return the locked file with this process's words in it, or None if the disk has no locks, as some of clusters."""
    while True:
        file = lock.open("a+", encoding="utf-8")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise _held(shards, file.read()) from None
        except OSError:
            file.close()
            return None
        if _is(lock, file.fileno()):
            file.truncate(0)
            file.write(json.dumps(_words()))
            file.flush()
            return file
        file.close()  # the holder before has removed it meanwhile


def _is(lock: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(lock.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def _in_store(shards: str) -> Iterator[None]:
    lock, words = f"{shards}/{LOCK}", _words()
    there = _read(lock)
    if there is not None and _lives(lock, there):
        raise _held(shards, json.dumps(there))
    write_json(lock, words)
    time.sleep(SETTLE_S)
    if (there := _read(lock)) != words:
        raise _held(shards, json.dumps(there))
    ended = threading.Event()
    beats = threading.Thread(target=_beat, args=(lock, words, ended), daemon=True)
    beats.start()
    try:
        yield
    finally:
        ended.set()
        beats.join()
        if (_read(lock) or {}).get("token") == words["token"]:
            remove_many([lock])


def _beat(lock: str, words: dict[str, Any], ended: threading.Event) -> None:
    while not ended.wait(BEAT_S):
        words["beat"] += 1
        with contextlib.suppress(OSError):  # the store is away for a moment
            write_json(lock, words)


def _lives(lock: str, words: dict[str, Any]) -> bool:
    """Return whether the process that has written these words still holds the lock."""
    if words.get("host") == socket.gethostname():
        return process_start(words["pid"]) == words["start"]
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        time.sleep(min(1.0, PATIENCE_S / 10))
        if (now := _read(lock)) != words:
            return now is not None
    return False


def _words() -> dict[str, Any]:
    """Return what the lock says about this process."""
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "start": process_start(os.getpid()),
        "since": datetime.now(UTC).isoformat(sep=" ", timespec="seconds"),
        "token": uuid.uuid4().hex,
        "beat": 0,
    }


def _read(lock: str) -> dict[str, Any] | None:
    """Return the words of the lock in an object store, or None if there are none that can be read."""
    try:
        words = read_json(lock)
    except (ValueError, FileNotFoundError):
        return None
    return words if isinstance(words, dict) and isinstance(words.get("pid"), int) and "start" in words else None


def _held(shards: str, text: str) -> IngestError:
    try:
        words = json.loads(text)
        holder = f"process {words['pid']} on {words['host']}, since {words['since']}"
    except (ValueError, TypeError, KeyError):  # it has just begun
        holder = "another process"
    return IngestError(f"{shards}: another run works there: {holder}; wait for its end, or give another folder")
