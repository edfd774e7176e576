"""After which steps the ranks ask for a notice of preemption, and what is due then."""

import pytest

from pipeline.training import reporting
from pipeline.training.reporting import ASK_S, Occasions


class Ranks:
    """Two ranks in lockstep: the clock of each runs at its own rate, what rank 0 says is broadcast."""

    def __init__(self, monkeypatch, every=None):
        self.notice, self.asked, self.said, self.seconds, self.rank = None, 0, None, 0.0, 0
        monkeypatch.setattr(reporting.ray.train, "get_preemption_info", self._asked)
        monkeypatch.setattr(reporting.ray.train.collective, "broadcast_from_rank_zero", self._broadcast)
        monkeypatch.setattr(reporting.time, "monotonic", lambda: self.seconds)
        self.ranks = [Occasions(every), Occasions(every)]

    def _asked(self):
        self.asked += 1
        return self.notice

    def _broadcast(self, value):
        if self.rank == 0:
            self.said = value
        return self.said

    def step(self, steps, seconds):
        """After a step of so many seconds; rank 1 sees half of them."""
        due, start = [], self.seconds
        for rank, occasions in enumerate(self.ranks):
            self.rank, self.seconds = rank, start + seconds / (1 + rank)
            due.append(occasions.due(steps))
        self.seconds = start + seconds
        assert due[0] == due[1]
        assert self.asked % 2 == 0  # both ask, or none
        return due[0]


def test_ranks_ask_every_two_seconds_whatever_a_step_takes(monkeypatch):
    ranks = Ranks(monkeypatch)
    for step in range(1, 1001):
        assert not ranks.step(step, 0.01)
    assert ranks.asked / 2 == pytest.approx(10 / ASK_S + 7, abs=3)  # more at first: the pause doubles at most
    before = ranks.asked
    for step in range(1, 401):
        ranks.step(step, 1.0)
    assert (ranks.asked - before) / 2 == pytest.approx(400 / ASK_S, rel=0.6)


def test_a_notice_is_due_once_and_a_new_one_again(monkeypatch):
    ranks = Ranks(monkeypatch)
    assert not ranks.step(1, 3.0)
    ranks.notice = "node 1"
    assert [ranks.step(step, 3.0) for step in range(2, 6)] == [True, False, False, False]
    ranks.notice = "node 1 and 2"
    assert [ranks.step(step, 3.0) for step in range(6, 9)] == [True, False, False]


def test_checkpoints_are_due_every_so_many_steps_of_an_epoch(monkeypatch):
    ranks = Ranks(monkeypatch, every=3)
    assert [ranks.step(step, 0.01) for step in (1, 2, 3, 4, 5, 6, 1, 2, 3)] == [False, False, True] * 3
