"""How many inner iterations: as many as in OpenCV, which looks at the error after each; here several run at once."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.flow.cpu.compiled import inlined
from pipeline.flow.cpu.iteration import iterate, iterate_with_light

LOOKS = 16  # outer iterations that are remembered apart
SHARE = 0.6  # of the iterations that a similar settling took, before the first look at the error
REST = 0.8  # of those still expected, before the next; what runs too far is done again from the start
FLATTEST = 0.02  # fall of the error's logarithm, an iteration, that is reckoned with
TINY = 1e-30  # for an error of zero


class Past(NamedTuple):
    """Of the last settling at every scale, in every warp and outer iteration: how it went."""

    lengths: NDArray[np.int64]
    """(scales + 1, warps, LOOKS): iterations, 0 before the first."""
    known: NDArray[np.int64]
    """(scales + 1, warps, LOOKS): iterations after which the error is known, some of them in vain."""
    courses: NDArray[np.float64]
    """(scales + 1, warps, LOOKS, iterations): the logarithm of the error over its limit."""


def no_past(scales: int, warps: int, inner: int) -> Past:
    """Nothing settled yet."""
    shape = (scales + 1, warps, LOOKS)
    return Past(np.zeros(shape, np.int64), np.zeros(shape, np.int64), np.zeros((*shape, inner)))


@inlined
def most_similar(lengths, s, turn, look):
    """Scale and warp of the settling most like this one: at the coarser scale, else of the pair or the warp before."""
    if lengths[s + 1, turn, look]:
        return s + 1, turn
    if turn and lengths[s, turn, look] == 0:
        return s, turn - 1
    return s, turn


@inlined
def first_count(lengths, s, turn, look):
    """How many iterations to run before the first look at the error."""
    scale, warp = most_similar(lengths, s, turn, look)
    count = np.float64(lengths[scale, warp, look])
    if scale > s and turn and lengths[s, turn - 1, look] and lengths[scale, turn - 1, look]:
        count *= lengths[s, turn - 1, look] / lengths[scale, turn - 1, look]
    return max(3, int(SHARE * count))


@inlined
def fall_of(course, known):
    """By how much the last errors of a course fell, an iteration."""
    back = min(known - 1, 4)
    return max((course[known - 1 - back] - course[known - 1]) / max(back, 1), FLATTEST)


@inlined
def next_count(own, done, course, known):
    """And before the next: as if the error went on like that of the similar settling, where known, else like itself."""
    if known <= done:
        return int(REST * own[done - 1] / fall_of(own, done))
    above = own[done - 1] - course[done - 1]
    for count in range(done, known):
        if course[count] + above <= 0:
            return int(REST * (count + 1 - done))
    return int(REST * (known - done + (course[known - 1] + above) / fall_of(course, known)))


@inlined
def run(memory, source, states, fixed, shape, weights, count, errors):
    """Iterations from one state to the second of `states`."""
    _, end, dump = states
    height, width = shape
    if weights[3] != 0:
        iterate_with_light(memory, source, end, dump, fixed, height, width, count, weights, errors)
    else:
        iterate(memory, source, end, dump, fixed, height, width, count, weights, errors)


@inlined
def settle(memory, states, fixed, shape, weights, inner, limit, past, place, scratch):
    """Inner iterations until the error is at most `limit`, from the state at states[0] to that at states[1].

    OpenCV looks at the error after each. Here several run at a time, and all over from the first state if they were too
    many: the second alone is written to. Returns their number, the last error, and how many ran in vain.

    The two states, and a block to waste behind them, and `fixed` are offsets in `memory`, as in `iterate`; `place` is
    scale, warp and outer iteration; `scratch` (2, inner + 1) float64.
    """
    start, end, _ = states
    s, turn, look = place
    errors, own = scratch[0], scratch[1]
    scale, warp = most_similar(past.lengths, s, turn, look)
    course, known = past.courses[scale, warp, look], past.known[scale, warp, look]
    done = ran = vain = 0
    while done < inner and (done == 0 or errors[done - 1] > limit):
        count = inner
        if limit > 0:
            count = first_count(past.lengths, s, turn, look) if done == 0 else next_count(own, done, course, known)
        count = max(1, min(count, inner - done))
        run(memory, end if done else start, states, fixed, shape, weights, count, errors[done:])
        ran = done + count
        done += 1
        while done < ran and errors[done - 1] > limit:
            done += 1
        if done < ran:
            vain = ran
            run(memory, start, states, fixed, shape, weights, done, errors)
        if limit > 0:
            for k in range(ran):
                own[k] = np.log(max(errors[k], TINY) / limit)
    past.lengths[s, turn, look], past.known[s, turn, look] = done, ran
    past.courses[s, turn, look, :ran] = own[:ran]
    return done, errors[done - 1], vain
