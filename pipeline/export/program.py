"""Networks as `torch.export` programs that take uint8 clips: the normalisation is a part of the program."""

from collections.abc import Sequence

import torch
import torch.fx.experimental._config as shapes_config
from torch import Tensor, nn
from torch.export import ExportedProgram

from pipeline.clips.normalise import normalise
from pipeline.clips.streams import CHANNELS
from pipeline.export.dimensions import SNAPSHOTS, axes, dynamic_shapes
from pipeline.models.two_stream import STACK

LONG = {"batch": 2, "time": 65, "height": 232, "width": 232}
"""Lengths of open axes while a network is traced; none of them is a length of the program."""


class Uint8Network(nn.Module):
    """A network with its normalisation: clips of levels from 0 to 255 in, logits out.

    Args:
        network: a network of the registry, in evaluation mode, on the CPU.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, rgb: Tensor | None = None, flow: Tensor | None = None) -> Tensor:
        """Compute logits (N, classes) of clips rgb (N, T, H, W, 3) and flow (N, T, H, W, 2), each uint8 or None."""
        clips = {"rgb": rgb, "flow": flow}
        levels = {stream: normalise(clip) for stream, clip in clips.items() if clip is not None}
        return self.network(**levels) if len(levels) > 1 else self.network(*levels.values())


def exported(network: nn.Module, name: str, streams: Sequence[str], frames: int, size: int) -> ExportedProgram:
    """Export a network with its normalisation.

    Args:
        network: the network in evaluation mode, on the CPU.
        name: its name in the registry of networks.
        streams: streams that it takes, which are the names of the program's inputs.
        frames: number of frames of a clip if the time is not open for this network.
        size: height and width of a clip in pixels if they are not open.
    """
    # No size is treated apart from the others: otherwise a map of one step, as 3D ResNets have in time, would not do.
    with torch.no_grad(), shapes_config.patch(backed_size_oblivious=True):  # type: ignore[attr-defined]
        clips = _traced(name, streams, frames, size)
        program = torch.export.export(Uint8Network(network), (), clips, dynamic_shapes=dynamic_shapes(name, streams))
    program.example_inputs = None  # they would be stored with the program
    return program


def _traced(name: str, streams: Sequence[str], frames: int, size: int) -> dict[str, Tensor]:
    """Return a clip for tracing; its open axes are so long that no map is a special case."""
    lengths = {"batch": 2, "time": frames, "height": size, "width": size}
    lengths |= {axis.name: LONG[axis.name] for axis in axes(name) if not axis.fixed}
    clips = {}
    for stream in streams:
        batch, time, height, width = lengths.values()
        time = STACK * time if name in SNAPSHOTS and stream == "flow" else time
        clips[stream] = torch.zeros(batch, time, height, width, CHANNELS[stream], dtype=torch.uint8)
    return clips
