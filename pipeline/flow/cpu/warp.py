"""Warp of the second image and its gradients: OpenCV's remap with INTER_CUBIC, zero outside."""

import numpy as np

from pipeline.flow.cpu.compiled import inlined
from pipeline.flow.cpu.pyramid import MARGIN
from pipeline.flow.cpu.vectors import (
    LANES,
    floor,
    greatest,
    lane_numbers,
    least,
    load,
    load_every_fourth,
    load_spread,
    load_taps,
    quarters,
    splat,
    store,
    store_every_fourth,
    store_whole,
)

A = np.float32(-0.75)  # of OpenCV's cubic
ONE = np.float32(1)
EPSILON = np.float32(np.finfo(np.float32).eps)


@inlined
def outer_weight(t):
    """Cubic at distance t, 1 to 2."""
    return ((t * A - np.float32(5) * A) * t + np.float32(8) * A) * t - splat(np.float32(4) * A)


@inlined
def inner_weight(t):
    """Cubic at distance t, 0 to 1."""
    return (t * (A + np.float32(2)) - (A + np.float32(3))) * t * t + ONE


@inlined
def places(position, length, whole, weights, x):
    """Split positions into the number of the first tap, from the margin on, and the weights of four."""
    inside = least(greatest(position, splat(np.float32(-3))), splat(np.float32(length + 1)))
    left = floor(inside)
    t = inside - left
    w0, w1, w2 = outer_weight(t + ONE), inner_weight(t), inner_weight(ONE - t)
    store_every_fourth(weights, 4 * x, w0, w1, w2, ONE - w0 - w1 - w2)
    store_whole(whole, x, left + np.float32(MARGIN - 1))


@inlined
def warp(taps, state, at, size, image, image_at, height, width, fixed, lines, whole):
    """Write rho_c, I1wx, I1wy and -1 / |grad|^2 of every pixel into `fixed`.

    state[at + (y * blocks + b) * size :] is u1 of block b of row y, three planes further on u2.
    lines, whole: scratch of a row, four float32 and one int32 a pixel.
    """
    blocks = (width + LANES - 1) // LANES
    pitch = (blocks * LANES + 2 * MARGIN) * 4
    across, down, sums = lines[0], lines[1], lines[2]
    columns, rows = whole[0], whole[1]
    numbers = lane_numbers()
    for y in range(height):
        flow = at + y * blocks * size
        for b in range(blocks):
            x = b * LANES
            u1, u2 = load(state, flow + b * size), load(state, flow + b * size + 3 * LANES)
            places(u1 + numbers + np.float32(x), width, columns, across, x)
            places(u2 + np.float32(y), height, rows, down, x)
        for x in range(width):
            first = np.intp(rows[x]) * pitch + np.intp(columns[x]) * 4
            taken = load_taps(taps, first) * down[4 * x]
            taken = taken + load_taps(taps, first + pitch) * down[4 * x + 1]
            taken = taken + load_taps(taps, first + 2 * pitch) * down[4 * x + 2]
            taken = taken + load_taps(taps, first + 3 * pitch) * down[4 * x + 3]
            store(sums, 4 * x, quarters(taken * load_spread(across, 4 * x)))
        sums[4 * width : 4 * blocks * LANES] = 0
        for b in range(blocks):
            i1, wx, wy = load_every_fourth(sums, 4 * b * LANES)
            u1, u2 = load(state, flow + b * size), load(state, flow + b * size + 3 * LANES)
            i0 = load(image, image_at + (y * blocks + b) * LANES)
            out = (y * blocks + b) * 4 * LANES
            store(fixed, out, i1 - wx * u1 - wy * u2 - i0)
            store(fixed, out + LANES, wx)
            store(fixed, out + 2 * LANES, wy)
            store(fixed, out + 3 * LANES, splat(-ONE) / greatest(wx * wx + wy * wy, splat(EPSILON)))
