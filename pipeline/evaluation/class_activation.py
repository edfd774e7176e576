"""Where trained networks look: class-activation maps of stored clips, under the protocol of the test."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.clips.index import ClipIndex
from pipeline.clips.normalise import normalise
from pipeline.config import Config
from pipeline.evaluation.protocols import protocol_of
from pipeline.evaluation.score_clips import inputs
from pipeline.evaluation.views import ViewSampler
from pipeline.models.activation import class_activation, map_layers, upsample


@dataclass(frozen=True)
class Attention:
    """What one network was shown of one stream of a clip, and where that spoke for some classes.

    Attributes:
        network: its name: rgb, flow or two_stream.
        stream: rgb or flow.
        layer: whose output the maps are made of.
        frames: (T, H, W, C) uint8, the centre crop; flow as quantised levels.
        maps: (classes, T, H', W') float32, as coarse in space as the layer is; above 0 what speaks for the class.
    """

    network: str
    stream: str
    layer: str
    frames: NDArray[np.uint8]
    maps: NDArray[np.float32]


def attention(
    config: Config, name: str, network: nn.Module, index: ClipIndex, row: int, classes: Sequence[int]
) -> list[Attention]:
    """Maps of one clip for some classes, the mean over all windows of the test that show a frame.

    Args:
        config: resolved; its clip size, protocol and size of batches are used.
        name: the name of the network.
        network: in evaluation mode, on the device that is to compute.
        index: where the clip is.
        row: the row of the clip.
        classes: whose maps are wanted.

    Returns:
        One for each stream that the network takes.
    """
    sample = ViewSampler(config.clips, replace(protocol_of(config.evaluation, config.model), crops=1))
    streams, device, size = inputs(name), next(network.parameters()).device, config.evaluation.batch_size
    frames = {stream: sample(index, row, stream)[0] for stream in streams}
    places = {stream: sample.views(int(index.length(stream)[row]), stream)[1] for stream in streams}
    argument = {stream: stream if len(streams) > 1 else "x" for stream in streams}
    means = {stream: _FrameMeans(len(frames[stream])) for stream in streams}
    layers: Sequence[str] = ()
    for start in range(0, len(places[streams[0]]), size):
        some = {stream: places[stream][start : start + size] for stream in streams}
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
    """Maps of windows, brought to their frames and averaged there."""

    def __init__(self, frames: int) -> None:
        self.sums: NDArray[np.float32] | None = None
        self.shown = np.zeros(frames, np.int64)

    def add(self, maps: Tensor, windows: NDArray[np.int64]) -> None:
        """Maps (N, classes, T', H', W') of windows (N, T)."""
        values = upsample(maps, (windows.shape[1], *maps.shape[3:])).cpu().numpy().swapaxes(1, 2)
        if self.sums is None:
            self.sums = np.zeros((len(self.shown), *values.shape[2:]), np.float32)
        np.add.at(self.sums, windows, values)
        np.add.at(self.shown, windows, 1)

    def mean(self) -> NDArray[np.float32]:
        """(classes, T, H', W')."""
        assert self.sums is not None  # noqa: S101 - every protocol has a window
        return (self.sums / self.shown.astype(np.float32)[:, None, None, None]).swapaxes(0, 1)
