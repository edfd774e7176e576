"""Inner iterations, as many as in OpenCV, which checks the error after each; here several run before a check.

The inner iterations of one outer iteration are called a settling.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.flow.cpu.compiled import inlined
from pipeline.flow.cpu.iteration import iterate, iterate_with_light

LOOKS = 16  # outer iterations that are remembered separately
SHARE = 0.6  # part of the iterations of a similar settling that run before the first look at the error
REST = 0.8  # part of the expected rest that runs before the next look; running too far means repeating from the start
FLATTEST = 0.02  # smallest assumed fall of the error's logarithm per iteration
TINY = 1e-30  # replaces an error of zero


class Past(NamedTuple):
    """Record of the last settling at every scale, in every warp and outer iteration."""

    lengths: NDArray[np.int64]
    """(scales + 1, warps, LOOKS): number of iterations, 0 before the first settling."""
    known: NDArray[np.int64]
    """(scales + 1, warps, LOOKS): number of iterations whose error is known, including superfluous ones."""
    courses: NDArray[np.float64]
    """(scales + 1, warps, LOOKS, iterations): logarithm of the error divided by its limit."""


def no_past(scales: int, warps: int, inner: int) -> Past:
    """Return an empty record."""
    shape = (scales + 1, warps, LOOKS)
    return Past(np.zeros(shape, np.int64), np.zeros(shape, np.int64), np.zeros((*shape, inner)))


@inlined
def most_similar(lengths, s, turn, look):
    """Return scale and warp of the settling most like this one.

    It is that at the coarser scale if known, else that of the previous pair, else that of the previous warp.
    """
    if lengths[s + 1, turn, look]:
        return s + 1, turn
    if turn and lengths[s, turn, look] == 0:
        return s, turn - 1
    return s, turn


@inlined
def first_count(lengths, s, turn, look):
    """Return how many iterations to run before the first look at the error."""
    scale, warp = most_similar(lengths, s, turn, look)
    count = np.float64(lengths[scale, warp, look])
    if scale > s and turn and lengths[s, turn - 1, look] and lengths[scale, turn - 1, look]:
        count *= lengths[s, turn - 1, look] / lengths[scale, turn - 1, look]
    return max(3, int(SHARE * count))


@inlined
def fall_of(course, known):
    """Return by how much the logarithm of the last errors of a course fell per iteration."""
    back = min(known - 1, 4)
    return max((course[known - 1 - back] - course[known - 1]) / max(back, 1), FLATTEST)


@inlined
def next_count(own, done, course, known):
    """Return how many iterations to run before the next look at the error.

    The error is assumed to fall as in the similar settling, and at that settling's last rate beyond its end. If this
    settling is already longer than the similar one, its own last rate is used.
    """
    if known <= done:
        return int(REST * own[done - 1] / fall_of(own, done))
    above = own[done - 1] - course[done - 1]
    for count in range(done, known):
        if course[count] + above <= 0:
            return int(REST * (count + 1 - done))
    return int(REST * (known - done + (course[known - 1] + above) / fall_of(course, known)))


@inlined
def run(memory, source, states, fixed, shape, weights, count, errors):
    """Run iterations from the state `source` to the second of `states`."""
    _, end, dump = states
    height, width = shape
    if weights[3] != 0:
        iterate_with_light(memory, source, end, dump, fixed, height, width, count, weights, errors)
    else:
        iterate(memory, source, end, dump, fixed, height, width, count, weights, errors)


@inlined
def settle(memory, states, fixed, shape, weights, inner, limit, past, place, scratch):
    """Run inner iterations until the error is at most `limit`, from the state at states[0] to that at states[1].

    OpenCV looks at the error after each iteration. Here several run at a time. If they were too many, all are repeated
    from the first state, which is never written to. Return the number of iterations, the last error, and the number of
    iterations that were discarded.

    `states` and `fixed` are offsets in `memory`, as in `iterate`; the third of `states` is a block whose content is not
    used. `place` is scale, warp and outer iteration; `scratch` is (2, inner + 1) float64.
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
