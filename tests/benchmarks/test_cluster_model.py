"""The model of a cluster: its answers where they are known by hand."""

import pytest

from pipeline.benchmarks.cluster_model import Costs, rows, simulate


@pytest.mark.parametrize(("clips", "cores"), [(1, 1), (1000, 3), (260_000, 16_000), (7, 100)])
def test_rows_have_every_clip_once_and_become_smaller(clips, cores):
    sizes = list(rows(clips, cores))
    assert sum(sizes) == clips
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] <= max(1, clips / cores)


def test_one_core_takes_the_sum_of_all_costs():
    hours, efficiency = simulate(100, 2, 1, 1, Costs([2.0], row=0.0, start=10.0, join=5.0, nodes=0.0))
    assert hours * 3600 == pytest.approx(10 + 200 + 2 * 5)
    assert efficiency == pytest.approx(200 / 220)


def test_a_slow_driver_bounds_the_rate_however_many_nodes_there_are():
    costs = Costs([1.0], row=0.5, start=0.0, nodes=0.0)
    count = len(list(rows(10_000, 1600)))
    hours, _ = simulate(10_000, 1, 100, 16, costs)
    assert hours * 3600 >= 0.5 * count
    fast, _ = simulate(10_000, 1, 100, 16, Costs([1.0], row=0.0, start=0.0, nodes=0.0))
    assert 10_000 / 1600 <= fast * 3600 <= 10_000 / 1600 + 6


def test_slow_nodes_make_a_tail_that_small_rows_keep_short():
    even, _ = simulate(26_000, 400, 10, 16, Costs([10.0], row=0.0, nodes=0.0))
    uneven, efficiency = simulate(26_000, 400, 10, 16, Costs([10.0], row=0.0, nodes=0.2))
    assert uneven > even * 0.9
    assert efficiency > 0.9
