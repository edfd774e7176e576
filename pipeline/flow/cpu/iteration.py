"""TV-L1's inner iteration; several iterations run together in one pass over the rows.

A row of u needs p of the previous iteration in its own row and in the row above; a row of p needs u of the same
iteration in its own row and in the row below. So p of a row is computed together with u of the row below it. The code
works on three blocks at a time: it computes u of one block, p of the block before it without the division, and the
quotients of the block before that, so that no unit of the core waits for the result of another. Meanwhile it
prefetches data that the first iteration needs for the next rows, two cache lines per block and iteration.
"""

import numpy as np

from pipeline.flow.cpu.compiled import inlined
from pipeline.flow.cpu.pyramid import blocks_of
from pipeline.flow.cpu.vectors import (
    LANES,
    ZERO,
    clamp,
    from_left,
    from_right,
    load,
    prefetch,
    root_estimate,
    splat,
    store,
    total,
    without_lane,
)

TINY = np.float32(1e-30)
ONE = np.float32(1)
FIXED = 4 * LANES
TOGETHER = 2  # rows that an iteration computes before the next iteration follows, while they are in the L1 cache


@inlined
def pitch_of(width, size):
    """Return the number of elements in a row of a state whose blocks have `size` elements."""
    return blocks_of(width) * size


