"""TV-L1 of a clip: pyramid, warps, outer and inner iterations, in OpenCV's order and with its stopping rule."""

from typing import NamedTuple

import numpy as np

from pipeline.flow.cpu.compiled import compiled, inlined
from pipeline.flow.cpu.iteration import pitch_of
from pipeline.flow.cpu.median import median3, median5
from pipeline.flow.cpu.pyramid import MARGIN, blocks_of, gradients, resize, whole_rows
from pipeline.flow.cpu.settle import LOOKS, settle
from pipeline.flow.cpu.vectors import LANES, NO_DENORMALS, ZERO, float_mode, load, splat, store
from pipeline.flow.cpu.warp import warp

ONE = np.float32(1)


class Scale(NamedTuple):
    """A scale of the pyramid: its size in pixels, and the offset at which its picture begins."""

    height: int
    width: int
    picture: int


@inlined
def scale_of(levels, s):
    """Return scale s; 0 is the finest."""
    return Scale(levels[s, 0], levels[s, 1], levels[s, 2])


@inlined
def zeros(length):
    """Return float32 zeros that begin at a cache line, because vectors across two lines cost twice as much."""
    array = np.zeros(length + 2 * LANES + 16, np.float32)
    return array[(-array.ctypes.data % 64) // 4 :]


@inlined
def pack(field, memory, to, planes, scale):
    """Fill a new state with u from the planes of `field` and with p of zero."""
    size, blocks = planes * LANES, blocks_of(scale.width)
    for y in range(scale.height):
        out = to + y * pitch_of(scale.width, size)
        for b in range(blocks):
            for c in range(planes // 3):
                store(memory, out, load(field[c], (y * blocks + b) * LANES))
                store(memory, out + LANES, splat(ZERO))
                store(memory, out + 2 * LANES, splat(ZERO))
                out += 3 * LANES


@inlined
def unpack(memory, at, size, plane, scale):
    """Copy one component from the blocks of a state into a plane."""
    pitch, blocks = pitch_of(scale.width, size), blocks_of(scale.width)
    for y in range(scale.height):
        for b in range(blocks):
            store(plane, (y * blocks + b) * LANES, load(memory, at + y * pitch + b * size))


@inlined
def unpack_flow(memory, at, size, flow, line):
    """Copy u1 and u2 from the blocks of a state into a flow, (H, W, 2); `line` is scratch for two rows."""
    height, width, _ = flow.shape
    second = whole_rows(width)
    for y in range(height):
        for b in range(blocks_of(width)):
            here = at + y * pitch_of(width, size) + b * size
            store(line, b * LANES, load(memory, here))
            store(line, second + b * LANES, load(memory, here + 3 * LANES))
        for x in range(width):
            flow[y, x, 0] = line[x]
            flow[y, x, 1] = line[second + x]


@inlined
def alike(a, b):
    """Return whether two frames, (H, W) uint8, are identical."""
    for y in range(len(a)):
        differences = 0
        for x in range(a.shape[1]):
            differences |= a[y, x] ^ b[y, x]
        if differences:
            return False
    return True


@inlined
def build_pyramid(frame, picture, levels, ratio, buffers):
    """Compute the float32 pictures of all scales of a frame, (H, W) uint8."""
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
    """Resize the initial flow, (H, W, 2), to the coarsest scale and write it into the planes of `field`."""
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
def smooth(memory, at, size, scale, window, rows):
    """Apply OpenCV's medianBlur to u1 and u2; a window of 1 changes nothing."""
    pitch = pitch_of(scale.width, size)
    for plane in (0, 3 * LANES):
        if window == 3:
            median3(memory, at + plane, pitch, size, scale.height, scale.width, rows)
        elif window == 5:
            median5(memory, at + plane, pitch, size, scale.height, scale.width, rows)


def reserve(levels, planes):
    """Return zeros for all large arrays, and the offsets at which the arrays begin.

    The arrays are two pyramids, a block whose content is not used, two states, and the output and the input of a warp.

    They are one allocation, so that it has few pages: NumPy requests huge pages for allocations of 4 MiB or more, and
    pages of 4 KiB cost 4 % of the time.
    """
    height, width, _ = levels[0].tolist()
    blocks = -(-width // LANES)
    picture = levels[-1, 2] + (height * blocks + 1) * LANES
    state = height * blocks * planes * LANES
    taps = (height + 2 * MARGIN) * (blocks * LANES + 2 * MARGIN) * 4 + 4 * LANES
    lengths = [picture, picture, planes * LANES, state, state, height * blocks * 4 * LANES, taps]
    parts = np.cumsum([0, *(-(-int(length) // LANES) * LANES for length in lengths)])
    memory = np.zeros(parts[-1] + LANES, np.float32)
    return memory[-memory.ctypes.data % 64 // 4 :], parts


@compiled
def solve(frames, initial, flow, levels, settings, weights, counts, past, work, memory, parts):
    """Compute the flow of every pair of frames.

    Args:
        frames: (T, H, W) uint8.
        initial: (T - 1, H, W, 2) float32, or an array without pairs to start from zero.
        flow: (T - 1, H, W, 2) float32 zeros, which receive the result.
        levels: (S, 3) int64, one `Scale` per row, the finest first.
        settings: scaleStep and epsilon, float64.
        weights: tau, tau / theta, lambda * theta, gamma, float32.
        counts: warps, outerIterations, innerIterations, medianFiltering.
        past: the result of `no_past`.
        work: (4,) int64, to which the cost is added; see `engine.Work`.
        memory: the zeros from `reserve`.
        parts: the offsets from `reserve`.
    """
    scale_step, epsilon = settings
    warps, outer, inner, window = counts
    third = weights[3] != 0
    planes = 9 if third else 6
    size = planes * LANES
    finest = scale_of(levels, 0)
    stride = whole_rows(finest.width)
    area = finest.height * stride
    pictures = (memory[parts[0] :], memory[parts[1] :])
    fixed, taps = memory[parts[5] :], memory[parts[6] :]
    coarsest = levels[-1, 0] * whole_rows(levels[-1, 1])
    field, spare = np.zeros((3, area + LANES), np.float32), np.zeros(area + LANES, np.float32)
    lines, places = np.zeros(12 * stride, np.float32), np.zeros(stride, np.int32)
    rows = zeros(20 * (stride + 2 * LANES) + LANES)
    longest = max(finest.height, finest.width) + LANES
    line = np.zeros(stride + 3 * LANES, np.float32)
    buffers = (np.zeros((2, longest), np.int32), np.zeros((2, longest), np.float32), line)
    errors = np.zeros((2, inner + 1))

    mode = float_mode(NO_DENORMALS)
    for t in range(len(frames)):
        image, following = pictures[(t + 1) % 2], pictures[t % 2]
        build_pyramid(frames[t], following, levels, 1 / scale_step, buffers)
        if t == 0 or (len(initial) == 0 and alike(frames[t - 1], frames[t])):
            continue  # between identical frames every iteration leaves the zero flow unchanged
        if len(initial):
            start_from(initial[t - 1], field, spare, levels, scale_step, buffers)
        else:
            field[:2, :coarsest] = 0
        field[2, :coarsest] = 0
        for s in range(len(levels) - 1, -1, -1):
            scale = scale_of(levels, s)
            height, width = scale.height, scale.width
            pitch = pitch_of(width, size)
            dump, old, new, fixed_at = parts[2], parts[3], parts[4], parts[5]
            pack(field, memory, old, planes, scale)
            gradients(following, scale.picture, height, width, taps)
            limit = np.float64(np.float32(epsilon * epsilon * (height * width)))
            for turn in range(warps):
                warp(taps, memory, old, pitch, size, image, scale.picture, height, width, fixed, lines, places)
                work[3] += height * width
                error = np.inf
                for look in range(outer):
                    if error <= limit:
                        break
                    smooth(memory, old, size, scale, window, rows)
                    work[2] += height * width
                    if inner == 0:
                        continue
                    place = (s, turn, min(look, LOOKS - 1))
                    count, error, vain = settle(
                        memory, (old, new, dump), fixed_at, (height, width), weights, inner, limit, past, place, errors
                    )
                    work[0] += height * width * count
                    work[1] += height * width * vain
                    old, new = new, old
            if s == 0:
                unpack_flow(memory, old, size, flow[t - 1], lines)
                continue
            finer = scale_of(levels, s - 1)
            shape, larger = (height, width), (finer.height, finer.width)
            ratios = (height / finer.height, width / finer.width)
            for c in range(planes // 3):
                unpack(memory, old + 3 * c * LANES, size, spare, scale)
                factor = np.float32(1 / scale_step) if c < 2 else ONE
                resize(spare, 0, shape, field[c], 0, larger, ratios, factor, buffers)
    float_mode(mode)
