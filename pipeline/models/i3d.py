"""I3D: Inception-v1 inflated to 3D. Carreira and Zisserman, Quo Vadis, Action Recognition? (arXiv 1705.07750).

The layers are those of google-deepmind/kinetics-i3d: every convolution and max pooling uses TensorFlow's SAME padding,
every convolution is followed by batch norm (eps 1e-3) and ReLU, and a 3x3x3 convolution replaces each 5x5 convolution
of GoogLeNet. Module names are those of the PyTorch port piergiaj/pytorch-i3d, so state dicts can be exchanged with it.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.models.checks import check_clip
from pipeline.models.layers import Conv3d, SameConv3d, SameMaxPool3d, TimePadding, Triple, set_time_padding
from pipeline.models.temporal_transition import TEMPORAL_DEPTHS, TemporalTransition

StemPadding = Literal["same", "symmetric"]


@dataclass(frozen=True)
class BatchNorm:
    """Batch norm settings of the networks of this paper.

    Attributes:
        momentum: weight of the newest batch in the running statistics; Sonnet's decay of 0.999 is 0.001 here. Runs of
            a few hundred steps need about 0.1, or the statistics stay close to their initial values.
        scale: whether the scale is learned too. DeepMind's networks learn only the offset.
        eps: constant added to the variance.
    """

    momentum: float = 0.001
    scale: bool = True
    eps: float = 1e-3

    def build(self, channels: int) -> nn.BatchNorm3d:
        """Build batch norm over (N, channels, T, H, W)."""
        norm = nn.BatchNorm3d(channels, eps=self.eps, momentum=self.momentum)
        norm.weight.requires_grad_(self.scale)  # frozen at one but kept, so that the state dict has the same entries
        return norm


@dataclass(frozen=True)
class Style:
    """Settings shared by all rows of the table.

    Attributes:
        norm: the batch norm after each convolution.
        inflated: whether kernels and strides extend over time as over space; False gives the 2D network, which runs on
            each frame separately.
        stem_padding: padding of the first convolution; "symmetric" is that of torchvision's GoogLeNet.
    """

    norm: BatchNorm
    inflated: bool = True
    stem_padding: StemPadding = "same"

    def reach(self, size: Triple) -> Triple:
        """Return a kernel or stride (time, height, width), reduced to one frame in the 2D network."""
        return size if self.inflated else (1, *size[1:])


class Unit3D(nn.Module):
    """Convolution (no bias), batch norm, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, style: Style) -> None:
        super().__init__()
        kernels, strides = style.reach((kernel,) * 3), style.reach((stride,) * 3)
        if stride > 1 and style.stem_padding == "symmetric":
            padding = (kernels[0] // 2, kernel // 2, kernel // 2)
            self.conv3d = Conv3d(inputs, outputs, kernels, strides, padding, bias=False)
        else:
            self.conv3d = SameConv3d(inputs, outputs, kernels, strides, bias=False)
        self.bn = style.norm.build(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, T, H, W) to (N, C', T', H', W')."""
        return F.relu(self.bn(self.conv3d(x)), inplace=True)


class Classifier(nn.Module):
    """1x1x1 convolution with bias, without batch norm or ReLU."""

    def __init__(self, inputs: int, num_classes: int) -> None:
        super().__init__()
        self.conv3d = nn.Conv3d(inputs, num_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, T, H, W) to (N, num_classes, T, H, W)."""
        return self.conv3d(x)


@dataclass(frozen=True)
class Conv:
    """A row of the table: a SAME convolution with the same kernel size and stride on all three axes."""

    outputs: int
    kernel: int
    stride: int = 1

    def build(self, inputs: int, style: Style) -> tuple[nn.Module, int]:
        """Build the module; return it with its number of output channels."""
        return Unit3D(inputs, self.outputs, self.kernel, self.stride, style), self.outputs


@dataclass(frozen=True)
class MaxPool:
    """A row of the table: SAME max pooling with kernel and stride as (time, height, width)."""

    kernel: Triple
    stride: Triple

    def build(self, inputs: int, style: Style) -> tuple[nn.Module, int]:
        """Build the module; return it with its number of output channels."""
        return SameMaxPool3d(style.reach(self.kernel), style.reach(self.stride)), inputs


@dataclass(frozen=True)
class Mixed:
    """A row of the table: an Inception block, with its widths in GoogLeNet's order.

    `b1` and `b2` are (1x1x1 reduction, 3x3x3 convolution), `b3` is the 1x1x1 convolution after the pooling.
    """

    b0: int
    b1: tuple[int, int]
    b2: tuple[int, int]
    b3: int

    def build(self, inputs: int, style: Style) -> tuple[nn.Module, int]:
        """Build the module; return it with its number of output channels."""
        return MixedBlock(inputs, self, style), self.b0 + self.b1[1] + self.b2[1] + self.b3


@dataclass(frozen=True)
class Transition:
    """A row of the table: a temporal transition layer of T3D without pooling, with the depths of its branches."""

    depths: tuple[int, ...]

    def build(self, inputs: int, style: Style) -> tuple[nn.Module, int]:
        """Build the module; return it with its number of output channels."""
        layer = TemporalTransition(inputs, self.depths, pool=1, norm=style.norm.build)
        return layer, layer.outputs


class MixedBlock(nn.Module):
    """Four parallel branches, concatenated along the channels in the order b0, b1, b2, b3."""

    def __init__(self, inputs: int, row: Mixed, style: Style) -> None:
        super().__init__()
        self.b0 = Unit3D(inputs, row.b0, 1, 1, style)
        self.b1a = Unit3D(inputs, row.b1[0], 1, 1, style)
        self.b1b = Unit3D(row.b1[0], row.b1[1], 3, 1, style)
        self.b2a = Unit3D(inputs, row.b2[0], 1, 1, style)
        self.b2b = Unit3D(row.b2[0], row.b2[1], 3, 1, style)
        self.b3a = SameMaxPool3d(style.reach((3, 3, 3)), (1, 1, 1))
        self.b3b = Unit3D(inputs, row.b3, 1, 1, style)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, T, H, W) to (N, C', T, H, W)."""
        return torch.cat([self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(self.b3a(x))], dim=1)


# Section 2.4 and Figure 3. The comments give the output size for 64 frames of 224x224, time x height x width.
TABLE: dict[str, Conv | MaxPool | Mixed] = {
    "Conv3d_1a_7x7": Conv(64, kernel=7, stride=2),  # 32 x 112 x 112
    "MaxPool3d_2a_3x3": MaxPool((1, 3, 3), (1, 2, 2)),  # 32 x 56 x 56
    "Conv3d_2b_1x1": Conv(64, kernel=1),
    "Conv3d_2c_3x3": Conv(192, kernel=3),
    "MaxPool3d_3a_3x3": MaxPool((1, 3, 3), (1, 2, 2)),  # 32 x 28 x 28
    "Mixed_3b": Mixed(64, (96, 128), (16, 32), 32),
    "Mixed_3c": Mixed(128, (128, 192), (32, 96), 64),
    "MaxPool3d_4a_3x3": MaxPool((3, 3, 3), (2, 2, 2)),  # 16 x 14 x 14
    "Mixed_4b": Mixed(192, (96, 208), (16, 48), 64),
    "Mixed_4c": Mixed(160, (112, 224), (24, 64), 64),
    "Mixed_4d": Mixed(128, (128, 256), (24, 64), 64),
    "Mixed_4e": Mixed(112, (144, 288), (32, 64), 64),
    "Mixed_4f": Mixed(256, (160, 320), (32, 128), 128),
    "MaxPool3d_5a_2x2": MaxPool((2, 2, 2), (2, 2, 2)),  # 8 x 7 x 7
    "Mixed_5b": Mixed(256, (160, 320), (32, 128), 128),
    "Mixed_5c": Mixed(384, (192, 384), (48, 128), 128),
}
# Where `temporal_transitions` puts a layer: behind the stages that the last two poolings follow.
TRANSITIONS = {
    "Mixed_3c": ("Transition_3", Transition(TEMPORAL_DEPTHS[0])),
    "Mixed_4f": ("Transition_4", Transition(TEMPORAL_DEPTHS[1])),
}
AVERAGE_POOL = (2, 7, 7)  # stride 1, VALID; output 7 x 1 x 1
FEATURES = 1024


class Inception(nn.Module):
    """The rows of `TABLE` without a classifier: inflated for I3D, or as 2D Inception-v1 on each frame separately."""

    def __init__(self, in_channels: int, style: Style, temporal_transitions: bool = False) -> None:
        super().__init__()
        self.in_channels, self.temporal_transitions = in_channels, temporal_transitions
        self.rows: tuple[str, ...] = ()
        channels = in_channels
        for endpoint, row in TABLE.items():
            added = [TRANSITIONS[endpoint]] if temporal_transitions and endpoint in TRANSITIONS else []
            for name, each in [(endpoint, row), *added]:
                module, channels = each.build(channels, style)
                self.add_module(name, module)
                self.rows = (*self.rows, name)
        self.apply(init_weights)

    def forward(self, x: Tensor) -> Tensor:
        """Compute the last feature map (N, 1024, T', H', W') of a clip (N, C, T, H, W)."""
        return self.endpoints(x)["Mixed_5c"]

    def endpoints(self, x: Tensor, names: tuple[str, ...] = ("Mixed_5c",)) -> dict[str, Tensor]:
        """Compute the feature maps (N, C, T, H, W) with these names of `TABLE`, in the table's order.

        Raises:
            ValueError: a name is not in the table, or the clip has the wrong shape.
        """
        if unknown := set(names) - set(self.rows):
            raise ValueError(f"no endpoint {', '.join(sorted(unknown))}: there are {', '.join(self.rows)}")
        check_clip("Inception-v1", x, self.in_channels)
        return {name: x for name, x in self._walk(x) if name in names}

    def _walk(self, x: Tensor) -> Iterator[tuple[str, Tensor]]:
        for name in self.rows:
            x = self.get_submodule(name)(x)
            yield name, x


class I3D(Inception):
    """Inception-v1 I3D, one stream.

    Any T, H and W work, even one frame of one pixel. The final average pooling is the paper's 2x7x7, VALID, on every
    axis where the map is at least that large. Up to 224x224 it leaves one place; for larger frames the logits of all
    places are averaged. On a smaller axis it covers the whole axis: all of the height or width, min(2, T') in time.

    Args:
        num_classes: width of the classifier.
        in_channels: 3 for RGB, 2 for flow.
        dropout: probability of dropping a feature before the classifier (0.5 in the published training).
        batch_norm_momentum: see `BatchNorm`.
        batch_norm_scale: see `BatchNorm`.
        stem_padding: "same" is the published network; "symmetric" pads the first convolution as torchvision's
            GoogLeNet does. This shifts its grid by half a stride (one pixel), so that inflated weights reproduce the
            2D network's features at 224x224.
        time_padding: "zeros" is the published network; with "replicate" a repeated image gives the same feature at all
            times, also at the ends of the clip.
        temporal_transitions: whether a temporal transition layer follows Mixed_3c and Mixed_4f; see
            `pipeline.models.temporal_transition`.
    """

    trunks: ClassVar[tuple[str, ...]] = ("",)
    head: ClassVar[str] = "logits.conv3d"

    def __init__(
        self,
        num_classes: int,
        in_channels: int = 3,
        dropout: float = 0.5,
        batch_norm_momentum: float = 0.001,
        batch_norm_scale: bool = True,
        stem_padding: StemPadding = "same",
        time_padding: TimePadding = "zeros",
        temporal_transitions: bool = False,
    ) -> None:
        if in_channels not in (2, 3):
            raise ValueError(f"i3d: in_channels is {in_channels}, must be 3 (RGB) or 2 (flow)")
        norm = BatchNorm(batch_norm_momentum, batch_norm_scale)
        super().__init__(in_channels, Style(norm, stem_padding=stem_padding), temporal_transitions)
        self.dropout = nn.Dropout(dropout)
        self.logits = Classifier(FEATURES, num_classes)
        self.logits.apply(init_weights)
        set_time_padding(self, time_padding)

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits (N, num_classes), averaged over time, of a clip (N, C, T, H, W) in [-1, 1]."""
        if torch.compiler.is_exporting():
            return self._logits_at_any_size(x)
        return self.logits_over_time(x).mean(dim=2)

    def _logits_at_any_size(self, x: Tensor) -> Tensor:
        """Compute the logits of `forward` by operators that take a clip of any size.

        The kernel of the average pooling depends on the size of the map, so the pooling and the mean over its places
        are written as one weighted mean over the map. The classifier is linear, so it may follow the mean.
        """
        x = super().forward(x)
        for axis, kernel in reversed(list(enumerate(AVERAGE_POOL, start=2))):
            x = x.movedim(axis, -1) @ _pooling_shares(x.shape[axis], kernel, x)
        return self.logits(self.dropout(x[..., None, None, None]))[..., 0, 0, 0]

    def logits_over_time(self, x: Tensor) -> Tensor:
        """Compute logits (N, num_classes, T') of a clip (N, C, T, H, W).

        T' is 7 for 64 frames, 9 for 79, 31 for 250.
        """
        x = self.dropout(self.features(x))
        return self.logits(x).mean(dim=(3, 4))

    def pooled_features(self, x: Tensor) -> Tensor:
        """Compute features (N, 1024), averaged over time and space, of a clip (N, C, T, H, W)."""
        return self.features(x).mean(dim=(2, 3, 4))

    def features(self, x: Tensor) -> Tensor:
        """Compute the classifier's input (N, 1024, T', H', W') from a clip (N, C, T, H, W).

        H' = W' = 1 for frames of up to 224x224 pixels.
        """
        x = super().forward(x)
        kernel = [min(paper, axis) for paper, axis in zip(AVERAGE_POOL, x.shape[2:], strict=True)]
        return F.avg_pool3d(x, kernel, stride=1)


def _pooling_shares(length: int, kernel: int, like: Tensor) -> Tensor:
    """Return the share, (length,), of each step of an axis in the mean of its average pooling with stride 1."""
    reach = torch.sym_min(kernel, length)
    step = torch.arange(length, device=like.device)
    windows = step.clamp(max=length - reach) - (step - reach + 1).clamp(min=0) + 1  # that hold this step
    shares = windows.to(like.dtype)
    return shares / shares.sum()


class TwoStreamI3D(nn.Module):
    """Two I3D networks, one for RGB and one for flow, trained separately; their logits are averaged (Table 1 e).

    It takes the options of `I3D`, except `in_channels`, for both streams. Load published weights into one stream at a
    time: `load_published(model.rgb, ...)` and `load_published(model.flow, ...)`.
    """

    trunks: ClassVar[tuple[str, ...]] = ("rgb.", "flow.")
    head: ClassVar[str] = "logits.conv3d"

    def __init__(
        self,
        num_classes: int,
        dropout: float = 0.5,
        batch_norm_momentum: float = 0.001,
        batch_norm_scale: bool = True,
        stem_padding: StemPadding = "same",
        time_padding: TimePadding = "zeros",
        temporal_transitions: bool = False,
    ) -> None:
        super().__init__()
        options = (dropout, batch_norm_momentum, batch_norm_scale, stem_padding, time_padding, temporal_transitions)
        self.rgb = I3D(num_classes, 3, *options)
        self.flow = I3D(num_classes, 2, *options)

    def forward(self, rgb: Tensor, flow: Tensor) -> Tensor:
        """Compute logits (N, num_classes) of clips rgb (N, 3, T, H, W) and flow (N, 2, T, H, W), both in [-1, 1].

        The published program adds the logits of the streams; this method averages them. The order of the classes is
        the same, but the probabilities of the sum are sharper. `2 * model(rgb, flow)` gives the published numbers.
        """
        return (self.rgb(rgb) + self.flow(flow)) / 2


def init_weights(module: nn.Module) -> None:
    """Initialise by Sonnet's rule: normal with deviation 1 / sqrt(inputs), cut at two deviations; biases are zero."""
    if isinstance(module, nn.Conv3d | nn.Linear):
        std = 1 / math.sqrt(module.weight[0].numel())
        nn.init.trunc_normal_(module.weight, std=std, a=-2 * std, b=2 * std)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
