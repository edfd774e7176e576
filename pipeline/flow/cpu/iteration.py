"""TV-L1's inner iteration, several at a time in one pass over the rows."""

import numpy as np

from pipeline.flow.cpu.compiled import inlined
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
    def dual(state, old, here, right, below, edge, bottom, tau, taut):
        """Both p + tau grad u of a block, and 1 + taut |grad u|, by which they are to be divided."""
        ux = from_right(here, right) - here
        if edge >= 0:
            ux = without_lane(ux, edge)
        uy = splat(ZERO)
        if not bottom:
            uy = below - here
        length = root_estimate(ux * ux + (uy * uy + TINY))
        return ux * tau + load(state, old), uy * tau + load(state, old + LANES), length * taut + ONE

    @inlined
    def scaled(state, new, x, y, factor):
        store(state, new, x * factor)
        store(state, new + LANES, y * factor)

    def _rows(top, bottom):
        @inlined
        def block(state, old, above, new, new_above, fixed, data, last, edge, weights, carried):
            tau, taut, l_t, gamma = weights
            error, p1, p2, p3, here1, here2, here3 = carried
            u1, u2, u3 = splat(ZERO), splat(ZERO), splat(ZERO)
            if not bottom:
                u1, u2 = load(state, old), load(state, old + 3 * LANES)
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
            if not top:
                right1, right2, right3 = splat(ZERO), splat(ZERO), splat(ZERO)
                if not last:
                    right1, right2 = load(state, new_above + size), load(state, new_above + size + 3 * LANES)
                x1, y1, grown1 = dual(state, above + LANES, here1, right1, u1, edge, bottom, tau, taut)
                x2, y2, grown2 = dual(state, above + 4 * LANES, here2, right2, u2, edge, bottom, tau, taut)
                both = ONE / (grown1 * grown2)  # a division takes as long as twenty products
                scaled(state, new_above + LANES, x1, y1, grown2 * both)
                scaled(state, new_above + 4 * LANES, x2, y2, grown1 * both)
                if third:
                    if not last:
                        right3 = load(state, new_above + size + 6 * LANES)
                    x3, y3, grown3 = dual(state, above + 7 * LANES, here3, right3, u3, edge, bottom, tau, taut)
                    scaled(state, new_above + 7 * LANES, x3, y3, ONE / grown3)
                here1, here2, here3 = right1, right2, right3
            return error, p1, p2, p3, here1, here2, here3

        @inlined
        def row(state, old, new, fixed, data, pitch, width, weights):
            zero = splat(ZERO)
            above, new_above = old - pitch, new - pitch
            carried = (zero, zero, zero, zero, zero, zero, zero)
            if not top:
                here3 = zero
                if third:
                    here3 = load(state, new_above + 6 * LANES)
                carried = (zero, zero, zero, zero, load(state, new_above), load(state, new_above + 3 * LANES), here3)
            ahead = (width - 1) // LANES
            for _ in range(ahead):
                carried = block(state, old, above, new, new_above, fixed, data, False, -1, weights, carried)
                old, above, new, new_above, data = old + size, above + size, new + size, new_above + size, data + FIXED
            edge = width - 1 - ahead * LANES
            carried = block(state, old, above, new, new_above, fixed, data, True, edge, weights, carried)
            return total(carried[0])

        return row

    first_row, middle_row, below_the_last = _rows(True, False), _rows(False, False), _rows(False, True)

    @inlined
    def iterate(state, old, new, fixed, height, width, count, weights, errors):
        """`count` iterations; offsets old and new are of row 0."""
        blocks = (width + LANES - 1) // LANES
        pitch = blocks * size
        for k in range(count):
            errors[k] = 0.0
        for step in range(height + count):
            for k in range(max(0, step - height), min(count, step + 1)):
                y = step - k
                source = (old if k == 0 else new) + y * pitch
                target = new + y * pitch
                data = y * blocks * FIXED
                if y == 0:
                    errors[k] += first_row(state, source, target, fixed, data, pitch, width, weights)
                elif y < height:
                    errors[k] += middle_row(state, source, target, fixed, data, pitch, width, weights)
                else:
                    below_the_last(state, source, target, fixed, data, pitch, width, weights)

    return iterate


iterate, iterate_with_light = _iterations(2), _iterations(3)
