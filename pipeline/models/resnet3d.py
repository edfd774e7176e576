"""3D ResNets. Hara, Kataoka and Satoh, Can Spatiotemporal 3D CNNs Retrace the History of 2D CNNs and ImageNet?

arXiv 1711.09577, section 3.2 and Table 1. The networks and the module names are those of branch CVPR2018 of
kenshohara/3D-ResNets-PyTorch. If published weights depend on a quirk of that code, the quirk is the default and an
option switches it off. The one exception is the gradient through shortcut A: that code cuts it, this one keeps it.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.models.checks import check_clip
from pipeline.models.layers import Conv3d, TimePadding, set_time_padding
from pipeline.models.temporal_transition import TEMPORAL_DEPTHS, TemporalTransition

Shortcut = Literal["A", "B"]
Block = Literal["basic", "bottleneck", "preact"]


@dataclass(frozen=True)
class Variant:
    """A column of Table 1.

    Attributes:
        block: two 3x3x3 convolutions ("basic"), or 1x1x1, 3x3x3, 1x1x1 ("bottleneck"; "preact" has BN and ReLU before
            each convolution).
        depths: number of blocks in conv2_x, conv3_x, conv4_x, conv5_x.
        width: channels inside the blocks of conv2_x; doubled in each later stage.
        expansion: ratio of a block's output channels to its inner channels.
        shortcut: the shortcut of the published weights.
        cardinality: groups of the 3x3x3 convolution.
    """

    block: Block
    depths: tuple[int, int, int, int]
    width: int
    expansion: int
    shortcut: Shortcut
    cardinality: int = 1


TABLE = {
    "resnet3d18": Variant("basic", (2, 2, 2, 2), width=64, expansion=1, shortcut="A"),
    "resnet3d34": Variant("basic", (3, 4, 6, 3), width=64, expansion=1, shortcut="A"),
    "resnet3d50": Variant("bottleneck", (3, 4, 6, 3), width=64, expansion=4, shortcut="B"),
    "resnet3d101": Variant("bottleneck", (3, 4, 23, 3), width=64, expansion=4, shortcut="B"),
    "resnet3d152": Variant("bottleneck", (3, 8, 36, 3), width=64, expansion=4, shortcut="B"),
    "resnet3d200": Variant("bottleneck", (3, 24, 36, 3), width=64, expansion=4, shortcut="B"),
    "preact_resnet3d200": Variant("preact", (3, 24, 36, 3), width=64, expansion=4, shortcut="B"),
    "wide_resnet3d50": Variant("bottleneck", (3, 4, 6, 3), width=128, expansion=2, shortcut="B"),
    "resnext3d101": Variant("bottleneck", (3, 4, 23, 3), width=128, expansion=2, shortcut="B", cardinality=32),
}


class ShortcutA(nn.Module):
    """Shortcut without parameters: every stride-th step of each axis, with zeros in the new channels.

    Args:
        outputs: number of channels after padding with zeros.
        stride: the stride in time, height and width.
        gradient: whether the gradient passes; False cuts it, as the published code does.
    """

    def __init__(self, outputs: int, stride: int, gradient: bool) -> None:
        super().__init__()
        self.outputs, self.stride, self.gradient = outputs, stride, gradient

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, T, H, W) to (N, outputs, ceil(T/s), ceil(H/s), ceil(W/s))."""
        x = x[:, :, :: self.stride, :: self.stride, :: self.stride]
        x = F.pad(x, (0, 0, 0, 0, 0, 0, 0, self.outputs - x.shape[1]))
        return x if self.gradient else x.detach()


