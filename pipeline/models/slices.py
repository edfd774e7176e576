"""A long clip through I3D a slice at a time: the logits of the whole clip, in the memory of a slice.

I3D takes a whole clip and averages its logits over time. Each step of these sees no more than 110 frames, so that
slices which overlap by as many, and begin where the strides do (every 8 frames), give the same steps as the whole clip.
SAME padding depends on the parity of a length: all slices are as long as the clip up to multiples of 8.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from pipeline.models.i3d import I3D, TwoStreamI3D

LONGEST = 512
"""Frames of a slice. A clip of no more goes through the network at once; of 224 x 224 that takes 3 GB."""

STRIDE = 8  # frames from one step of the logits to the next
BEFORE, BEHIND = 47, 62  # step j sees the frames from 8 j - BEFORE to 8 j + BEHIND


@dataclass(frozen=True)
class Slice:
    """Frames that go through the network together.

    Attributes:
        frames: the frames of the clip.
        steps: the steps of the slice's own logits over time, those that are the clip's.
    """

    frames: slice
    steps: slice


def slices(length: int, longest: int = LONGEST) -> list[Slice]:
    """Slices of a clip whose steps are together those of the clip, each once and in their order.

    Args:
        length: frames of the clip.
        longest: frames of a slice, more than 128 + 2 * 8.
    """
    if length <= longest:
        return [Slice(slice(0, length), slice(None))]
    found: list[Slice] = []
    size = (longest - length % STRIDE) // STRIDE * STRIDE + length % STRIDE
    skipped = -(-BEFORE // STRIDE)  # steps at the beginning of a slice that see what is not there
    start = 0
    while start + size < length:
        last = (size - 1 - BEHIND) // STRIDE  # the last step that sees no frame behind the slice
        first = skipped if start else 0
        found.append(Slice(slice(start, start + size), slice(first, last + 1)))
        start += (last + 1 - skipped) * STRIDE
    return [*found, Slice(slice(start, length), slice(skipped, None))]


def sliceable(network: nn.Module, streams: Sequence[str]) -> dict[str, I3D]:
    """The I3D of each stream whose logits over time make, averaged, those of a network; empty for other networks."""
    if isinstance(network, TwoStreamI3D):
        return {"rgb": network.rgb, "flow": network.flow}
    return dict.fromkeys(streams, network) if isinstance(network, I3D) else {}
