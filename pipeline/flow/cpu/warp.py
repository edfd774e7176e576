"""Warp of the second image and its gradients: OpenCV's remap with INTER_CUBIC and zeros outside the image."""

import numpy as np

from pipeline.flow.cpu.compiled import inlined
from pipeline.flow.cpu.pyramid import MARGIN, blocks_of
from pipeline.flow.cpu.vectors import (
    LANES,
    floor,
    greatest,
    lane_numbers,
    least,
    load,
    load_every_fourth,
    load_one,
    load_place,
    load_spread,
    load_taps,
    prefetch,
    product,
    quarters,
    splat,
    store,
    store_places,
)

A = np.float32(-0.75)  # coefficient of OpenCV's cubic kernel
ONE = np.float32(1)
EPSILON = np.float32(np.finfo(np.float32).eps)


@inlined
def outer_weight(t):
    """Return the cubic kernel at distance t, 1 to 2."""
    return ((t * A - np.float32(5) * A) * t + np.float32(8) * A) * t - splat(np.float32(4) * A)


@inlined
def inner_weight(t):
    """Return the cubic kernel at distance t, 0 to 1."""
    return (t * (A + np.float32(2)) - (A + np.float32(3))) * t * t + ONE


@inlined
def tap(position, length):
    """Return the index of the first of the four taps around each position, and the distance from the second, 0 to 1."""
    inside = least(greatest(position, splat(np.float32(-3))), splat(np.float32(length + 1)))
    left = floor(inside)
    return left + np.float32(MARGIN - 1), inside - left


@inlined
def store_weights(t, weights, at, step):
    """Store the weights of the four taps, one row for each tap."""
    w0, w1, w2 = outer_weight(t + ONE), inner_weight(t), inner_weight(ONE - t)
    store(weights, at, w0)
    store(weights, at + step, w1)
    store(weights, at + 2 * step, w2)
    store(weights, at + 3 * step, ONE - w0 - w1 - w2)


@inlined
def column(taps, first, pitch, weights, at, step):
    """Interpolate I, Ix and Iy of four neighbouring taps vertically, between four rows."""
    taken = load_taps(taps, first) * load_one(weights, at)
    taken = taken + load_taps(taps, first + pitch) * load_one(weights, at + step)
    taken = taken + load_taps(taps, first + 2 * pitch) * load_one(weights, at + 2 * step)
    return taken + load_taps(taps, first + 3 * pitch) * load_one(weights, at + 3 * step)


@inlined
def warp(taps, state, at, pitch, size, image, image_at, height, width, fixed, lines, places):
    """Write rho_c, I1wx, I1wy and -1 / |grad|^2 of every pixel into `fixed`.

    state[at + y * pitch + b * size :] is u1 of block b of row y; u2 is three planes further on.
    lines and places are scratch for one row, with twelve float32 and one int32 per pixel. lines holds the horizontal
    and the vertical weights, one row for each of the four taps, and then I1, I1x and I1y of every pixel; places holds
    the offset of each pixel's first tap. Four pixels share a vector, and so do the four taps of one pixel.
    """
    blocks = blocks_of(width)
    below = (blocks * LANES + 2 * MARGIN) * 4
    step = blocks * LANES
    down, sums = 4 * step, 8 * step
    numbers = lane_numbers()
    for y in range(height):
        flow = at + y * pitch
        for b in range(blocks):
            x = b * LANES
            prefetch(state, flow + pitch + b * size)
            prefetch(state, flow + pitch + b * size + 3 * LANES)
            u1, u2 = load(state, flow + b * size), load(state, flow + b * size + 3 * LANES)
            columns, t1 = tap(u1 + numbers + np.float32(x), width)
            rows, t2 = tap(u2 + np.float32(y), height)
            store_weights(t1, lines, x, step)
            store_weights(t2, lines, down + x, step)
            store_places(places, x, rows, columns, below)
        for x in range(0, width, 4):
            prefetch(fixed, (y * step + x) * 4)
            prefetch(taps, (y + 2 * MARGIN - 1) * below + 4 * x)
            q0, q1, q2, q3 = quarters(
                column(taps, load_place(places, x), below, lines, down + x, step),
                column(taps, load_place(places, x + 1), below, lines, down + x + 1, step),
                column(taps, load_place(places, x + 2), below, lines, down + x + 2, step),
                column(taps, load_place(places, x + 3), below, lines, down + x + 3, step),
            )
            even = product(q0, load_spread(lines, x)) + product(q2, load_spread(lines, x + 2 * step))
            odd = product(q1, load_spread(lines, x + step)) + product(q3, load_spread(lines, x + 3 * step))
            store(lines, sums + 4 * x, even + odd)
        lines[sums + 4 * width : sums + 4 * step] = 0
        for b in range(blocks):
            i1, wx, wy = load_every_fourth(lines, sums + 4 * b * LANES)
            u1, u2 = load(state, flow + b * size), load(state, flow + b * size + 3 * LANES)
            i0 = load(image, image_at + (y * blocks + b) * LANES)
            out = (y * blocks + b) * 4 * LANES
            store(fixed, out, i1 - wx * u1 - wy * u2 - i0)
            store(fixed, out + LANES, wx)
            store(fixed, out + 2 * LANES, wy)
            store(fixed, out + 3 * LANES, splat(-ONE) / greatest(wx * wx + wy * wy, splat(EPSILON)))
