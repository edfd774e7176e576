"""Median filters of 3 x 3 and 5 x 5 pixels, which merge sorted columns (Batcher's odd-even merge).

Neighbouring windows share columns: each column is sorted once for all windows that contain it, and two columns are
merged once for the two windows in which they are the first and the second pair. A 5 x 5 median then takes 90 minima
and maxima per vector.
"""

from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from pipeline.flow.cpu.compiled import inlined
from pipeline.flow.cpu.pyramid import blocks_of
from pipeline.flow.cpu.vectors import LANES, WIDE, _greatest, _least, _pointer, load, prefetch, store


def merge(builder: Any, left: Sequence[Any], right: Sequence[Any]) -> list[Any]:
    """Merge two sorted lists (Batcher 1968); LLVM drops the steps whose results are not used."""
    if not left or not right:
        return [*left, *right]
    if len(left) == len(right) == 1:
        return [_least(builder, left[0], right[0]), _greatest(builder, left[0], right[0])]
    even = merge(builder, left[0::2], right[0::2])
    odd = merge(builder, left[1::2], right[1::2])
    merged = even[:1]
    for low, high in zip(odd, even[1:], strict=False):
        merged += [_least(builder, low, high), _greatest(builder, low, high)]
    paired = min(len(odd), len(even) - 1)
    return merged + odd[paired:] + even[1 + paired :]


def sort(builder: Any, values: Sequence[Any]) -> list[Any]:
    """Sort a list by merging its sorted halves."""
    half = len(values) // 2
    return merge(builder, sort(builder, values[:half]), sort(builder, values[half:])) if half else list(values)


def _loads(context: Any, builder: Any, kind: Any, array: Any, offset: Any, step: Any, count: int) -> list[Any]:
    vectors = []
    for _ in range(count):
        vectors.append(builder.load(_pointer(context, builder, kind, array, offset, LANES), align=4))
        offset = builder.add(offset, step)
    return vectors


def _networks(size_of_window: int) -> Any:
    middle = size_of_window * size_of_window // 2

    @intrinsic
    def sorted_columns(typing: Any, rows: Any, offset: Any, step: Any) -> Any:
        """Load the vectors at offset, offset + step... and sort each of their LANES columns."""

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            array, start, by = args
            values = sort(builder, _loads(context, builder, rows, array, start, by, size_of_window))
            return context.make_tuple(builder, signature.return_type, values)

        return types.UniTuple(WIDE, size_of_window)(rows, types.intp, types.intp), generate

    @intrinsic
    def store_sorted(typing: Any, here: Any, after: Any, rows: Any, to: Any, pairs: Any, step: Any) -> Any:
        """Write sorted columns from row `to` on, and each merged with its right neighbour from row `pairs` on."""

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            array, target, pair, by = args[2:]
            columns, following = (cgutils.unpack_tuple(builder, value, size_of_window) for value in args[:2])
            order = ir.Constant(ir.VectorType(ir.IntType(32), LANES), list(range(1, LANES + 1)))
            right = [builder.shuffle_vector(*both, order) for both in zip(columns, following, strict=True)]
            for start, values in ((target, columns), (pair, merge(builder, columns, right))):
                for value in values:
                    builder.store(value, _pointer(context, builder, rows, array, start, LANES), align=4)
                    start = builder.add(start, by)
            return context.get_dummy_value()

        return types.void(here, after, rows, types.intp, types.intp, types.intp), generate

    @intrinsic
    def select(typing: Any, rows: Any, columns: Any, pairs: Any, step: Any) -> Any:
        """Return the medians of the windows that begin at LANES neighbouring columns."""

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            array, column, pair, by = args
            window = _loads(context, builder, rows, array, pair, by, 2 * size_of_window)
            for at in range(2, size_of_window - 1, 2):
                place = builder.add(pair, ir.Constant(pair.type, at))
                window = merge(builder, window, _loads(context, builder, rows, array, place, by, 2 * size_of_window))
            place = builder.add(column, ir.Constant(pair.type, size_of_window - 1))
            last = _loads(context, builder, rows, array, place, by, size_of_window)
            taken = [window[middle]]
            for count, value in enumerate(last, 1):
                taken.append(_greatest(builder, window[middle - count], value))
            while len(taken) > 1:  # in pairs, because in a chain each step would wait for the one before
                taken = [*taken[2:], _least(builder, *taken[:2])]
            return taken[0]

        return WIDE(rows, types.intp, types.intp, types.intp), generate

    @inlined
    def median(values, at, pitch, size, height, width, rows):
        """Filter a plane in place. Block b of row y is values[at + y * pitch + b * size :]; `rows` is scratch."""
        radius = size_of_window // 2
        blocks = blocks_of(width)
        step = (blocks + 2) * LANES
        columns, pairs = size_of_window * step, 2 * size_of_window * step
        for y in range(-radius, height + radius):
            source = at + min(max(y, 0), height - 1) * pitch
            row = (y + radius) % size_of_window * step
            for b in range(blocks):
                prefetch(values, source + pitch + b * size)
                store(rows, row + radius + b * LANES, load(values, source + b * size))
            for x in range(radius):
                rows[row + x] = rows[row + radius]
                rows[row + radius + width + x] = rows[row + radius + width - 1]
            if y < radius:
                continue
            here = sorted_columns(rows, 0, step)
            for x in range(0, width + 2 * radius, LANES):
                after = sorted_columns(rows, x + LANES, step)
                store_sorted(here, after, rows, columns + x, pairs + x, step)
                here = after
            out = at + (y - radius) * pitch
            for b in range(blocks):
                store(values, out + b * size, select(rows, columns + b * LANES, pairs + b * LANES, step))
            last = out + (blocks - 1) * size
            values[last + width - (blocks - 1) * LANES : last + LANES] = 0

    return median


median3, median5 = _networks(3), _networks(5)
