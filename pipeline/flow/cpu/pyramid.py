"""Pyramids and gradients, as in OpenCV's resize (INTER_LINEAR) and centeredGradient.

A plane here is a flat array; its rows are padded with zeros after the last column to whole vectors.
"""

import numpy as np

from pipeline.flow.cpu.compiled import inlined
from pipeline.flow.cpu.vectors import LANES, ZERO, load, load_neighbours, product, splat, store, store_every_fourth

HALF, ONE = np.float32(0.5), np.float32(1)
MARGIN = 4  # pixels of zeros around the taps: OpenCV's BORDER_CONSTANT


@inlined
def blocks_of(width):
    """Return the number of vectors in a row."""
    return (width + LANES - 1) // LANES


@inlined
def whole_rows(width):
    """Return the number of elements in a row of whole vectors."""
    return blocks_of(width) * LANES


@inlined
def ticks(length, source_length, ratio, index, weight):
    """Find for each of `length` pixels its left neighbour among `source_length`, and the weight of the right one."""
    for x in range(length):
        place = (x + 0.5) * ratio - 0.5
        left = int(np.floor(place))
        if left < 0 or left >= source_length - 1:
            index[x] = min(max(left, 0), source_length - 1)
            weight[x] = ZERO
        else:
            index[x] = left
            weight[x] = np.float32(place - left)


@inlined
def resize(source, at, shape, target, to, to_shape, ratios, factor, buffers):
    """Resize the plane at source[at:] bilinearly to that at target[to:], and multiply it by `factor`."""
    height, width = shape
    to_height, to_width = to_shape
    stride, to_stride = whole_rows(width), whole_rows(to_width)
    index, weight, line = buffers
    ticks(to_height, height, ratios[0], index[0], weight[0])
    ticks(to_width, width, ratios[1], index[1], weight[1])
    columns, shares = index[1], weight[1]
    close = ratios[1] < 1.8  # the source pixels of a vector lie within two vectors
    for y in range(to_height):
        above = at + index[0, y] * stride
        below = at + min(index[0, y] + 1, height - 1) * stride
        share = weight[0, y]
        for x in range(0, width, LANES):
            store(line, x, load(source, above + x) * (ONE - share) + load(source, below + x) * share)
        line[width] = line[width - 1]
        out = to + y * to_stride
        if close:
            for x in range(0, to_width, LANES):
                left, right = load_neighbours(line, columns, x)
                of_right = load(shares, x)
                store(target, out + x, (product(left, splat(ONE) - of_right) + product(right, of_right)) * factor)
        else:
            for x in range(to_width):
                left = np.uint32(columns[x])
                target[out + x] = (line[left] * (ONE - shares[x]) + line[left + np.uint32(1)] * shares[x]) * factor
        target[out + to_width : out + to_stride] = 0


@inlined
def gradients(image, at, height, width, taps):
    """Fill taps, a flat (height + 2 MARGIN, row + 2 MARGIN, 4), with I, Ix, Iy, 0 of each pixel and zeros around."""
    stride = whole_rows(width)
    pitch = (stride + 2 * MARGIN) * 4
    taps[: MARGIN * pitch] = 0
    taps[(height + MARGIN) * pitch : (height + 2 * MARGIN) * pitch] = 0
    for y in range(height):
        here = at + y * stride
        above = at + max(y - 1, 0) * stride
        below = at + min(y + 1, height - 1) * stride
        start = (y + MARGIN) * pitch
        out = start + 4 * MARGIN
        for x in range(0, width, LANES):
            ix = (load(image, here + x + 1) - load(image, here + x - 1)) * HALF
            iy = (load(image, below + x) - load(image, above + x)) * HALF
            store_every_fourth(taps, out + 4 * x, load(image, here + x), ix, iy, splat(ZERO))
        last = width - 1
        taps[out + 1] = HALF * (image[here + min(1, last)] - image[here])
        taps[out + 4 * last + 1] = HALF * (image[here + last] - image[here + max(last - 1, 0)])
        taps[start:out] = 0
        taps[out + 4 * width : start + pitch] = 0
