"""How many inner iterations: as many as in OpenCV, which looks at the error after each; here several run at once."""

import numpy as np

from pipeline.flow.cpu.compiled import inlined
from pipeline.flow.cpu.iteration import iterate, iterate_with_light

LOOKS = 16  # outer iterations whose lengths are remembered apart


@inlined
def first_count(lengths, s, turn, look):
    """How many iterations to run before the first look at the error: half of what similar ones took.

    Similar ones are those of the pair before at this scale and of this pair at the coarser scale; else of the warp
    before. A run too long is repeated from its start, one too short goes on for little.
    """
    before, coarser = lengths[s, turn, look], lengths[s + 1, turn, look]
    least = min(before, coarser) if before and coarser else max(before, coarser)
    if least == 0 and turn:
        least = lengths[s, turn - 1, look]
    return max(3, least // 2 + 1)


@inlined
def next_count(errors, done, limit):
    """And until the next look: four fifths of what it takes if the error goes on falling as in the last three."""
    if limit == 0:
        return len(errors)
    back = min(done - 1, 3)
    fall = np.log(errors[done - 1 - back] / errors[done - 1]) / max(back, 1)
    if fall < 0.005:
        return 2
    return int(0.8 * np.log(errors[done - 1] / limit) / fall + 0.5)


def _settling(iterations):
    @inlined
    def settle(states, start, end, fixed, height, width, weights, inner, limit, first, errors):
        """Inner iterations until the error is at most `limit`, from the state at `start` to that at `end`.

        OpenCV looks at the error after each. Here several run at a time, and all over from `start` if they were too
        many: `end` alone is written to. Returns their number, the last error, and how many ran in vain.
        """
        done = 0
        while done < inner and (done == 0 or errors[done - 1] > limit):
            count = first if done == 0 else next_count(errors, done, limit)
            count = max(1, min(count, inner - done))
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
