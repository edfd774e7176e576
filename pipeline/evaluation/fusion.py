"""Combination of the stored scores of several runs that were tested on the same clips, for their late fusion.

`fuse` collects the scores as streams of one `Scores`. The average over the streams is `scoring.mean_scores`, which
`Scores.all_logits` uses. The learned fusion of two streams is a network: 3D-Fused in `pipeline/models/two_stream.py`.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.protocols import Average
from pipeline.evaluation.scores import FUSED, Scores, ScoresError


def fuse(parts: Sequence[Scores], average: Average = "logits", weights: Sequence[float] = ()) -> Scores:
    """Combine the scores of several runs, as streams of one `Scores`.

    Args:
        parts: scores of the same clips, in any order. If two parts have a stream of the same name, the second is
            numbered: rgb, rgb_2.
        average: what the fusion averages: logits or softmax.
        weights: weight of each stream in the fusion, in the order of the streams; empty for equal weights.

    Raises:
        ScoresError: the parts are not of the same clips, or there is not one weight for each stream.
    """
    first, seen = parts[0], Counter({FUSED: 1})  # this name is reserved for the fusion
    order = np.argsort(first.clip_ids)
    streams: dict[str, NDArray[np.float32]] = {}
    for number, part in enumerate(parts, start=1):
        for field in ("digest", "split", "labels"):
            one, other = getattr(first, field), getattr(part, field)
            if one != other:
                shown = f"{len(one)} and {len(other)}, or other ones" if field == "labels" else f"{one} and {other}"
                raise ScoresError(f"fusion of scores 1 and {number}: different {field}: {shown}")
        place = np.argsort(part.clip_ids)
        if not np.array_equal(first.clip_ids[order], part.clip_ids[place]):
            odd = len(np.setxor1d(first.clip_ids, part.clip_ids))
            raise ScoresError(f"fusion of scores 1 and {number}: {odd} clips are in one of them only")
        if not np.array_equal(first.targets[order], part.targets[place]):
            raise ScoresError(f"fusion of scores 1 and {number}: the same clips have different labels")
        for stream, logits in part.logits.items():
            seen[stream] += 1
            streams[stream if seen[stream] == 1 else f"{stream}_{seen[stream]}"] = logits[place]
    if weights and (len(weights) != len(streams) or min(weights) < 0 or not sum(weights) > 0):
        raise ScoresError(
            f"weights: {','.join(map(str, weights))} for {', '.join(streams)}; give one for each, not all 0"
        )
    return replace(
        first,
        clip_ids=first.clip_ids[order],
        targets=first.targets[order],
        logits=streams,
        protocol="; ".join(dict.fromkeys(part.protocol for part in parts)),
        average=average,
        weights=tuple(weights),
    )
