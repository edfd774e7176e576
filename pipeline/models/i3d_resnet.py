"""I3D on ResNet-50, the network that most of today's model zoos call "I3D".

It is that of Wang et al., Non-local Neural Networks (arXiv 1711.07971), Table 1 and section 4, as PySlowFast and
pytorchvideo build it: a ResNet-50 whose first convolution spans 5 frames, and in which every second 1x1 reduction
(every one in res2) spans 3 frames. Module names are torchvision's, so a 2D ResNet-50 can be inflated name by name.
"""

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.models.checks import check_clip
from pipeline.models.layers import Conv3d, TimePadding, set_time_padding
from pipeline.models.resnet3d import init_weights
from pipeline.models.temporal_transition import TEMPORAL_DEPTHS, TemporalTransition

# Channels inside the blocks, spatial stride, and the frames that the first convolution of each block spans.
# The comments give the output for 8 frames of 224x224; conv1 and the first pooling give 8 x 56 x 56.
TABLE: dict[str, tuple[int, int, tuple[int, ...]]] = {
    "layer1": (64, 1, (3, 3, 3)),  # res2: 8 x 56 x 56, then pooling over two frames: 4 x 56 x 56
    "layer2": (128, 2, (3, 1, 3, 1)),  # res3: 4 x 28 x 28
    "layer3": (256, 2, (3, 1, 3, 1, 3, 1)),  # res4: 4 x 14 x 14
    "layer4": (512, 2, (1, 3, 1)),  # res5: 4 x 7 x 7
}


class InflatedBottleneck(nn.Module):
    """conv Tx1x1 - conv 1x3x3 (stride) - conv 1x1x1, each with BN and ReLU, plus shortcut before the last ReLU."""

    def __init__(self, inputs: int, width: int, depth: int, stride: int) -> None:
        super().__init__()
        outputs = 4 * width
        self.conv1 = Conv3d(inputs, width, (depth, 1, 1), padding=(depth // 2, 0, 0), bias=False)
        self.bn1 = nn.BatchNorm3d(width)
        self.conv2 = Conv3d(width, width, (1, 3, 3), (1, stride, stride), padding=(0, 1, 1), bias=False)
        self.bn2 = nn.BatchNorm3d(width)
        self.conv3 = nn.Conv3d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm3d(outputs)
        self.downsample = None
        if stride > 1 or inputs != outputs:
            conv = nn.Conv3d(inputs, outputs, 1, (1, stride, stride), bias=False)
            self.downsample = nn.Sequential(conv, nn.BatchNorm3d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, T, H, W) to (N, C', T, H', W')."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        x = F.relu(self.bn2(self.conv2(x)), inplace=True)
        return F.relu(self.bn3(self.conv3(x)) + shortcut, inplace=True)


class I3DResNet50(nn.Module):
    """ResNet-50 I3D, for clips of at least two frames.

    Args:
        num_classes: width of the classifier.
        in_channels: 3 for RGB, 2 for flow.
        dropout: probability of dropping a feature before the classifier.
        time_padding: "zeros" is the published network; see `pipeline.models.layers`.
        temporal_transitions: whether a temporal transition layer follows res2, res3 and res4; see
            `pipeline.models.temporal_transition`.
    """

    trunks: ClassVar[tuple[str, ...]] = ("",)
    head: ClassVar[str] = "fc"

    def __init__(
        self,
        num_classes: int,
        in_channels: int = 3,
        dropout: float = 0.5,
        time_padding: TimePadding = "zeros",
        temporal_transitions: bool = False,
    ) -> None:
        super().__init__()
        self.in_channels, self.transitions = in_channels, 3 if temporal_transitions else 0
        self.conv1 = Conv3d(in_channels, 64, (5, 7, 7), (1, 2, 2), padding=(2, 3, 3), bias=False)
        self.bn1 = nn.BatchNorm3d(64)
        self.maxpool = nn.MaxPool3d((1, 3, 3), (1, 2, 2), padding=(0, 1, 1))
        channels = 64
        for number, (name, (width, stride, depths)) in enumerate(TABLE.items(), start=1):
            stage = nn.Sequential()
            for i, depth in enumerate(depths):
                stage.append(InflatedBottleneck(channels, width, depth, stride if i == 0 else 1))
                channels = 4 * width
            self.add_module(name, stage)
            if number <= self.transitions:
                layer = TemporalTransition(channels, TEMPORAL_DEPTHS[number - 1], pool=1)
                self.add_module(f"transition{number}", layer)
                channels = layer.outputs
        self.pool2 = nn.MaxPool3d((2, 1, 1))
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(channels, num_classes)
        self.apply(init_weights)
        set_time_padding(self, time_padding)

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits (N, num_classes) of a clip (N, C, T, H, W)."""
        return self.fc(self.dropout(self.pooled_features(x)))

    def pooled_features(self, x: Tensor) -> Tensor:
        """Compute the classifier's input (N, 2048) from a clip (N, C, T, H, W)."""
        return self.features(x).mean(dim=(2, 3, 4))

    def features(self, x: Tensor) -> Tensor:
        """Compute res5 (N, 2048, floor(T/2), ceil(H/32), ceil(W/32)) of a clip (N, C, T, H, W)."""
        check_clip("i3d_resnet50", x, self.in_channels, minimum=(2, 1, 1))
        x = self.maxpool(F.relu(self.bn1(self.conv1(x)), inplace=True))
        for number, name in enumerate(TABLE, start=1):
            x = self.get_submodule(name)(x)
            x = self.get_submodule(f"transition{number}")(x) if number <= self.transitions else x
            x = self.pool2(x) if name == "layer1" else x
        return x
