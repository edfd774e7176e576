"""The dimensions of a network's input that an exported program leaves open, and why the others are fixed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch.export import Dim

from pipeline.models.densenet3d import MINIMUM
from pipeline.models.registry import MODELS
from pipeline.models.two_stream import STACK

AXES = ("batch", "time", "height", "width")
"""The axes of an input (N, T, H, W, C) that may be open; the channels never are."""

_SIDES = dict.fromkeys(("height", "width"), "its first fully connected layer takes maps of one size")
FIXED: Mapping[str, Mapping[str, str]] = {
    "c3d": _SIDES,
    **{key: {"time": "its flow comes in stacks of 10 frames"} for key in ("single_stream", "fused_single_stream")},
    "convnet_lstm": {"time": "each step of its LSTM has batch norm statistics of its own, so the steps are unrolled"},
}
"""For each network with fixed axes, why each of them is fixed."""

LEAST_SIDE = 64
"""The least height and width of a program in pixels: the last maps of all networks then have two places or more, and
programs take no map of a single place."""

_FRAMES: Mapping[str, int] = {
    "i3d_resnet50": 2,
    "inflated": 16,  # with the default pacing, the last map of any backbone then has two steps, as `LEAST_SIDE` says
    "two_stream": 2,  # snapshots: its classifier sees a single place for one, see `LEAST_SIDE`
    **{name: MINIMUM[0] for name in MODELS if "densenet3d" in name or name.startswith("t3d")},
}
"""The least number of frames of each network that does not take a single one."""

SNAPSHOTS = ("two_stream", "fused_two_stream")
"""Networks that take `STACK` flow frames for each RGB frame."""


@dataclass(frozen=True)
class Axis:
    """An axis of an input.

    Attributes:
        name: one of `AXES`.
        least: the least length that the network takes.
        fixed: why an exported program takes only one length; empty if the axis is open.
    """

    name: str
    least: int = 1
    fixed: str = ""

    def __str__(self) -> str:
        return f"{self.name} fixed ({self.fixed})" if self.fixed else self.name + f" from {self.least}"


def axes(network: str) -> list[Axis]:
    """Return the axes of the inputs of a network of the registry, in the order of `AXES`."""
    least = {"time": _FRAMES.get(network, 1), "height": LEAST_SIDE, "width": LEAST_SIDE}
    fixed = FIXED.get(network, {})
    return [Axis(name, least.get(name, 1), fixed.get(name, "")) for name in AXES]


def axis_names(network: str, streams: Sequence[str]) -> dict[str, dict[int, str]]:
    """Return the names of the open axes of each input, by their places in (N, T, H, W, C).

    The streams of a network that takes both have the same batch, height and width; each has its own number of frames.
    """
    there = {place: axis.name for place, axis in enumerate(axes(network)) if not axis.fixed}
    if len(streams) == 1:
        return {streams[0]: there}
    return {
        stream: {place: f"{stream}_time" if name == "time" else name for place, name in there.items()}
        for stream in streams
    }


def dynamic_shapes(network: str, streams: Sequence[str]) -> dict[str, dict[int, Any]]:
    """Return the open axes of each input in the form that `torch.export.export` takes.

    Networks of snapshots take `STACK` flow frames for each RGB frame.
    """
    least = {axis.name: axis.least for axis in axes(network)}
    names = axis_names(network, streams)
    known = {name: Dim(name, min=least[AXES[place]]) for there in names.values() for place, name in there.items()}
    if network in SNAPSHOTS:
        known["flow_time"] = STACK * known["rgb_time"]
    return {stream: {place: known[name] for place, name in there.items()} for stream, there in names.items()}
