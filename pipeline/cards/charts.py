"""The numbers of the page's charts, rankings as bars and distributions as histograms; the template draws them."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BINS = 24
RANKED = 6


@dataclass(frozen=True)
class Bar:
    """One line of a ranking."""

    label: str | None
    value: float
    width: float
    """Length in percent of the longest bar."""


@dataclass(frozen=True)
class Ranking:
    """A list of how often each value occurs, the most frequent first; all values after the first few share one bar."""

    title: str
    bars: tuple[Bar, ...]


@dataclass(frozen=True)
class Histogram:
    """A distribution in bins of equal width."""

    title: str
    unit: str
    counts: tuple[int, ...]
    low: float
    high: float
    """End of the last bin, which also counts all larger values."""
    smallest: float
    median: float
    largest: float

    @property
    def edges(self) -> list[tuple[float, float]]:
        """Start and end of each bin."""
        ends = np.linspace(self.low, self.high, len(self.counts) + 1).tolist()
        return list(itertools.pairwise(ends))


def ranking(title: str, names: Sequence[str], amounts: Sequence[int], most: int = RANKED) -> Ranking:
    """Make a ranking of at most `most` lines from names and how often each occurs."""
    ordered = sorted(zip(names, amounts, strict=True), key=lambda pair: (-pair[1], pair[0]))
    if len(ordered) > most:
        ordered[most - 1 :] = [(f"{len(ordered) - most + 1} others", sum(n for _, n in ordered[most - 1 :]))]
    return Ranking(title, bars(ordered))


def bars(pairs: Sequence[tuple[str | None, float]]) -> tuple[Bar, ...]:
    """Make bars in the given order; the longest one has the full width."""
    longest = max((value for _, value in pairs), default=0) or 1
    return tuple(Bar(label, value, round(100 * max(value, 0) / longest, 2)) for label, value in pairs)


def histogram(title: str, unit: str, values: NDArray[np.float64]) -> Histogram | None:
    """Make a histogram of the finite values; None if there are none.

    If the largest value is more than twice as far from the smallest as the 99th percentile is, the axis ends at the
    99th percentile, so that one clip of an hour does not put all others into one bin.
    """
    values = values[np.isfinite(values)]
    if not len(values):
        return None
    low, high = float(values.min()), float(values.max())
    bulk = float(np.percentile(values, 99))
    if low < bulk and high - low > 2 * (bulk - low):
        high = bulk
    bins = BINS if high > low else 1
    counts, _ = np.histogram(values.clip(low, high), bins=bins, range=(low, high) if high > low else None)
    whole = (float(values.min()), float(np.median(values)), float(values.max()))
    return Histogram(title, unit, tuple(counts.tolist()), low, high, *whole)
