"""Rankings and histograms as numbers."""

import numpy as np
import pytest

from pipeline.cards.charts import BINS, Bar, bars, histogram, ranking


def test_bars_are_measured_by_the_longest():
    assert bars([("a", 4), (None, 1), ("b", 0)]) == (Bar("a", 4, 100.0), Bar(None, 1, 25.0), Bar("b", 0, 0.0))
    assert bars([("a", 0)]) == (Bar("a", 0, 0.0),)
    assert bars([]) == ()


def test_a_ranking_puts_the_frequent_first_and_the_rare_together():
    found = ranking("Codec", ["b", "a", "d", "c"], [2, 2, 1, 9], most=3)
    assert [(bar.label, bar.value) for bar in found.bars] == [("c", 9), ("a", 2), ("2 others", 3)]
    assert len(ranking("Codec", ["a", "b", "c"], [1, 1, 1], most=3).bars) == 3


def test_a_histogram_counts_every_finite_value_once():
    values = np.array([0.0, 1.0, 1.0, 24.0, np.nan, np.inf])
    found = histogram("x", "s", values)
    assert (found.low, found.high, found.smallest, found.median, found.largest) == (0, 24, 0, 1, 24)
    assert len(found.counts) == BINS
    assert (found.counts[0], found.counts[1], found.counts[-1], sum(found.counts)) == (1, 2, 1, 4)
    assert found.edges[0] == (0, 1)
    assert found.edges[-1] == (23, 24)


def test_one_far_value_does_not_press_the_others_into_one_bin():
    values = np.append(np.linspace(0, 10, 1000), 3600.0)
    found = histogram("Duration", "s", values)
    assert found.high == pytest.approx(9.9, abs=0.1)
    assert found.largest == 3600
    assert sum(found.counts) == 1001  # the far one counts in the last bin
    assert min(found.counts) > 30


def test_equal_values_are_one_bin_and_no_value_no_histogram():
    found = histogram("x", "s", np.full(7, 10.0))
    assert (found.counts, found.low, found.high) == ((7,), 10, 10)
    assert histogram("x", "s", np.array([np.nan])) is None
    assert histogram("x", "s", np.array([])) is None
