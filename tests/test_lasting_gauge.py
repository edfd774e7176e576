"""A gauge of which Ray's nodes hear as long as its work goes on."""

import threading

import pytest

from pipeline import lasting_gauge
from pipeline.lasting_gauge import LastingGauge


@pytest.fixture
def heard(monkeypatch):
    """The values that a gauge named `left` was set to, and an event for the third of them."""
    values, third = [], threading.Event()

    def note(value, tags):
        assert tags == {"run": "a"}
        values.append(value)
        if len(values) == 3:
            third.set()

    monkeypatch.setattr(lasting_gauge, "EVERY_S", 0.01)
    gauge = LastingGauge("left", "Clips to do.", {"run": "a"})
    monkeypatch.setattr(gauge._gauge, "set", note)
    return gauge, values, third


def test_a_value_is_said_again_until_the_work_is_over(heard):
    gauge, values, third = heard
    with gauge.heard():
        gauge.set(7.0)
        assert third.wait(60)
    assert set(values) == {7.0}
    count = len(values)
    assert [thread for thread in threading.enumerate() if thread.name == "lasting-gauge"] == []
    assert len(values) == count


def test_nothing_is_said_before_there_is_a_value_and_a_failure_ends_it_too(heard):
    gauge, values, _ = heard
    with pytest.raises(ZeroDivisionError), gauge.heard():
        raise ZeroDivisionError
    assert values == []
    assert [thread for thread in threading.enumerate() if thread.name == "lasting-gauge"] == []
