"""Segments with consensus: a network is trained on the mean of its logits over several windows of a clip.

Temporal Segment Networks (Wang et al., arXiv 1608.00859, section 3.1). What is stored and tested is the network itself.
"""

from torch import Tensor, nn


class Consensus(nn.Module):
    """The network as it is trained: it sees the windows of a clip one by one, and averages their logits.

    Args:
        network: network that takes clips (N, C, T, H, W) and returns logits (N, classes, ...).
        segments: number S of windows of each clip.
    """

    def __init__(self, network: nn.Module, segments: int) -> None:
        super().__init__()
        self.network, self.segments = network, segments

    def forward(self, *clips: Tensor, **options: object) -> Tensor:
        """Compute logits (N, classes, ...) of clips (N, C, S T, H, W), whose windows follow each other in time."""
        logits: Tensor = self.network(*(self._apart(clip) for clip in clips), **options)
        return logits.unflatten(0, (-1, self.segments)).mean(dim=1)

    def _apart(self, x: Tensor) -> Tensor:
        return x.unflatten(2, (self.segments, -1)).transpose(1, 2).flatten(0, 1)


def with_consensus(network: nn.Module, segments: int) -> nn.Module:
    """Return the network that a training with so many segments calls: itself for one."""
    return network if segments == 1 else Consensus(network, segments)
