"""Medians of small windows in registers, by sorting networks whose elements are whole tiles."""

# mypy: disallow-untyped-defs=False

import triton
import triton.language as tl


@triton.jit
def _pixel(plane, y, x, height, width):
    """Load a pixel of a plane; outside the frame the border is repeated."""
    y = tl.minimum(tl.maximum(y, 0), height - 1)
    x = tl.minimum(tl.maximum(x, 0), width - 1)
    return tl.load(plane + y * width + x)


@triton.jit
def _exchange(a, b):
    return tl.minimum(a, b), tl.maximum(a, b)


@triton.jit
def _sort3(a, b, c):
    a, b = _exchange(a, b)
    b, c = _exchange(b, c)
    a, b = _exchange(a, b)
    return a, b, c


@triton.jit
def _sort5(a, b, c, d, e):
    a, b = _exchange(a, b)
    d, e = _exchange(d, e)
    c, e = _exchange(c, e)
    c, d = _exchange(c, d)
    a, d = _exchange(a, d)
    a, c = _exchange(a, c)
    b, e = _exchange(b, e)
    b, d = _exchange(b, d)
    b, c = _exchange(b, c)
    return a, b, c, d, e


@triton.jit
def _sorted_column3(plane, y, x, height, width):
    """Return the three pixels around (y, x) in its column, sorted."""
    return _sort3(
        _pixel(plane, y - 1, x, height, width),
        _pixel(plane, y, x, height, width),
        _pixel(plane, y + 1, x, height, width),
    )


@triton.jit
def _sorted_column5(plane, y, x, height, width):
    """Return the five pixels around (y, x) in its column, sorted."""
    return _sort5(
        _pixel(plane, y - 2, x, height, width),
        _pixel(plane, y - 1, x, height, width),
        _pixel(plane, y, x, height, width),
        _pixel(plane, y + 1, x, height, width),
        _pixel(plane, y + 2, x, height, width),
    )


@triton.jit
def median3(plane, y, x, height, width):
    """Return the median of the 9 pixels around (y, x).

    With the three columns sorted, it is the median of three values: the largest of the low pixels, the median of the
    middle pixels and the smallest of the high pixels.
    """
    a0, a1, a2 = _sorted_column3(plane, y, x - 1, height, width)
    b0, b1, b2 = _sorted_column3(plane, y, x, height, width)
    c0, c1, c2 = _sorted_column3(plane, y, x + 1, height, width)
    low = tl.maximum(tl.maximum(a0, b0), c0)
    _, middle, _ = _sort3(a1, b1, c1)
    high = tl.minimum(tl.minimum(a2, b2), c2)
    _, median, _ = _sort3(low, middle, high)
    return median


@triton.jit
def median5(plane, y, x, height, width):
    """Return the median of the 25 pixels around (y, x).

    With the columns and then the rows of the 5 x 5 window sorted, 6 corner cells are never above the median and 6 are
    never below it. The other 13 cells form three falling diagonals. The median of the window is the median of three
    values: the largest of the lower diagonal, the median of the middle one and the smallest of the upper one.
    """
    a0, a1, a2, a3, a4 = _sorted_column5(plane, y, x - 2, height, width)
    b0, b1, b2, b3, b4 = _sorted_column5(plane, y, x - 1, height, width)
    c0, c1, c2, c3, c4 = _sorted_column5(plane, y, x, height, width)
    d0, d1, d2, d3, d4 = _sorted_column5(plane, y, x + 1, height, width)
    e0, e1, e2, e3, e4 = _sorted_column5(plane, y, x + 2, height, width)
    _, _, _, d0, e0 = _sort5(a0, b0, c0, d0, e0)
    _, _, c1, d1, e1 = _sort5(a1, b1, c1, d1, e1)
    _, b2, c2, d2, _ = _sort5(a2, b2, c2, d2, e2)
    a3, b3, c3, _, _ = _sort5(a3, b3, c3, d3, e3)
    a4, b4, _, _, _ = _sort5(a4, b4, c4, d4, e4)
    low = tl.maximum(tl.maximum(a3, b2), tl.maximum(c1, d0))
    _, _, middle, _, _ = _sort5(a4, b3, c2, d1, e0)
    high = tl.minimum(tl.minimum(b4, c3), tl.minimum(d2, e1))
    _, median, _ = _sort3(low, middle, high)
    return median
