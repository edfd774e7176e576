"""T3D: DenseNet3D with temporal transition layers. Diba et al., Temporal 3D ConvNets (arXiv 1711.08200), Table 1.

The table does not state the number of filters of a branch (128 here, as in the authors' released code), the growth (32)
and the stem's filters (64). It prints stride 1 for the stem's pooling, but its sizes need (1, 2, 2) in time, height and
width. As in the paper's Figure 1, the concatenated branches are pooled directly, without a 1x1x1 convolution between.
"""

from collections.abc import Sequence

from torch import nn

from pipeline.models.densenet3d import DIBA_STEM, DenseNet3D, Depths
from pipeline.models.layers import TimePadding
from pipeline.models.temporal_transition import TEMPORAL_DEPTHS, TemporalTransition

TABLE: dict[str, Depths] = {
    "t3d121": (6, 12, 24, 16),
    "t3d169": (6, 12, 32, 32),
}


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