def _iterations(components):
    planes = 3 * components
    size = planes * LANES
    halves = (planes + 1) // 2
    third = components == 3

    @inlined
    def divergence(memory, p, above, left, top):
        here = load(memory, p)
        change = (here - from_left(left, here)) + load(memory, p + LANES)
        if not top:
            change = change - load(memory, above + LANES)
        return change, here

    @inlined
    def primal(memory, old, above, new, data, weights, carried, top):
        """Compute u of a block; return what the next block needs (the sum of squared changes, and p), and u."""
        _, _, l_t, gamma = weights
        error, p1, p2, p3 = carried
        u1, u2, u3 = load(memory, old), load(memory, old + 3 * LANES), splat(ZERO)
        wx, wy = load(memory, data + LANES), load(memory, data + 2 * LANES)
        rho = load(memory, data) + wx * u1 + wy * u2
        if third:
            u3 = load(memory, old + 6 * LANES)
            rho = rho + u3 * gamma
        fi = clamp(rho * load(memory, data + 3 * LANES), l_t)
        change1, p1 = divergence(memory, old + LANES, above + LANES, p1, top)
        change2, p2 = divergence(memory, old + 4 * LANES, above + 4 * LANES, p2, top)
        change1, change2 = fi * wx + change1, fi * wy + change2
        u1, u2 = u1 + change1, u2 + change2
        store(memory, new, u1)
        store(memory, new + 3 * LANES, u2)
        error = error + change1 * change1 + change2 * change2
        if third:
            change3, p3 = divergence(memory, old + 7 * LANES, above + 7 * LANES, p3, top)
            change3 = fi * gamma + change3
            u3 = u3 + change3
            store(memory, new + 6 * LANES, u3)
            error = error + change3 * change3
        return (error, p1, p2, p3), (u1, u2, u3)

    @inlined
    def grown(memory, old, here, right, below, edge, bottom, weights):
        """Return both parts of p + tau grad u for a component of u, and their divisor 1 + taut |grad u|."""
        tau, taut, _, _ = weights
        ux = from_right(here, right) - here
        if edge >= 0:
            ux = without_lane(ux, edge)
        uy = splat(ZERO)
        if not bottom:
            uy = below - here
        length = root_estimate(ux * ux + (uy * uy + TINY))
        return ux * tau + load(memory, old), uy * tau + load(memory, old + LANES), length * taut + ONE

    @inlined
    def dual(memory, old, here, right, below, edge, bottom, weights):
        """Compute `grown` for all components."""
        x1, y1, grown1 = grown(memory, old + LANES, here[0], right[0], below[0], edge, bottom, weights)
        x2, y2, grown2 = grown(memory, old + 4 * LANES, here[1], right[1], below[1], edge, bottom, weights)
        x3, y3, grown3 = splat(ZERO), splat(ZERO), splat(ONE)
        if third:
            x3, y3, grown3 = grown(memory, old + 7 * LANES, here[2], right[2], below[2], edge, bottom, weights)
        return x1, y1, grown1, x2, y2, grown2, x3, y3, grown3

    @inlined
    def put(memory, new, dividends):
        """Divide the results of `dual` and store them as p of a block."""
        x1, y1, grown1, x2, y2, grown2, x3, y3, grown3 = dividends
        both = ONE / (grown1 * grown2)  # a division takes as long as twenty multiplications
        scale1, scale2 = grown2 * both, grown1 * both
        store(memory, new + LANES, x1 * scale1)
        store(memory, new + 2 * LANES, y1 * scale1)
        store(memory, new + 4 * LANES, x2 * scale2)
        store(memory, new + 5 * LANES, y2 * scale2)
        if third:
            scale3 = ONE / grown3
            store(memory, new + 7 * LANES, x3 * scale3)
            store(memory, new + 8 * LANES, y3 * scale3)

    @inlined
    def load_u(memory, at):
        u3 = splat(ZERO)
        if third:
            u3 = load(memory, at + 6 * LANES)
        return load(memory, at), load(memory, at + 3 * LANES), u3

    @inlined
    def nothing():
        """Return empty values in place of a block before the first: zeros, and ones as divisors."""
        zero, one = splat(ZERO), splat(ONE)
        return (zero, zero, zero), (zero, zero, zero, zero), (zero, zero, one, zero, zero, one, zero, zero, one)

    @inlined
    def first_row(memory, old, new, data, width, weights):
        _, carried, _ = nothing()
        for _ in range(blocks_of(width)):
            carried, _ = primal(memory, old, old, new, data, weights, carried, True)
            old, new, data = old + size, new + size, data + FIXED
        return total(carried[0])

    def middle_rows(asks):
        @inlined
        def middle_row(memory, old, new, data, width, weights, dump, ahead, step):
            """Compute u of a row and p of the row above; results for blocks before the first one go to `dump`."""
            blocks = blocks_of(width)
            pitch = pitch_of(width, size)
            above, new_above = old - pitch, new - pitch
            here, carried, dividends = nothing()
            u = here
            behind, last = dump, dump
            for _ in range(blocks):
                if asks:
                    prefetch(memory, ahead)
                    prefetch(memory, ahead + LANES)
                below = u
                carried, u = primal(memory, old, above, new, data, weights, carried, False)
                right = load_u(memory, new_above)
                ready = dividends
                dividends = dual(memory, above - size, here, right, below, -1, False, weights)
                put(memory, behind, ready)
                here = right
                behind, last = last, new_above
                old, above, new, new_above = old + size, above + size, new + size, new_above + size
                data, ahead = data + FIXED, ahead + step
            put(memory, behind, dividends)
            edge = width - 1 - (blocks - 1) * LANES
            none, _, _ = nothing()
            put(memory, last, dual(memory, above - size, here, none, u, edge, False, weights))
            return total(carried[0])

        return middle_row

    middle_row, middle_row_asking = middle_rows(False), middle_rows(True)

    @inlined
    def ahead_of(k, old, new, fixed, y, pitch, stride):
        """Return where the k-th two cache lines needed by row y's first block are, and the step to the next block's."""
        if k < halves:
            return old + y * pitch + 2 * k * LANES, size
        if k < halves + 2:
            return fixed + y * stride + 2 * (k - halves) * LANES, FIXED
        return new + y * pitch + 2 * (k - halves - 2) * LANES, size

    @inlined
    def below_the_last(memory, old, new, width, weights):
        """Compute p of the last row."""
        blocks = blocks_of(width)
        pitch = pitch_of(width, size)
        above, new_above = old - pitch, new - pitch
        none, _, _ = nothing()
        for _ in range(blocks - 1):
            here, right = load_u(memory, new_above), load_u(memory, new_above + size)
            put(memory, new_above, dual(memory, above, here, right, none, -1, True, weights))
            above, new_above = above + size, new_above + size
        edge = width - 1 - (blocks - 1) * LANES
        put(memory, new_above, dual(memory, above, load_u(memory, new_above), none, none, edge, True, weights))

    @inlined
    def iterate(memory, old, new, dump, fixed, height, width, count, weights, errors):
        """Run `count` iterations and store the squared change of each in `errors`.

        `old`, `new`, `dump` and `fixed` are offsets in `memory`: of two states (or twice of the same state), of a block
        whose content is not used, and of the output of `warp`.
        """
        pitch, stride = pitch_of(width, size), blocks_of(width) * FIXED
        asking = halves + 2 if old == new else 2 * halves + 2
        for k in range(count):
            errors[k] = 0.0
        for step in range(0, height + count, TOGETHER):
            for k in range(count):
                for y in range(max(0, step - k), min(height + 1, step - k + TOGETHER)):
                    source, target, data = (old if k == 0 else new) + y * pitch, new + y * pitch, fixed + y * stride
                    if y == 0:
                        errors[k] += first_row(memory, source, target, data, width, weights)
                    elif y == height:
                        below_the_last(memory, source, target, width, weights)
                    elif k < asking:
                        ahead, far = ahead_of(k, old, new, fixed, y + k + TOGETHER, pitch, stride)
                        errors[k] += middle_row_asking(memory, source, target, data, width, weights, dump, ahead, far)
                    else:
                        errors[k] += middle_row(memory, source, target, data, width, weights, dump, 0, 0)

    return iterate


iterate, iterate_with_light = _iterations(2), _iterations(3)
