"""Scores of a clip from its views, by the same arithmetic in the test and in a registered model."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.clips.normalise import normalise
from pipeline.evaluation.protocols import Average
from pipeline.models.i3d import I3D
from pipeline.models.slices import LONGEST, sliceable, slices

Device = torch.device | str


class Frames(Protocol):
    """Frames of some clips, (N, crops, shown, H, W, C) uint8: an array, or an object that cuts a view on request."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape, which begins with the numbers of clips, crops and shown frames."""

    def __getitem__(self, view: tuple[int, int, NDArray[np.int64]]) -> NDArray[np.uint8]:
        """Return the view, (T, H, W, C), of a clip, a crop and places among the shown frames, (T,)."""


View = Mapping[str, tuple[Frames, int, int, NDArray[np.int64]]]
"""For each stream: frames of some clips, the number of the clip and of the crop, and places among the shown frames."""


@torch.inference_mode()
def score_views(
    network: torch.nn.Module,
    frames: Mapping[str, Frames],
    places: Mapping[str, NDArray[np.int64]],
    average: Average,
    batch_size: int,
    device: Device = "cpu",
) -> NDArray[np.float32]:
    """Cut views a batch at a time, score them, and average those of each clip.

    Views of more than `LONGEST` frames go through I3D one at a time and in slices, so that memory does not grow with
    their length.

    Args:
        network: the network in evaluation mode, on `device`.
        frames: frames of each stream that the network takes.
        places: for each stream, the places of each window among the shown frames, (windows, T); the same for all clips.
        average: what is averaged: logits or softmax.
        batch_size: number of views in a forward pass.
        device: the device on which to compute.

    Returns:
        (N, classes) float32 scores, as `mean_scores` returns them.
    """
    (clips, crops), count = next(iter(frames.values())).shape[:2], len(next(iter(places.values())))
    views = [
        {stream: (frames[stream], n, c, windows[w]) for stream, windows in places.items()}
        for n, c, w in itertools.product(range(clips), range(crops), range(count))
    ]
    parts = sliceable(network, list(places))
    if parts and max(windows.shape[1] for windows in places.values()) > LONGEST:
        logits = [_in_slices(parts, view, device) for view in views]
    else:
        batches = [views[start : start + batch_size] for start in range(0, len(views), batch_size)]
        logits = [_at_once(network, batch, device) for batch in batches]
    by_clip = np.concatenate(logits).reshape(clips, crops * count, -1)
    return mean_scores(by_clip.swapaxes(0, 1), average)


def _at_once(network: torch.nn.Module, views: Sequence[View], device: Device) -> NDArray[np.float32]:
    """Compute the logits, (N, classes), of some views in one batch."""
    cut = {
        stream: _tensor([frames[n, c, window] for frames, n, c, window in (view[stream] for view in views)], device)
        for stream in views[0]
    }
    output: torch.Tensor = network(**cut) if len(cut) > 1 else network(*cut.values())
    return output.float().cpu().numpy()


def _in_slices(parts: Mapping[str, I3D], view: View, device: Device) -> NDArray[np.float32]:
    """Compute the logits, (1, classes), of one view, averaged over time and then over the streams."""
    logits = []
    for stream, network in parts.items():
        frames, n, c, window = view[stream]
        steps = []
        for part in slices(len(window)):
            over_time = network.logits_over_time(_tensor([frames[n, c, window[part.frames]]], device))
            steps.append(over_time[..., part.steps].float().cpu().numpy())
        logits.append(np.concatenate(steps, axis=2).mean(axis=2))
    return np.mean(logits, axis=0)


def _tensor(windows: Sequence[NDArray[np.uint8]], device: Device) -> torch.Tensor:
    """Convert windows, each (T, H, W, C) uint8, to the input of a network, (N, C, T, H, W)."""
    return normalise(torch.from_numpy(np.stack(windows)).to(device))


def mean_scores(scores: NDArray[np.float32], average: Average, weights: Sequence[float] = ()) -> NDArray[np.float32]:
    """Average over the first axis, in float64.

    Args:
        scores: (K, ..., classes) logits of K views or streams.
        average: logits, for their mean; or softmax, for the logarithm of the mean probabilities.
        weights: (K,) weights; empty for equal weights.
    """
    values = scores.astype(np.float64)
    shares = np.asarray(weights if len(weights) else [1.0] * len(scores), np.float64)
    shares = (shares / shares.sum()).reshape(-1, *[1] * (scores.ndim - 1))
    if average == "logits":
        return (values * shares).sum(axis=0).astype(np.float32)
    values -= np.logaddexp.reduce(values, axis=-1, keepdims=True)
    with np.errstate(divide="ignore"):  # a weight may be 0
        return np.logaddexp.reduce(values + np.log(shares), axis=0).astype(np.float32)
