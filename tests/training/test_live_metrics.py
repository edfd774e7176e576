"""What a training tells Prometheus: clips, seconds and waits as counters, and when its last checkpoint was."""

from collections import Counter

import pytest

from pipeline.training import live_metrics
from pipeline.training.live_metrics import LiveMetrics


class Noted:
    """A counter that keeps its sum, and refuses what Ray's refuses."""

    def __init__(self, sums, name):
        self.sums, self.name = sums, name

    def inc(self, value, tags):
        assert value > 0
        assert tags == {"run": "a", "stream": "flow"}
        self.sums[self.name] += value


@pytest.fixture
def sums(monkeypatch):
    sums, now = Counter(), iter([10.0, 12.0, 15.0, 100.0, 101.0])
    monkeypatch.setattr(live_metrics, "_counters", lambda: {n: Noted(sums, n) for n in ("clips", "seconds", "waited")})
    monkeypatch.setattr(live_metrics.time, "monotonic", lambda: next(now))
    return sums


def test_steps_are_summed_and_the_end_of_an_epoch_counts_for_none(sums):
    live = LiveMetrics("a", "flow")
    live.begin()
    live.step(16, 0.5)
    live.step(16, 0.5)  # it has waited for nothing, which Ray would refuse to count
    live.begin()
    live.step(8, 0.25)
    assert sums == {"clips": 40, "seconds": 6.0, "waited": 0.75}


def test_ray_takes_the_metrics_without_a_cluster():
    live = LiveMetrics("a", "flow")
    live.begin()
    live.step(1, 0.1)
    live.checkpoint()