class ShortcutB(nn.Sequential):
    """1x1x1 convolution and batch norm."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__(nn.Conv3d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm3d(outputs))


class BasicBlock(nn.Module):
    """conv 3x3x3 (stride) - BN - ReLU - conv 3x3x3 - BN, plus shortcut, ReLU."""

    def __init__(self, inputs: int, width: int, variant: Variant, stride: int, downsample: nn.Module | None) -> None:
        super().__init__()
        self.conv1 = Conv3d(inputs, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm3d(width)
        self.conv2 = Conv3d(width, width * variant.expansion, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm3d(width * variant.expansion)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, T, H, W) to (N, C', T', H', W')."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        return F.relu(self.bn2(self.conv2(x)) + shortcut, inplace=True)


class Bottleneck(nn.Module):
    """conv 1x1x1 - conv 3x3x3 (stride, groups) - conv 1x1x1, each with BN and ReLU; shortcut added before last ReLU."""

    def __init__(self, inputs: int, width: int, variant: Variant, stride: int, downsample: nn.Module | None) -> None:
        super().__init__()
        outputs = width * variant.expansion
        self.conv1 = nn.Conv3d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm3d(width)
        self.conv2 = Conv3d(width, width, 3, stride, padding=1, groups=variant.cardinality, bias=False)
        self.bn2 = nn.BatchNorm3d(width)
        self.conv3 = nn.Conv3d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm3d(outputs)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, T, H, W) to (N, C', T', H', W')."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        x = F.relu(self.bn2(self.conv2(x)), inplace=True)
        return F.relu(self.bn3(self.conv3(x)) + shortcut, inplace=True)


class PreActivationBottleneck(nn.Module):
    """BN - ReLU before each of conv 1x1x1, conv 3x3x3 (stride), conv 1x1x1; the shortcut starts from the raw input."""

    def __init__(self, inputs: int, width: int, variant: Variant, stride: int, downsample: nn.Module | None) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm3d(inputs)
        self.conv1 = nn.Conv3d(inputs, width, 1, bias=False)
        self.bn2 = nn.BatchNorm3d(width)
        self.conv2 = Conv3d(width, width, 3, stride, padding=1, groups=variant.cardinality, bias=False)
        self.bn3 = nn.BatchNorm3d(width)
        self.conv3 = nn.Conv3d(width, width * variant.expansion, 1, bias=False)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, T, H, W) to (N, C', T', H', W')."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.conv1(F.relu(self.bn1(x), inplace=True))
        x = self.conv2(F.relu(self.bn2(x), inplace=True))
        return self.conv3(F.relu(self.bn3(x), inplace=True)) + shortcut


BLOCKS = {"basic": BasicBlock, "bottleneck": Bottleneck, "preact": PreActivationBottleneck}


class ResNet3D(nn.Module):
    """A 3D ResNet for clips of any length and size; the paper's are 16 x 112 x 112.

    Output sizes for such clips: conv1 16x56x56, max pool and conv2_x 8x28x28, conv3_x 4x14x14, conv4_x 2x7x7,
    conv5_x 1x4x4, followed by the mean over all places.

    Args:
        variant: a row of `TABLE`.
        num_classes: width of the classifier.
        in_channels: 3 for RGB, 2 for flow.
        shortcut: "A" (no parameters) or "B" (1x1x1 convolution); by default the one of the published weights.
        shortcut_gradient: whether the gradient flows through shortcut A; in the published code it does not.
        stem_width: channels of conv1: 64, but 128 for the wide and ResNeXt networks of kenshohara's 2020 rewrite.
        stem_depth: frames that conv1 spans, an odd number: 7, but 3 in torchvision's r3d_18.
        stem_pool: whether max pooling follows conv1; torchvision's r3d_18 has none.
        time_padding: "zeros" is the published network; see `pipeline.models.layers`.
        temporal_transitions: whether a temporal transition layer follows conv2_x, conv3_x and conv4_x; see
            `pipeline.models.temporal_transition`. The default shortcut is then "B", since "A" cannot narrow maps.
    """

    trunks: ClassVar[tuple[str, ...]] = ("",)
    head: ClassVar[str] = "fc"

    def __init__(
        self,
        variant: Variant,
        num_classes: int,
        in_channels: int = 3,
        shortcut: Shortcut | None = None,
        shortcut_gradient: bool = True,
        stem_width: int = 64,
        stem_depth: int = 7,
        stem_pool: bool = True,
        time_padding: TimePadding = "zeros",
        temporal_transitions: bool = False,
    ) -> None:
        super().__init__()
        if shortcut is not None and shortcut not in get_args(Shortcut):
            raise ValueError(f'shortcut is "{shortcut}", must be "A" or "B"')
        if stem_depth % 2 == 0:
            raise ValueError(f"stem_depth is {stem_depth}, must be odd")
        self.in_channels, self.channels = in_channels, stem_width
        self.variant, self.shortcut_gradient = variant, shortcut_gradient
        self.temporal_transitions = temporal_transitions
        self.shortcut = shortcut or ("B" if temporal_transitions else variant.shortcut)
        self.conv1 = Conv3d(
            in_channels, stem_width, (stem_depth, 7, 7), (1, 2, 2), padding=(stem_depth // 2, 3, 3), bias=False
        )
        self.bn1 = nn.BatchNorm3d(stem_width)
        self.maxpool = nn.MaxPool3d(3, stride=2, padding=1) if stem_pool else nn.Identity()
        for number in range(1, 5):
            self.add_module(f"layer{number}", self._stage(number - 1, stride=1 if number == 1 else 2))
            if temporal_transitions and number < 4:
                layer = TemporalTransition(self.channels, TEMPORAL_DEPTHS[number - 1], pool=1)
                self.add_module(f"transition{number}", layer)
                self.channels = layer.outputs
        self.fc = nn.Linear(self.channels, num_classes)
        self.apply(init_weights)
        set_time_padding(self, time_padding)

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits (N, num_classes) of a clip (N, C, T, H, W)."""
        return self.fc(self.pooled_features(x))

    def pooled_features(self, x: Tensor) -> Tensor:
        """Compute the classifier's input (N, C') from a clip (N, C, T, H, W)."""
        return self.features(x).mean(dim=(2, 3, 4))

    def features(self, x: Tensor) -> Tensor:
        """Compute conv5_x (N, C', ceil(T/16), ceil(H/32), ceil(W/32)) of a clip (N, C, T, H, W)."""
        check_clip("3D ResNet", x, self.in_channels)
        x = self.maxpool(F.relu(self.bn1(self.conv1(x)), inplace=True))
        for number in range(1, 5):
            x = self.get_submodule(f"layer{number}")(x)
            x = self.get_submodule(f"transition{number}")(x) if self.temporal_transitions and number < 4 else x
        return x

    def _stage(self, stage: int, stride: int) -> nn.Sequential:
        width = self.variant.width * 2**stage
        block = BLOCKS[self.variant.block]
        blocks = []
        for i in range(self.variant.depths[stage]):
            first = i == 0
            downsample = self._downsample(width * self.variant.expansion, stride) if first else None
            blocks.append(block(self.channels, width, self.variant, stride if first else 1, downsample))
            self.channels = width * self.variant.expansion
        return nn.Sequential(*blocks)

    def _downsample(self, outputs: int, stride: int) -> nn.Module | None:
        if stride == 1 and self.channels == outputs:
            return None
        if self.shortcut == "A":
            if outputs < self.channels:
                raise ValueError(f'shortcut "A" cannot narrow {self.channels} channels to {outputs}: use shortcut "B"')
            return ShortcutA(outputs, stride, self.shortcut_gradient)
        return ShortcutB(self.channels, outputs, stride)


