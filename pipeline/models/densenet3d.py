"""3D DenseNets of two papers, which differ in the stem.

DenseNet3D of Diba et al., Temporal 3D ConvNets (arXiv 1711.08200), Table 1, has a 3x7x7 convolution with stride 2, then
a pooling with stride 1 in time. The DenseNet of Hara et al. (arXiv 1711.09577), section 3.2, has a 7x7x7 convolution
with stride 1 in time, then a pooling with stride 2. Both are DenseNet-BC: growth 32, bottleneck 4 x growth, half the
channels after each transition. Module names are torchvision's.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.models.checks import check_clip
from pipeline.models.layers import Conv3d, TimePadding, Triple, set_time_padding

Depths = tuple[int, int, int, int]

MINIMUM: Triple = (15, 29, 29)  # the smallest clip that leaves one step after the stem and three halvings


@dataclass(frozen=True)
class Stem:
    """Convolution of 64 filters and 3x3x3 max pooling, padded by half the kernel; sizes are (time, height, width)."""

    kernel: Triple
    stride: Triple
    pool_stride: Triple

    @property
    def padding(self) -> Triple:
        """Return half the kernel size."""
        time, height, width = self.kernel
        return time // 2, height // 2, width // 2


DIBA_STEM = Stem(kernel=(3, 7, 7), stride=(2, 2, 2), pool_stride=(1, 2, 2))
HARA_STEM = Stem(kernel=(7, 7, 7), stride=(1, 2, 2), pool_stride=(2, 2, 2))

TABLE: dict[str, tuple[Stem, Depths]] = {
    "densenet3d121": (DIBA_STEM, (6, 12, 24, 16)),
    "densenet3d169": (DIBA_STEM, (6, 12, 32, 32)),
    "hara_densenet3d121": (HARA_STEM, (6, 12, 24, 16)),
    "hara_densenet3d201": (HARA_STEM, (6, 12, 48, 32)),
}


class DenseLayer(nn.Module):
    """BN - ReLU - conv 1x1x1 - BN - ReLU - conv 3x3x3; the output is concatenated to the input."""

    def __init__(self, inputs: int, growth: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm3d(inputs)
        self.conv1 = nn.Conv3d(inputs, 4 * growth, 1, bias=False)
        self.norm2 = nn.BatchNorm3d(4 * growth)
        self.conv2 = Conv3d(4 * growth, growth, 3, padding=1, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, T, H, W) to (N, C + growth, T, H, W)."""
        y = self.conv1(F.relu(self.norm1(x), inplace=True))
        y = self.conv2(F.relu(self.norm2(y), inplace=True))
        return torch.cat([x, self.dropout(y)], dim=1)


class DenseBlock(nn.Sequential):
    """Dense layers, each of which takes the outputs of all layers before it."""

    def __init__(self, inputs: int, depth: int, growth: int, dropout: float) -> None:
        layers = [DenseLayer(inputs + i * growth, growth, dropout) for i in range(depth)]
        super().__init__(OrderedDict((f"denselayer{i}", layer) for i, layer in enumerate(layers, start=1)))


class Transition(nn.Sequential):
    """BN - ReLU - conv 1x1x1 - average pooling 2x2x2 with stride 2."""

    def __init__(self, inputs: int, outputs: int) -> None:
        layers: dict[str, nn.Module] = {
            "norm": nn.BatchNorm3d(inputs),
            "relu": nn.ReLU(inplace=True),
            "conv": nn.Conv3d(inputs, outputs, 1, bias=False),
            "pool": nn.AvgPool3d(2),
        }
        super().__init__(OrderedDict(layers))


