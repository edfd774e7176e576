"""Numbers as text."""

import pytest

from pipeline.cards import numbers


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (5, "5"), (1234.4, "1,234"), (99.96, "100"), (12.34, "12.3"), (0.01234, "0.0123"), (1e-6, "1.0e-06")],
)
def test_a_number_keeps_three_digits(value, text):
    assert numbers.number(value) == text


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [
        (0, 0, "0 %"),
        (0, 10, "0 %"),
        (1, 8, "12.5 %"),
        (10, 10, "100 %"),
        (1, 240_000, "0.1 %"),
        (239_999, 240_000, "99.9 %"),
    ],
)
def test_a_share_is_nothing_or_all_only_where_it_is(part, whole, text):
    assert numbers.share(part, whole) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (999_600, "1 MB"), (5.46e9, "5.46 GB"), (3e18, "3,000 PB")],
)
def test_bytes_have_the_unit_that_fits(value, text):
    assert numbers.size(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (59.9, "59.9 s"), (90, "1.5 min"), (3600, "1 h"), (4_444_440, "1,235 h")]
)
def test_a_time_has_the_unit_that_fits(seconds, text):
    assert numbers.span(seconds) == text