class PreActResNet3D(ResNet3D):
    """Pre-activation ResNet; its options are those of `ResNet3D` without the stem's, and `final_norm`.

    The published network keeps BN and ReLU after conv1, starts shortcuts from the raw input of a block, and has no BN
    and ReLU after the last block. The network of He et al. (arXiv 1603.05027) does end with them: `final_norm=True`.

    Args:
        variant: a row of `TABLE`.
        num_classes: width of the classifier.
        final_norm: whether BN and ReLU follow the last block; the published weights do not have them.
        in_channels: as in `ResNet3D`.
        shortcut: as in `ResNet3D`.
        shortcut_gradient: as in `ResNet3D`.
        time_padding: as in `ResNet3D`.
        temporal_transitions: as in `ResNet3D`.
    """

    def __init__(
        self,
        variant: Variant,
        num_classes: int,
        in_channels: int = 3,
        shortcut: Shortcut | None = None,
        shortcut_gradient: bool = True,
        final_norm: bool = False,
        time_padding: TimePadding = "zeros",
        temporal_transitions: bool = False,
    ) -> None:
        super().__init__(
            variant,
            num_classes,
            in_channels,
            shortcut,
            shortcut_gradient,
            time_padding=time_padding,
            temporal_transitions=temporal_transitions,
        )
        self.norm = nn.Sequential(nn.BatchNorm3d(self.channels), nn.ReLU(inplace=True)) if final_norm else nn.Identity()

    def features(self, x: Tensor) -> Tensor:
        """Compute conv5_x (N, C', ceil(T/16), ceil(H/32), ceil(W/32)) of a clip (N, C, T, H, W)."""
        return self.norm(super().features(x))


def init_weights(module: nn.Module) -> None:
    """Initialise convolutions by He's rule with fan-out, batch norm as the identity; leave the classifier to torch."""
    if isinstance(module, nn.Conv3d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    elif isinstance(module, nn.BatchNorm3d):
        torch.nn.init.ones_(module.weight)
        torch.nn.init.zeros_(module.bias)
