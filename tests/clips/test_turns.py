"""Threads that take turns: one works at a time, and those that wait for something do not hold it up."""

import threading

import pytest

from pipeline.clips.turns import in_turns, waiting


def test_results_come_in_the_order_of_the_items():
    assert in_turns(lambda item: item * 2, range(20), 4) == list(range(0, 40, 2))


def test_one_works_at_a_time_while_others_wait():
    together, working = threading.Barrier(4, timeout=20), []

    def work(item: int) -> int:
        with waiting():
            together.wait()  # all four wait at the same time, or this fails
        working.append(item)
        assert len(working) == 1
        return working.pop()

    assert in_turns(work, range(8), 4) == list(range(8))


def test_the_first_error_is_raised_and_the_turn_is_given_back():
    def work(item: int) -> None:
        with waiting():
            if item in (3, 5):
                raise ValueError(str(item))

    with pytest.raises(ValueError, match=r"^3$"):
        in_turns(work, range(8), 2)
    assert in_turns(lambda item: item, [1], 2) == [1]


def test_elsewhere_waiting_does_nothing():
    with waiting():
        pass