class DenseNet3D(nn.Module):
    """A 3D DenseNet for clips of at least 15 frames of 29x29.

    Output sizes at 32 x 224 x 224 with `DIBA_STEM`: conv 16x112x112, pool and block 1 16x56x56, block 2 8x28x28,
    block 3 4x14x14, block 4 2x7x7; at 16 x 112 x 112 with `HARA_STEM`: 16x56x56, 8x28x28, 4x14x14, 2x7x7, 1x3x3.

    Args:
        stem: `DIBA_STEM` or `HARA_STEM`.
        depths: number of layers in each of the four dense blocks.
        num_classes: width of the classifier.
        in_channels: 3 for RGB, 2 for flow.
        growth: channels that each dense layer adds.
        dropout: probability of dropping a value of a dense layer's output.
        time_padding: "zeros" is the published network; see `pipeline.models.layers`.
    """

    trunks: ClassVar[tuple[str, ...]] = ("",)
    head: ClassVar[str] = "classifier"

    def __init__(
        self,
        stem: Stem,
        depths: Depths,
        num_classes: int,
        in_channels: int = 3,
        growth: int = 32,
        dropout: float = 0.0,
        time_padding: TimePadding = "zeros",
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.features = nn.Sequential()
        conv = Conv3d(in_channels, 64, stem.kernel, stem.stride, stem.padding, bias=False)
        self.features.add_module("conv0", conv)
        self.features.add_module("norm0", nn.BatchNorm3d(64))
        self.features.add_module("relu0", nn.ReLU(inplace=True))
        self.features.add_module("pool0", nn.MaxPool3d(3, stem.pool_stride, padding=1))
        channels = 64
        for i, depth in enumerate(depths):
            if i > 0:
                transition, channels = self.transition(channels, i)
                self.features.add_module(f"transition{i}", transition)
            self.features.add_module(f"denseblock{i + 1}", DenseBlock(channels, depth, growth, dropout))
            channels += depth * growth
        self.features.add_module("norm5", nn.BatchNorm3d(channels))
        self.classifier = nn.Linear(channels, num_classes)
        self.apply(init_weights)
        set_time_padding(self, time_padding)

    def transition(self, channels: int, number: int) -> tuple[nn.Module, int]:  # noqa: ARG002
        """Build the layer before dense block `number + 1`; return it with its number of output channels."""
        return Transition(channels, channels // 2), channels // 2

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits (N, num_classes) of a clip (N, C, T, H, W)."""
        return self.classifier(self.pooled_features(x))

    def pooled_features(self, x: Tensor) -> Tensor:
        """Compute the classifier's input (N, C') from a clip (N, C, T, H, W)."""
        check_clip("3D DenseNet", x, self.in_channels, MINIMUM)
        return self.pool(F.relu(self.features(x), inplace=True), x)

    def pool(self, x: Tensor, clip: Tensor) -> Tensor:  # noqa: ARG002
        """Average the last map (N, C, T', H', W') over time and space to (N, C); `clip` is the network's input."""
        return x.mean(dim=(2, 3, 4))


class HaraDenseNet3D(DenseNet3D):
    """A DenseNet of Hara et al.; its options are those of `DenseNet3D` without `growth`, and `pool_all`.

    The published code averages over floor(size / 32) places per side. That is all of them unless the size is 29, 30 or
    31 above a multiple of 32; then the last row and column are left out.

    Args:
        stem: `DIBA_STEM` or `HARA_STEM`.
        depths: number of layers in each of the four dense blocks.
        num_classes: width of the classifier.
        in_channels: 3 for RGB, 2 for flow.
        dropout: probability of dropping a value of a dense layer's output.
        time_padding: see `pipeline.models.layers`.
        pool_all: whether to average over all places at any size.
    """

    def __init__(
        self,
        stem: Stem,
        depths: Depths,
        num_classes: int,
        in_channels: int = 3,
        dropout: float = 0.0,
        time_padding: TimePadding = "zeros",
        pool_all: bool = False,
    ) -> None:
        super().__init__(stem, depths, num_classes, in_channels, dropout=dropout, time_padding=time_padding)
        self.pool_all = pool_all

    def pool(self, x: Tensor, clip: Tensor) -> Tensor:
        """Average the last map (N, C, T', H', W') to (N, C), by default over the same places as the published code."""
        if not self.pool_all:
            rows, columns = (torch.sym_max(side // 32, 1) for side in clip.shape[3:])
            x = x[..., :rows, :columns]
        return super().pool(x, clip)


def init_weights(module: nn.Module) -> None:
    """Initialise convolutions by He's rule with fan-out; leave batch norm and the classifier to torch."""
    if isinstance(module, nn.Conv3d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
