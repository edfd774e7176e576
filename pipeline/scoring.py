"""Scores of a clip from its views: the same arithmetic in the test and in a registered model."""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.clips.normalise import normalise
from pipeline.clips.protocols import Average


@torch.inference_mode()
def score_views(
    network: torch.nn.Module,
    frames: Mapping[str, NDArray[np.uint8]],
    places: Mapping[str, NDArray[np.int64]],
    average: Average,
    batch_size: int,
    device: torch.device | str = "cpu",
) -> NDArray[np.float32]:
    """Cut views a batch at a time, score them, and average those of each clip.

    Args:
        network: in evaluation mode, on `device`.
        frames: of each stream that it takes, (N, crops, shown, H, W, C) uint8.
        places: of each stream, what each window shows of these, (windows, T); the same for all clips.
        average: logits or softmax.
        batch_size: views a forward pass.
        device: that computes.

    Returns:
        (N, classes) float32, as `mean_scores` has them.
    """
    shown = {stream: torch.from_numpy(np.ascontiguousarray(each)) for stream, each in frames.items()}
    windows = {stream: torch.from_numpy(each) for stream, each in places.items()}
    (clips, crops), count = next(iter(shown.values())).shape[:2], len(next(iter(windows.values())))
    logits = []
    views = list(itertools.product(range(clips), range(crops), range(count)))
    for start in range(0, len(views), batch_size):
        some = views[start : start + batch_size]
        seen = {
            stream: normalise(torch.stack([each[n, c, windows[stream][w]] for n, c, w in some]).to(device))
            for stream, each in shown.items()
        }
        output = network(**seen) if len(seen) > 1 else network(*seen.values())
        logits.append(output.float().cpu().numpy())
    by_clip = np.concatenate(logits).reshape(clips, crops * count, -1)
    return mean_scores(by_clip.swapaxes(0, 1), average)


def mean_scores(scores: NDArray[np.float32], average: Average, weights: Sequence[float] = ()) -> NDArray[np.float32]:
    """The mean over the first axis, in float64.

    Args:
        scores: (K, ..., classes) logits of K views or streams.
        average: logits; or softmax, the logarithm of the mean probabilities, whose softmax they are.
        weights: (K,); equal where empty.
    """
    values = scores.astype(np.float64)
    shares = np.asarray(weights if len(weights) else [1.0] * len(scores), np.float64)
    shares = (shares / shares.sum()).reshape(-1, *[1] * (scores.ndim - 1))
    if average == "logits":
        return (values * shares).sum(axis=0).astype(np.float32)
    values -= np.logaddexp.reduce(values, axis=-1, keepdims=True)
    with np.errstate(divide="ignore"):  # a weight of 0
        return np.logaddexp.reduce(values + np.log(shares), axis=0).astype(np.float32)
