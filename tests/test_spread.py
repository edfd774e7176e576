"""Calls in Ray tasks: every item has one result, also where its workers die, and few items wait in memory."""

import os

import pytest

from pipeline.cluster import ClusterError
from pipeline.spread import spread

pytestmark = pytest.mark.ray


def nobody(item: object, how: str) -> object:
    raise AssertionError(item, how)


def test_every_item_has_one_result_from_another_process_and_is_taken_when_there_is_room(cluster):
    taken: list[int] = []

    def items():
        for number in range(40):
            taken.append(number)
            yield number

    results = []
    for number, process in spread(lambda number: (number, os.getpid()), items(), nobody):
        results.append(number)
        assert process != os.getpid()
        assert len(taken) <= len(results) + 2 * 4 + 8  # the shared cluster has four CPUs
    assert sorted(results) == list(range(40))
    assert list(spread(lambda item: item, [], nobody)) == []


def test_an_item_that_kills_its_workers_is_lost_and_no_other(cluster):
    found = spread(lambda number: os._exit(1) if number == 2 else number, range(4), lambda item, how: f"{item} {how}")
    assert set(found) == {0, 1, "2 WorkerCrashedError", 3}


def test_an_error_in_a_task_ends_the_job_with_one_line(cluster):
    with pytest.raises(ClusterError, match=r"^a task failed: ZeroDivisionError: division by zero$"):
        list(spread(lambda number: 1 / number, [0], nobody))
