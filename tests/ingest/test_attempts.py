"""Attempts are counted for each clip and run; a mark is there only while a worker is at the clip."""

import pytest

from pipeline.ingest.attempts import make_counted

ROW = {"clip_id": "a/../b", "source": "/x.mp4", "status": None}


class Killed(BaseException):
    """The end of a worker, as far as the code behind it can tell: nothing after it runs."""


def killed(row):
    raise Killed


def store(row):
    return row


def test_a_clip_that_was_begun_twice_and_never_stored_is_failed(tmp_path):
    deadly = make_counted(killed, store, str(tmp_path), "run")
    for marks in (1, 2):
        with pytest.raises(Killed):
            deadly(dict(ROW))
        assert len(list(tmp_path.iterdir())) == marks
    failed = deadly(dict(ROW))
    assert (failed["status"], failed["error_class"]) == ("failed", "WorkerKilled")
    assert list(tmp_path.iterdir()) == []


def test_a_clip_that_is_stored_leaves_no_mark_and_may_be_done_again(tmp_path):
    with pytest.raises(Killed):
        make_counted(killed, store, str(tmp_path), "run")(dict(ROW))
    for _ in range(3):
        assert make_counted(store, store, str(tmp_path), "run")(dict(ROW)) == ROW
        assert list(tmp_path.iterdir()) == []


def test_other_clips_other_sources_and_other_runs_are_not_blamed(tmp_path):
    for _ in range(2):
        with pytest.raises(Killed):
            make_counted(killed, store, str(tmp_path), "run")(dict(ROW))
    work = make_counted(store, store, str(tmp_path), "run")
    for row in ({**ROW, "clip_id": "c"}, {**ROW, "source": "a.tar#x.mp4"}):
        assert work(row) == row
    assert make_counted(store, store, str(tmp_path), "next")(dict(ROW)) == ROW
    assert work(dict(ROW))["error_class"] == "WorkerKilled"


def test_a_row_that_failed_before_is_only_stored(tmp_path):
    row = {"clip_id": None, "source": None, "status": "failed"}
    assert make_counted(killed, store, str(tmp_path), "run")(row) == row
