"""The temporal transition layer of Diba et al., Temporal 3D ConvNets (arXiv 1711.08200), for any 3D network.

In T3D it takes the place of DenseNet's transitions. The paper says that it can be part of any network; the option
`temporal_transitions` of the 3D ResNets, of I3D and of I3D-ResNet-50 puts one behind each stage but the last. There it
does not pool, because these networks halve their maps elsewhere. Its 3 x 128 channels are what the next stage takes.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from pipeline.models.layers import SameConv3d

# Temporal kernel depths of the three branches, for each of the three transitions: T3D, Table 1.
TEMPORAL_DEPTHS = ((1, 3, 6), (1, 3, 4), (1, 3, 4))


class TemporalTransition(nn.Module):
    """Temporal transition layer: parallel branches of several temporal depths, concatenated and pooled (Figure 1).

    Each branch is BN - ReLU - convolution, with a spatial kernel of 1x1 if its temporal depth is 1, else of 3x3. Even
    depths pad as TensorFlow's SAME does, one step more after than before.

    Args:
        inputs: number of input channels.
        depths: number of frames that each branch's kernel spans.
        widths: number of filters of each branch, or one number for all.
        pool: kernel and stride of the average pooling in time and space; 1 means no pooling.
        norm: function that builds the batch norm over a number of channels.

    Attributes:
        outputs: number of output channels, the sum of the widths.
    """

    def __init__(
        self,
        inputs: int,
        depths: Sequence[int] = (1, 3, 6),
        widths: int | Sequence[int] = 128,
        pool: int = 2,
        norm: Callable[[int], nn.Module] = nn.BatchNorm3d,
    ):
        super().__init__()
        widths = [widths] * len(depths) if isinstance(widths, int) else list(widths)
        if len(widths) != len(depths) or not depths or min(depths) < 1:
            raise ValueError(f"TemporalTransition: {depths=} and {widths=} must be as many, one or more, and positive")
        self.branches = nn.ModuleList(
            self._branch(inputs, depth, width, norm) for depth, width in zip(depths, widths, strict=True)
        )
        self.pool = nn.AvgPool3d(pool) if pool > 1 else nn.Identity()
        self.outputs = sum(widths)

    @staticmethod
    def _branch(inputs: int, depth: int, width: int, norm: Callable[[int], nn.Module]) -> nn.Sequential:
        size = 1 if depth == 1 else 3
        layers: dict[str, nn.Module] = {
            "norm": norm(inputs),
            "relu": nn.ReLU(inplace=True),
            "conv": SameConv3d(inputs, width, (depth, size, size), bias=False),
        }
        return nn.Sequential(OrderedDict(layers))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, T, H, W) to (N, outputs, floor(T/pool), floor(H/pool), floor(W/pool))."""
        return self.pool(torch.cat([branch(x) for branch in self.branches], dim=1))
