"""TV-L1's inner iteration, several at a time in one pass over the rows.

A row of u needs p of the iteration before in its own row and in the one above; p of a row needs u of this iteration in
its own row and in the one below. So when u of a row is new, p of the row above follows: u of one block, p of the block
before it, and the quotients of the one before that, so that no unit of the core waits for another's result.
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
    root_estimate,
    splat,
    store,
    total,
    without_lane,
)

TINY = np.float32(1e-30)
ONE = np.float32(1)
FIXED = 4 * LANES
SPARE = 2  # blocks ahead of every row of a state: what the pipeline writes before it is full
TOGETHER = 2  # rows of one iteration before the next one follows, while their state is in the nearest cache


@inlined
def pitch_of(width, size):
    """Elements of a row of a state whose blocks have `size`."""
    return (blocks_of(width) + SPARE) * size


def _iterations(components):
    planes = 3 * components
    size = planes * LANES
    third = components == 3

    @inlined
    def divergence(state, p, above, left, top):
        here = load(state, p)
        change = (here - from_left(left, here)) + load(state, p + LANES)
        if not top:
            change = change - load(state, above + LANES)
        return change, here

    @inlined
    def primal(state, old, above, new, fixed, data, weights, carried, top):
        """Compute u of a block; return what the next block needs, the sum of squared changes and p, and u."""
        _, _, l_t, gamma = weights
        error, p1, p2, p3 = carried
        u1, u2, u3 = load(state, old), load(state, old + 3 * LANES), splat(ZERO)
        wx, wy = load(fixed, data + LANES), load(fixed, data + 2 * LANES)
        rho = load(fixed, data) + wx * u1 + wy * u2
        if third:
            u3 = load(state, old + 6 * LANES)
            rho = rho + u3 * gamma
        fi = clamp(rho * load(fixed, data + 3 * LANES), l_t)
        change1, p1 = divergence(state, old + LANES, above + LANES, p1, top)
        change2, p2 = divergence(state, old + 4 * LANES, above + 4 * LANES, p2, top)
        change1, change2 = fi * wx + change1, fi * wy + change2
        u1, u2 = u1 + change1, u2 + change2
        store(state, new, u1)
        store(state, new + 3 * LANES, u2)
        error = error + change1 * change1 + change2 * change2
        if third:
            change3, p3 = divergence(state, old + 7 * LANES, above + 7 * LANES, p3, top)
            change3 = fi * gamma + change3
            u3 = u3 + change3
            store(state, new + 6 * LANES, u3)
            error = error + change3 * change3
        return (error, p1, p2, p3), (u1, u2, u3)

    @inlined
    def grown(state, old, here, right, below, edge, bottom, weights):
        """Both p + tau grad u of a component, and 1 + taut |grad u|, by which they are to be divided."""
        tau, taut, _, _ = weights
        ux = from_right(here, right) - here
        if edge >= 0:
            ux = without_lane(ux, edge)
        uy = splat(ZERO)
        if not bottom:
            uy = below - here
        length = root_estimate(ux * ux + (uy * uy + TINY))
        return ux * tau + load(state, old), uy * tau + load(state, old + LANES), length * taut + ONE

    @inlined
    def dual(state, old, here, right, below, edge, bottom, weights):
        """`grown` of all components."""
        x1, y1, grown1 = grown(state, old + LANES, here[0], right[0], below[0], edge, bottom, weights)
        x2, y2, grown2 = grown(state, old + 4 * LANES, here[1], right[1], below[1], edge, bottom, weights)
        x3, y3, grown3 = splat(ZERO), splat(ZERO), splat(ONE)
        if third:
            x3, y3, grown3 = grown(state, old + 7 * LANES, here[2], right[2], below[2], edge, bottom, weights)
        return x1, y1, grown1, x2, y2, grown2, x3, y3, grown3

    @inlined
    def put(state, new, dividends):
        """Divide what `dual` gave: p of a block."""
        x1, y1, grown1, x2, y2, grown2, x3, y3, grown3 = dividends
        both = ONE / (grown1 * grown2)  # a division takes as long as twenty products
        scale1, scale2 = grown2 * both, grown1 * both
        store(state, new + LANES, x1 * scale1)
        store(state, new + 2 * LANES, y1 * scale1)
        store(state, new + 4 * LANES, x2 * scale2)
        store(state, new + 5 * LANES, y2 * scale2)
        if third:
            scale3 = ONE / grown3
            store(state, new + 7 * LANES, x3 * scale3)
            store(state, new + 8 * LANES, y3 * scale3)

    @inlined
    def load_u(state, at):
        u3 = splat(ZERO)
        if third:
            u3 = load(state, at + 6 * LANES)
        return load(state, at), load(state, at + 3 * LANES), u3

    @inlined
    def nothing():
        """Of a block before the first: nothing in it, and nothing to divide."""
        zero, one = splat(ZERO), splat(ONE)
        return (zero, zero, zero), (zero, zero, zero, zero), (zero, zero, one, zero, zero, one, zero, zero, one)

    @inlined
    def first_row(state, old, new, fixed, data, width, weights):
        _, carried, _ = nothing()
        for _ in range(blocks_of(width)):
            carried, _ = primal(state, old, old, new, fixed, data, weights, carried, True)
            old, new, data = old + size, new + size, data + FIXED
        return total(carried[0])

    @inlined
    def middle_row(state, old, new, fixed, data, width, weights):
        """Compute u of a row, and p of the one above."""
        blocks = blocks_of(width)
        pitch = pitch_of(width, size)
        above, new_above = old - pitch, new - pitch
        here, carried, dividends = nothing()
        u = here
        for _ in range(blocks):
            below = u
            carried, u = primal(state, old, above, new, fixed, data, weights, carried, False)
            right = load_u(state, new_above)
            ready = dividends
            dividends = dual(state, above - size, here, right, below, -1, False, weights)
            put(state, new_above - 2 * size, ready)
            here = right
            old, above, new, new_above, data = old + size, above + size, new + size, new_above + size, data + FIXED
        put(state, new_above - 2 * size, dividends)
        edge = width - 1 - (blocks - 1) * LANES
        none, _, _ = nothing()
        put(state, new_above - size, dual(state, above - size, here, none, u, edge, False, weights))
        return total(carried[0])

    @inlined
    def below_the_last(state, old, new, width, weights):
        """Compute p of the last row."""
        blocks = blocks_of(width)
        pitch = pitch_of(width, size)
        above, new_above = old - pitch, new - pitch
        none, _, _ = nothing()
        for _ in range(blocks - 1):
            here, right = load_u(state, new_above), load_u(state, new_above + size)
            put(state, new_above, dual(state, above, here, right, none, -1, True, weights))
            above, new_above = above + size, new_above + size
        edge = width - 1 - (blocks - 1) * LANES
        put(state, new_above, dual(state, above, load_u(state, new_above), none, none, edge, True, weights))

    @inlined
    def iterate(state, old, new, fixed, height, width, count, weights, errors):
        """`count` iterations; offsets old and new are of row 0."""
        pitch, stride = pitch_of(width, size), blocks_of(width) * FIXED
        for k in range(count):
            errors[k] = 0.0
        for step in range(0, height + count, TOGETHER):
            for k in range(count):
                for y in range(max(0, step - k), min(height + 1, step - k + TOGETHER)):
                    source = (old if k == 0 else new) + y * pitch
                    target = new + y * pitch
                    if y == 0:
                        errors[k] += first_row(state, source, target, fixed, 0, width, weights)
                    elif y < height:
                        errors[k] += middle_row(state, source, target, fixed, y * stride, width, weights)
                    else:
                        below_the_last(state, source, target, width, weights)

    return iterate


iterate, iterate_with_light = _iterations(2), _iterations(3)
