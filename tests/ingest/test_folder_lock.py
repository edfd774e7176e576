"""One ingest at a time works in a folder, and the second says who the first is."""

import contextlib
import json
import multiprocessing
import os
import re
import socket
import threading
import time
from pathlib import Path

import pytest

from pipeline.ingest import folder_lock
from pipeline.ingest.folder_lock import LOCK, only_ingest
from pipeline.ingest.run_errors import IngestError
from pipeline.storage import exists, read_json, write_json
from tests.ingest.fetch.conftest import s3  # noqa: F401 - a fixture

QUICK = {"BEAT_S": 0.05, "PATIENCE_S": 1.0, "SETTLE_S": 0.2}


def hold(folder: str, in_store: bool, ready) -> None:
    """Hold the lock of a folder until the process is killed."""
    for name, seconds in QUICK.items():
        setattr(folder_lock, name, seconds)
    with folder_lock._in_store(folder) if in_store else only_ingest(folder):
        ready.set()
        multiprocessing.Event().wait()


@contextlib.contextmanager
def holder(folder: str, in_store: bool = False):
    """Another process that holds the lock of a folder; it is killed in the end."""
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    other = context.Process(target=hold, args=(folder, in_store, ready))
    other.start()
    try:
        assert ready.wait(60)
        yield other
    finally:
        other.kill()
        other.join()


def refused(pid: int) -> str:
    host = re.escape(socket.gethostname())
    return rf"another run works there: process {pid} on {host}, since 20\d\d-\d\d-\d\d \d\d:\d\d:\d\d\+00:00; wait"


def test_the_second_ingest_names_the_first_and_goes_on_when_it_is_dead(tmp_path):
    with holder(str(tmp_path)) as first:
        with pytest.raises(IngestError, match=refused(first.pid)), only_ingest(str(tmp_path)):
            pass
        assert (tmp_path / LOCK).exists()  # the refused one has removed nothing
    with only_ingest(str(tmp_path)):
        assert json.loads((tmp_path / LOCK).read_text())["pid"] == os.getpid()
    assert list(tmp_path.iterdir()) == []


def test_many_ingests_at_once_work_one_after_another(tmp_path):
    """None holds a file that an earlier holder has removed."""
    inside, most = [], []

    def ingest() -> None:
        ended = 0
        while ended < 20:
            with contextlib.suppress(IngestError), only_ingest(str(tmp_path)):
                inside.append(1)
                most.append(len(inside))
                inside.pop()
                ended += 1

    threads = [threading.Thread(target=ingest) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(params=["disk without locks", "object store"])
def folder(request, tmp_path, monkeypatch) -> str:
    """A folder in which the system has no locks."""
    for name, seconds in QUICK.items():
        monkeypatch.setattr(folder_lock, name, seconds)
    if request.param == "disk without locks":
        return str(tmp_path)
    _, address = request.getfixturevalue("s3")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{re.search(r'endpoint_override=([^&]+)', address(''))[1]}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "name")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    return f"s3://clips/{tmp_path.name}"


def test_without_locks_of_the_system_the_first_is_named_too_and_the_dead_one_is_followed(folder):
    with holder(folder, in_store=True) as first:
        with pytest.raises(IngestError, match=refused(first.pid)), folder_lock._in_store(folder):
            pass
        there = read_json(f"{folder}/{LOCK}")
        assert there["pid"] == first.pid
    with folder_lock._in_store(folder):  # at once, since the process was one of this host
        assert read_json(f"{folder}/{LOCK}")["pid"] == os.getpid()
    assert not exists(f"{folder}/{LOCK}")


def test_a_holder_on_another_host_lives_as_long_as_it_writes(folder):
    words = folder_lock._words() | {"host": "elsewhere", "pid": 4711}
    write_json(f"{folder}/{LOCK}", words)
    ended = threading.Event()
    beats = threading.Thread(target=folder_lock._beat, args=(f"{folder}/{LOCK}", words, ended))
    beats.start()
    with pytest.raises(IngestError, match="process 4711 on elsewhere, since"), folder_lock._in_store(folder):
        pass
    ended.set()
    beats.join()
    start = time.monotonic()
    with folder_lock._in_store(folder):
        assert time.monotonic() - start >= QUICK["PATIENCE_S"]
        assert read_json(f"{folder}/{LOCK}")["pid"] == os.getpid()


def test_of_two_that_begin_at_once_one_goes_on(folder):
    outcomes: list[str] = []
    barrier = threading.Barrier(2)

    def begin() -> None:
        barrier.wait()
        try:
            with folder_lock._in_store(folder):
                outcomes.append("works")
                time.sleep(0.5)
        except IngestError:
            outcomes.append("refused")

    threads = [threading.Thread(target=begin) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["refused", "works"]


@pytest.mark.parametrize("text", ["", "no json", "[]", '{"pid": "1; rm -rf", "start": 0}', '{"pid": 1}'])
def test_a_lock_that_says_nothing_is_not_in_the_way(tmp_path, monkeypatch, text):
    monkeypatch.setattr(folder_lock, "SETTLE_S", 0.0)
    Path(tmp_path, LOCK).write_text(text)
    with only_ingest(str(tmp_path)):
        pass
    Path(tmp_path, LOCK).write_text(text)
    with folder_lock._in_store(str(tmp_path)):
        pass
    assert list(tmp_path.iterdir()) == []
