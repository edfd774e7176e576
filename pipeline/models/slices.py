"""I3D on a long clip one slice at a time: the logits of the whole clip with the memory of a slice.

I3D takes a whole clip and averages its logits over time. Each step of the logits sees at most 110 frames. Slices that
overlap enough and begin at multiples of the stride (8 frames) therefore give the same steps as the whole clip. SAME
padding depends on the parity of a length, so the lengths of all slices equal that of the clip modulo 8.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from pipeline.models.i3d import I3D, TwoStreamI3D

LONGEST = 512
"""Most frames of a slice. A clip with no more frames is not cut; at 224 x 224 pixels such a clip takes 3 GB."""

STRIDE = 8  # frames from one step of the logits to the next
BEFORE, BEHIND = 47, 62  # step j sees the frames from 8 j - BEFORE to 8 j + BEHIND


@dataclass(frozen=True)
class Slice:
    """Frames that go through the network together.

    Attributes:
        frames: the slice's frames within the clip.
        steps: those steps of the slice's logits over time that equal steps of the whole clip.
    """

    frames: slice
    steps: slice


def slices(length: int, longest: int = LONGEST) -> list[Slice]:
    """Cut a clip into slices whose steps, taken together, are those of the clip, each once and in order.

    Args:
        length: number of frames of the clip.
        longest: largest number of frames of a slice, at least 128 + 2 * 8.
    """
    if length <= longest:
        return [Slice(slice(0, length), slice(None))]
    found: list[Slice] = []
    size = (longest - length % STRIDE) // STRIDE * STRIDE + length % STRIDE
    skipped = -(-BEFORE // STRIDE)  # first steps of a slice, which see frames before it
    start = 0
    while start + size < length:
        last = (size - 1 - BEHIND) // STRIDE  # the last step that sees no frame after the slice
        first = skipped if start else 0
        found.append(Slice(slice(start, start + size), slice(first, last + 1)))
        start += (last + 1 - skipped) * STRIDE
    return [*found, Slice(slice(start, length), slice(skipped, None))]


def sliceable(network: nn.Module, streams: Sequence[str]) -> dict[str, I3D]:
    """Return, for each stream, the I3D whose averaged logits over time are the network's; empty for other networks.

    With temporal transitions a step sees more frames than `BEFORE` and `BEHIND` say, so these networks are others.
    """
    if isinstance(network, TwoStreamI3D):
        found = {"rgb": network.rgb, "flow": network.flow}
    elif isinstance(network, I3D):
        found = dict.fromkeys(streams, network)
    else:
        return {}
    return {} if any(each.temporal_transitions for each in found.values()) else found
