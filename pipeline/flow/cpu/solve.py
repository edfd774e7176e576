"""TV-L1 of a clip: pyramid, warps, outer and inner iterations, in the order and with the stops of OpenCV's."""

from typing import NamedTuple

import numpy as np

from pipeline.flow.cpu.compiled import compiled, inlined
from pipeline.flow.cpu.iteration import iterate, iterate_with_light
from pipeline.flow.cpu.median import median3, median5
from pipeline.flow.cpu.pyramid import MARGIN, gradients, resize, whole_rows
from pipeline.flow.cpu.vectors import LANES, NO_DENORMALS, float_mode, load, store
from pipeline.flow.cpu.warp import warp

ONE = np.float32(1)


class Scale(NamedTuple):
    """A scale of the pyramid: its size, and where its picture and its state begin."""

    height: int
    width: int
    picture: int
    state: int


@inlined
def scale_of(levels, s):
    """Scale s, 0 the finest."""
    return Scale(levels[s, 0], levels[s, 1], levels[s, 2], levels[s, 3])


@inlined
def zeros(length):
    """Float32 zeros that begin with a cache line, as vectors across two cost twice."""
    array = np.zeros(length + 2 * LANES + 16, np.float32)
    return array[(-array.ctypes.data % 64) // 4 :]


@inlined
def foreseen(errors, done, guess, limit):
    """How many iterations to run until the next look at the error.

    At first most of what the same warp took last time, then as many as the error, which seldom falls by more than
    15 % an iteration, should not reach the limit in. A limit of zero is never reached.
    """
    if done == 0:
        return max(3, int(0.7 * guess))
    if limit == 0:
        return len(errors)
    return int(np.log(errors[done - 1] / limit) / -np.log(0.85))


def _settling(iterations):
    @inlined
    def settle(states, start, end, fixed, height, width, weights, inner, limit, guess, errors):
        """Inner iterations until the error is at most `limit`, from the state at `start` to that at `end`.

        OpenCV looks at the error after each. Here several run at a time, and all over from `start` if they were too
        many: `end` alone is written to. Returns their number, the last error, and how many ran in vain.
        """
        done = 0
        while done < inner and (done == 0 or errors[done - 1] > limit):
            count = max(1, min(foreseen(errors, done, guess, limit), inner - done))
            source = start if done == 0 else end
            iterations(states, source, end, fixed, height, width, count, weights, errors[done:])
            stop = done + 1
            while stop < done + count and errors[stop - 1] > limit:
                stop += 1
            if stop < done + count:
                iterations(states, start, end, fixed, height, width, stop, weights, errors)
                return stop, errors[stop - 1], done + count
            done = stop
        return done, errors[done - 1], 0

    return settle


settle, settle_with_light = _settling(iterate), _settling(iterate_with_light)


@inlined
def pack(plane, at, state, to, size, scale):
    """From a plane into every block of a state."""
    blocks = whole_rows(scale.width) // LANES
    for block in range(scale.height * blocks):
        store(state, to + block * size, load(plane, at + block * LANES))


@inlined
def unpack(state, at, size, plane, scale):
    """From the blocks of a state into a plane."""
    blocks = whole_rows(scale.width) // LANES
    for block in range(scale.height * blocks):
        store(plane, block * LANES, load(state, at + block * size))


@inlined
def build_pyramid(frame, picture, levels, ratio, buffers):
    """Float32 pictures of all scales of a frame, (H, W) uint8."""
    stride = whole_rows(levels[0, 1])
    for y in range(levels[0, 0]):
        for x in range(levels[0, 1]):
            picture[levels[0, 2] + y * stride + x] = np.float32(frame[y, x])
    for s in range(1, len(levels)):
        fine, coarse = scale_of(levels, s - 1), scale_of(levels, s)
        shape, smaller = (fine.height, fine.width), (coarse.height, coarse.width)
        resize(picture, fine.picture, shape, picture, coarse.picture, smaller, (ratio, ratio), ONE, buffers)


@inlined
def start_from(initial, field, spare, levels, scale_step, buffers):
    """The initial flow, (H, W, 2), at the coarsest scale, into the planes of `field`."""
    stride = whole_rows(levels[0, 1])
    for c in range(2):
        for y in range(levels[0, 0]):
            for x in range(levels[0, 1]):
                field[c, y * stride + x] = initial[y, x, c]
        for s in range(1, len(levels)):
            fine, coarse = scale_of(levels, s - 1), scale_of(levels, s)
            shape, smaller = (fine.height, fine.width), (coarse.height, coarse.width)
            ratios = (1 / scale_step, 1 / scale_step)
            resize(field[c], 0, shape, spare, 0, smaller, ratios, np.float32(scale_step), buffers)
            length = coarse.height * whole_rows(coarse.width)
            field[c, :length] = spare[:length]


@inlined
def smooth(state, at, size, scale, window, rows):
    """OpenCV's medianBlur of u1 and u2, none for 1."""
    for plane in (0, 3 * LANES):
        if window == 3:
            median3(state, at + plane, size, scale.height, scale.width, rows)
        elif window == 5:
            median5(state, at + plane, size, scale.height, scale.width, rows)


@compiled
def solve(frames, initial, flow, levels, settings, weights, counts, work):
    """Flow of every pair of frames.

    Args:
        frames: (T, H, W) uint8.
        initial: (T - 1, H, W, 2) float32, or of no pairs for a start from zero.
        flow: (T - 1, H, W, 2) float32, the result.
        levels: (S, 4) int64, a `Scale` a row, the finest first.
        settings: scaleStep and epsilon, float64.
        weights: tau, tau / theta, lambda * theta, gamma, float32.
        counts: warps, outerIterations, innerIterations, medianFiltering.
        work: (4,) int64, to which the cost is added; see `engine.Work`.
    """
    scale_step, epsilon = settings
    warps, outer, inner, window = counts
    third = weights[3] != 0
    planes = 9 if third else 6
    size = planes * LANES
    finest = scale_of(levels, 0)
    stride = whole_rows(finest.width)
    area = finest.height * stride
    half = levels[-1, 3] // 6 * planes + levels[-1, 0] * whole_rows(levels[-1, 1]) * planes
    pictures = (zeros(levels[-1, 2] + area), zeros(levels[-1, 2] + area))
    states, fixed = zeros(2 * half), zeros(4 * area)
    taps = zeros((finest.height + 2 * MARGIN) * (stride + 2 * MARGIN) * 4 + 4 * LANES)
    field, spare = np.zeros((3, area + LANES), np.float32), np.zeros(area + LANES, np.float32)
    lines, places = np.zeros(12 * stride, np.float32), np.zeros(stride, np.int32)
    rows = zeros(20 * (stride + 2 * LANES) + LANES)
    longest = max(finest.height, finest.width)
    buffers = (np.zeros((2, longest), np.int32), np.zeros((2, longest), np.float32), np.zeros(stride + 1, np.float32))
    errors, guesses = np.zeros(inner + 1), np.zeros(warps, np.int64)

    mode = float_mode(NO_DENORMALS)
    for t in range(len(frames)):
        image, following = pictures[(t + 1) % 2], pictures[t % 2]
        build_pyramid(frames[t], following, levels, 1 / scale_step, buffers)
        if t == 0:
            continue
        if len(initial):
            start_from(initial[t - 1], field, spare, levels, scale_step, buffers)
        else:
            field[:2] = 0
        field[2] = 0
        for s in range(len(levels) - 1, -1, -1):
            scale = scale_of(levels, s)
            height, width = scale.height, scale.width
            old = scale.state // 6 * planes
            new = half + old
            states[old : old + height * whole_rows(width) * planes] = 0
            for c in range(planes // 3):
                pack(field[c], 0, states, old + 3 * c * LANES, size, scale)
            gradients(following, scale.picture, height, width, taps)
            limit = np.float64(np.float32(epsilon * epsilon * (height * width)))
            for turn in range(warps):
                warp(taps, states, old, size, image, scale.picture, height, width, fixed, lines, places)
                work[3] += height * width
                error = np.inf
                total = 0
                for _ in range(outer):
                    if error <= limit:
                        break
                    smooth(states, old, size, scale, window, rows)
                    work[2] += height * width
                    if inner == 0:
                        continue
                    guess = guesses[turn] - total
                    if third:
                        count, error, vain = settle_with_light(
                            states, old, new, fixed, height, width, weights, inner, limit, guess, errors
                        )
                    else:
                        count, error, vain = settle(
                            states, old, new, fixed, height, width, weights, inner, limit, guess, errors
                        )
                    work[0] += height * width * count
                    work[1] += height * width * vain
                    total += count
                    old, new = new, old
                guesses[turn] = total
            for c in range(planes // 3):
                unpack(states, old + 3 * c * LANES, size, spare, scale)
                if s == 0:
                    if c < 2:
                        for y in range(height):
                            for x in range(width):
                                flow[t - 1, y, x, c] = spare[y * stride + x]
                else:
                    finer = scale_of(levels, s - 1)
                    shape, larger = (height, width), (finer.height, finer.width)
                    ratios = (height / finer.height, width / finer.width)
                    factor = np.float32(1 / scale_step) if c < 2 else ONE
                    resize(spare, 0, shape, field[c], 0, larger, ratios, factor, buffers)
    float_mode(mode)
