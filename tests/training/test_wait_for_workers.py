"""Waits for room, against a clock that is turned by hand; `test_faults` has them in a cluster that loses its nodes."""

import time

import pytest
from ray.train.v2._internal.execution.controller.state import (
    InitializingState,
    ReschedulingState,
    RestartingState,
    RunningState,
    SchedulingState,
)

from pipeline.config import ResourcesConfig
from pipeline.training.wait_for_workers import NoRoomError, WaitForRoom

SCHEDULING, RUNNING = SchedulingState(None), RunningState()


class Clock:
    """Of `time`; a pause passes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, wait: WaitForRoom) -> None:
        self.now, self.wait = 1e6, wait
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        monkeypatch.setattr(time, "sleep", lambda seconds: setattr(self, "now", self.now + seconds))
        wait.after_controller_start(None)

    def pass_by(self, seconds: float, before: object, after: object) -> None:
        """An update after so many seconds."""
        self.now += seconds
        self.wait.after_controller_state_update(before, after)

    def ask(self, times: int, state: object) -> None:
        """So many updates by which Ray Train stays where it is."""
        for _ in range(times):
            self.pass_by(0.0, state, state)


@pytest.mark.parametrize("state", [InitializingState(), RestartingState(None)], ids=["start", "restart"])
def test_an_elastic_run_without_room_says_so_every_minute_and_ends(state, monkeypatch, capsys):
    clock = Clock(monkeypatch, WaitForRoom("rgb", ResourcesConfig(workers=4, min_workers=2, wait_minutes=3)))
    clock.ask(180, state)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "rgb: waiting for room for 2 workers, 0.0 of 3 minutes so far (resources.wait_minutes)"
    assert [line.split()[7] for line in lines] == ["0.0", "1.0", "2.0"]
    with pytest.raises(NoRoomError, match=r"^no room for 2 workers in 3 minutes \(resources\.wait_minutes\)$"):
        clock.ask(1, state)


def test_a_fixed_number_waits_as_long(monkeypatch, capsys):
    clock = Clock(monkeypatch, WaitForRoom("rgb", ResourcesConfig(workers=1, wait_minutes=3)))
    late = ReschedulingState(None)
    for _ in range(2):
        clock.pass_by(0.0, late, SCHEDULING)
        clock.pass_by(60.0, SCHEDULING, late)
    assert len(capsys.readouterr().err.splitlines()) == 2
    with pytest.raises(NoRoomError, match="no room for 1 worker in 3 minutes"):
        clock.pass_by(60.0, SCHEDULING, late)


def test_waits_add_up_and_training_is_none(monkeypatch, capsys):
    clock = Clock(monkeypatch, WaitForRoom("rgb", ResourcesConfig(workers=2, min_workers=1, wait_minutes=1)))
    for _ in range(2):
        lost = RestartingState(None)
        clock.pass_by(9.0, RUNNING, lost)
        clock.ask(20, lost)
        clock.pass_by(0.0, lost, SCHEDULING)
        clock.pass_by(50.0, SCHEDULING, RUNNING)  # the time that workers take to start
        clock.pass_by(1000.0, RUNNING, RunningState())
    assert len(capsys.readouterr().err.splitlines()) == 2  # one a wait
    clock.pass_by(9.0, RUNNING, lost)
    with pytest.raises(NoRoomError):
        clock.ask(30, lost)
