"""A run's name and folder are one process's."""

import multiprocessing
import threading

import pytest

from pipeline.config import ConfigError
from pipeline.runs import run_lock
from pipeline.runs.run_lock import claimed, wait_until_free


def hold(folder, ready) -> None:
    with claimed(folder, "mine", resume=True):
        ready.set()
        multiprocessing.Event().wait()


def test_a_run_that_is_running_is_not_resumed_and_one_that_was_killed_is(tmp_path):
    folder = tmp_path / "runs" / "mine"
    with claimed(str(folder), "mine", resume=False):
        (folder / "run.json").write_text("{}")
    with pytest.raises(ConfigError, match="--name mine: taken"), claimed(str(folder), "mine", resume=False):
        pass
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    other = context.Process(target=hold, args=(str(folder), ready))
    other.start()
    assert ready.wait(60)
    running = rf"--resume mine: it is running now \(process {other.pid} on "
    with pytest.raises(ConfigError, match=running), claimed(str(folder), "mine", resume=True):
        pass
    other.kill()
    other.join()
    with claimed(str(folder), "mine", resume=True):
        pass


def test_a_name_that_came_to_nothing_is_free_again(tmp_path):
    folder = tmp_path / "mine"
    with pytest.raises(RuntimeError), claimed(str(folder), "mine", resume=False):
        raise RuntimeError
    assert not folder.exists()


def test_who_waits_for_another_process_says_for_which(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(run_lock, "SILENT_S", 0.0)
    monkeypatch.setattr(run_lock, "PAUSE_S", 0.05)
    folder = tmp_path / "mine"
    wait_until_free(str(folder))  # it is not there
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    other = context.Process(target=hold, args=(str(folder), ready))
    other.start()
    assert ready.wait(60)
    waiting = threading.Thread(target=wait_until_free, args=(str(folder),))
    waiting.start()
    waiting.join(0.5)
    assert waiting.is_alive()
    other.kill()
    other.join()
    waiting.join(60)
    assert not waiting.is_alive()
    assert capsys.readouterr().out.count(f"{folder}: waiting for process {other.pid} on ") == 1
