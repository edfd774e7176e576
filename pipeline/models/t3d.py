"""T3D: DenseNet3D with temporal transition layers. Diba et al., Temporal 3D ConvNets (arXiv 1711.08200), Table 1.

The table does not state the number of filters of a branch (128 here, as in the authors' released code), the growth (32)
and the stem's filters (64). It prints stride 1 for the stem's pooling, but its sizes need (1, 2, 2) in time, height and
width. As in the paper's Figure 1, the concatenated branches are pooled directly, without a 1x1x1 convolution between.
"""

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pipeline.models.densenet3d import DIBA_STEM, DenseNet3D, Depths
from pipeline.models.layers import SameConv3d, TimePadding

TABLE: dict[str, Depths] = {
    "t3d121": (6, 12, 24, 16),
    "t3d169": (6, 12, 32, 32),
}
# Temporal kernel depths of the three branches, for each of the three transitions.
TEMPORAL_DEPTHS = ((1, 3, 6), (1, 3, 4), (1, 3, 4))


class TemporalTransition(nn.Module):
    """Temporal transition layer: parallel branches of several temporal depths, concatenated and pooled (Figure 1).

    Each branch is BN - ReLU - convolution, with a spatial kernel of 1x1 if its temporal depth is 1, else of 3x3. Even
    depths pad as TensorFlow's SAME does, one step more after than before. The layer can be used in any 3D network, for
    example between the stages of a ResNet: `TemporalTransition(256, widths=(64, 64, 128))`.

    Args:
        inputs: number of input channels.
        depths: number of frames that each branch's kernel spans.
        widths: number of filters of each branch, or one number for all.
        pool: kernel and stride of the average pooling in time and space; 1 means no pooling.

    Attributes:
        outputs: number of output channels, the sum of the widths.
    """

    def __init__(
        self, inputs: int, depths: Sequence[int] = (1, 3, 6), widths: int | Sequence[int] = 128, pool: int = 2
    ):
        super().__init__()
        widths = [widths] * len(depths) if isinstance(widths, int) else list(widths)
        if len(widths) != len(depths) or not depths or min(depths) < 1:
            raise ValueError(f"TemporalTransition: {depths=} and {widths=} must be as many, one or more, and positive")
        self.branches = nn.ModuleList(map(self._branch, [inputs] * len(depths), depths, widths))
        self.pool = nn.AvgPool3d(pool) if pool > 1 else nn.Identity()
        self.outputs = sum(widths)

    @staticmethod
    def _branch(inputs: int, depth: int, width: int) -> nn.Sequential:
        size = 1 if depth == 1 else 3
        layers: dict[str, nn.Module] = {
            "norm": nn.BatchNorm3d(inputs),
            "relu": nn.ReLU(inplace=True),
            "conv": SameConv3d(inputs, width, (depth, size, size), bias=False),
        }
        return nn.Sequential(OrderedDict(layers))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, T, H, W) to (N, outputs, floor(T/pool), floor(H/pool), floor(W/pool))."""
        return self.pool(torch.cat([branch(x) for branch in self.branches], dim=1))


class T3D(DenseNet3D):
    """DenseNet3D whose transitions are temporal transition layers; clips of at least 15 frames of 29x29.

    Output sizes at 32 x 224 x 224: conv 16x112x112, pool and block 1 16x56x56, TTL 1 and block 2 8x28x28, TTL 2 and
    block 3 4x14x14, TTL 3 and block 4 2x7x7, followed by the mean over all places. TTL is a temporal transition layer.

    Args:
        depths: number of layers in each of the four dense blocks.
        num_classes: width of the classifier.
        in_channels: 3 for RGB, 2 for flow.
        growth: channels that each dense layer adds.
        dropout: probability of dropping a value of a dense layer's output.
        temporal_depths: for each of the three transitions, the frames that its branches' kernels span.
        branch_width: filters of each branch, or one number for each of the branches.
        time_padding: "zeros" is the published network; see `pipeline.models.layers`.
    """

    def __init__(
        self,
        depths: Depths,
        num_classes: int,
        in_channels: int = 3,
        growth: int = 32,
        dropout: float = 0.0,
        temporal_depths: Sequence[Sequence[int]] = TEMPORAL_DEPTHS,
        branch_width: int | Sequence[int] = 128,
        time_padding: TimePadding = "zeros",
    ) -> None:
        if len(temporal_depths) != 3:
            raise ValueError(f"T3D: temporal_depths has {len(temporal_depths)} entries, must have 3, one a transition")
        self.temporal_depths, self.branch_width = temporal_depths, branch_width
        super().__init__(DIBA_STEM, depths, num_classes, in_channels, growth, dropout, time_padding)

    def transition(self, channels: int, number: int) -> tuple[nn.Module, int]:
        """Build the layer before dense block `number + 1`; return it with its number of output channels."""
        layer = TemporalTransition(channels, self.temporal_depths[number - 1], self.branch_width)
        return layer, layer.outputs
