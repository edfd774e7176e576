"""Formatting of numbers for readers: three significant digits, thousands separators, and units."""


def count(value: float) -> str:
    """Format a whole number, such as `12,345`."""
    return f"{value:,.0f}"


def number(value: float) -> str:
    """Format a number with three significant digits, or as a whole number from 100 on: `1,234`, `12.3`, `0.0123`."""
    if value == 0 or abs(value) >= 99.95:
        return f"{value:,.0f}"
    digits = f"{value:.3g}"
    return f"{value:.1e}" if abs(value) < 1e-4 else digits


def share(part: float, whole: float) -> str:
    """Format a share, such as `12.5 %`; only exact shares of none and all give `0 %` and `100 %`."""
    if not whole or part in (0, whole):
        return "100 %" if whole and part else "0 %"
    percent = min(max(100 * part / whole, 0.1), 99.9)
    return f"{percent:.1f} %"


def size(count_of_bytes: float) -> str:
    """Format a number of bytes, such as `12.3 GB`, with units in powers of a thousand."""
    units = ["B", "kB", "MB", "GB", "TB", "PB"]
    while count_of_bytes >= 999.5 and len(units) > 1:
        del units[0]
        count_of_bytes /= 1000
    return f"{number(count_of_bytes)} {units[0]}"


def span(seconds: float) -> str:
    """Format a time, such as `8.5 s`, `12.1 min` or `1,234 h`."""
    if seconds < 60:
        return f"{number(seconds)} s"
    return f"{number(seconds / 60)} min" if seconds < 3600 else f"{number(seconds / 3600)} h"
