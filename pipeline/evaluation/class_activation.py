"""Class-activation maps of stored clips under the test protocol: where trained networks look."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.clips.index import ClipIndex
from pipeline.clips.normalise import normalise
from pipeline.evaluation.score_clips import inputs
from pipeline.evaluation.views import ViewSampler
from pipeline.models.activation import class_activation, map_layers, upsample


@dataclass(frozen=True)
class Attention:
    """One stream of a clip as one network saw it, with class-activation maps.

    Attributes:
        network: name of the network: rgb, flow or two_stream.
        stream: rgb or flow.
        layer: name of the layer from whose output the maps are computed.
        frames: (T, H, W, C) uint8, the centre crop; flow as quantised levels.
        maps: (classes, T, H', W') float32, at the spatial size of the layer's output; values above 0 support the class.
    """

    network: str
    stream: str
    layer: str
    frames: NDArray[np.uint8]
    maps: NDArray[np.float32]


def attention(
    name: str,
    network: nn.Module,
    sample: ViewSampler,
    index: ClipIndex,
    row: int,
    classes: Sequence[int],
    batch_size: int,
) -> list[Attention]:
    """Compute the maps of one clip for some classes; each frame has the mean over all test windows that show it.

    Args:
        name: name of the network.
        network: the network in evaluation mode, on the device on which to compute.
        sample: decoder of the views of the test, of which only the central crop is used.
        index: clips of one split.
        row: the clip's row in `index`.
        classes: indices of the classes to map.
        batch_size: number of views per forward pass.

    Returns:
        One `Attention` for each stream that the network takes.
    """
    sample = replace(sample, protocol=replace(sample.protocol, crops=1))
    streams, device = inputs(name), next(network.parameters()).device
    frames = {stream: sample(index, row, stream)[0] for stream in streams}
    places = {stream: sample.views(int(index.length(stream)[row]), stream)[1] for stream in streams}
    argument = {stream: stream if len(streams) > 1 else "x" for stream in streams}
    means = {stream: _FrameMeans(len(frames[stream])) for stream in streams}
    layers: Sequence[str] = ()
    for start in range(0, len(places[streams[0]]), batch_size):
        some = {stream: places[stream][start : start + batch_size] for stream in streams}
        clips = {
            argument[stream]: normalise(torch.from_numpy(frames[stream][some[stream]]).to(device)) for stream in streams
        }
        layers = layers or map_layers(network, clips)
        _, found = class_activation(network, clips, classes, layers)
        for stream, one in zip(streams, found, strict=True):
            means[stream].add(one.maps, some[stream])
    return [
        Attention(name, stream, layer, frames[stream], means[stream].mean())
        for stream, layer in zip(streams, layers, strict=True)
    ]


class _FrameMeans:
    """A mean over windows of the maps of each frame."""

    def __init__(self, frames: int) -> None:
        self.sums: NDArray[np.float32] | None = None
        self.shown = np.zeros(frames, np.int64)

    def add(self, maps: Tensor, windows: NDArray[np.int64]) -> None:
        """Add maps (N, classes, T', H', W') of windows (N, T), which hold frame indices."""
        values = upsample(maps, (windows.shape[1], *maps.shape[3:])).cpu().numpy().swapaxes(1, 2)
        if self.sums is None:
            self.sums = np.zeros((len(self.shown), *values.shape[2:]), np.float32)
        np.add.at(self.sums, windows, values)
        np.add.at(self.shown, windows, 1)

    def mean(self) -> NDArray[np.float32]:
        """Return the mean maps, (classes, T, H', W')."""
        assert self.sums is not None  # noqa: S101 - every protocol has at least one window
        return (self.sums / self.shown.astype(np.float32)[:, None, None, None]).swapaxes(0, 1)
