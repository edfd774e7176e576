"""Attempts are counted for each clip and run, by a ledger that forgets a clip when it is stored."""

import pytest

from pipeline.ingest.attempts import counted
from pipeline.ingest.ledger import Ledger

ROW = {"clip_id": "a/../b", "source": "/x.mp4", "status": None}


class Killed(BaseException):
    """The end of a worker, as far as the code behind it can tell: nothing after it runs."""


class Told:
    """A task's view of a ledger in the same process."""

    def __init__(self) -> None:
        self.ledger = Ledger()

    def begin(self, clip: str) -> int:
        return self.ledger.turn([], clip)[0]

    def end(self, clip: str, status: dict) -> None:
        self.ledger.turn([(clip, None)])


def killed(row):
    raise Killed


def store(row):
    return row


def test_a_clip_that_was_begun_twice_and_never_stored_is_failed():
    told = Told()
    for _ in range(2):
        with pytest.raises(Killed):
            counted(dict(ROW), killed, store, told)
    failed = counted(dict(ROW), killed, store, told)
    assert (failed["status"], failed["error_class"]) == ("failed", "WorkerKilled")


def test_a_clip_that_is_stored_may_be_done_again():
    told = Told()
    with pytest.raises(Killed):
        counted(dict(ROW), killed, store, told)
    for _ in range(3):
        assert counted(dict(ROW), store, store, told) == ROW


def test_other_clips_other_sources_and_other_runs_are_not_blamed():
    told = Told()
    for _ in range(2):
        with pytest.raises(Killed):
            counted(dict(ROW), killed, store, told)
    for row in ({**ROW, "clip_id": "c"}, {**ROW, "source": "a.tar#x.mp4"}):
        assert counted(row, store, store, told) == row
    assert counted(dict(ROW), store, store, Told()) == ROW
    assert counted(dict(ROW), store, store, told)["error_class"] == "WorkerKilled"


def test_a_row_that_failed_before_is_only_stored():
    row = {"clip_id": None, "source": None, "status": "failed"}
    assert counted(row, killed, store, Told()) == row
