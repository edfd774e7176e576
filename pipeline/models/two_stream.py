"""Two-Stream and 3D-Fused networks of Quo Vadis (arXiv 1705.07750, section 2.3, Table 1 c and d).

Both run Inception-v1 on snapshots: one RGB frame, and the 10 flow frames around it stacked as 20 channels. Two-Stream
averages the two streams' logits; 3D-Fused joins their last maps by a 3D convolution. Both are trained end to end.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn

from pipeline.models.checks import check_clip
from pipeline.models.i3d import FEATURES, BatchNorm, Classifier, Inception, StemPadding, Style, Unit3D, init_weights
from pipeline.models.layers import SameMaxPool3d

STACK = 10  # flow frames for each RGB frame


class Streams(nn.Module):
    """Inception-v1 on RGB frames (`rgb`) and on stacks of flow frames (`flow`)."""

    trunks: ClassVar[tuple[str, ...]] = ("rgb.", "flow.")

    def __init__(self, batch_norm_momentum: float, stem_padding: StemPadding) -> None:
        super().__init__()
        self.style = Style(BatchNorm(batch_norm_momentum), inflated=False, stem_padding=stem_padding)
        self.rgb = Inception(3, self.style)
        self.flow = Inception(2 * STACK, self.style)

    def maps(self, rgb: Tensor, flow: Tensor) -> tuple[Tensor, Tensor]:
        """Compute both last maps (N, 1024, S, H', W') of frames rgb (N, 3, S, H, W) and flow (N, 2, 10 S, H, W).

        Raises:
            ValueError: the inputs have other shapes.
        """
        check_clip("two-stream network", rgb, 3, name="rgb")
        check_clip("two-stream network", flow, 2, name="flow")
        if flow.shape[2] != STACK * rgb.shape[2]:
            raise ValueError(
                f"two-stream network: {rgb.shape[2]} RGB frames need {STACK * rgb.shape[2]} flow frames, {STACK} each, "
                f"got {flow.shape[2]}"
            )
        return self.rgb(rgb), self.flow(stacked(flow))


class SingleStream(nn.Module):
    """One stream of Two-Stream alone (Table 2 c): Inception-v1 on RGB frames, or on stacks of 10 flow frames.

    In training there is one snapshot; in test the logits of several (25) are averaged.

    Args:
        num_classes: width of the classifier.
        in_channels: 3 for RGB, 2 for flow.
        dropout: probability of dropping a feature before the classifier.
        batch_norm_momentum: see `pipeline.models.i3d.BatchNorm`.
        stem_padding: see `pipeline.models.i3d.I3D`.
    """

    name: ClassVar[str] = "single_stream"
    trunks: ClassVar[tuple[str, ...]] = ("inception.",)
    head: ClassVar[str] = "logits.conv3d"

    def __init__(
        self,
        num_classes: int,
        in_channels: int = 3,
        dropout: float = 0.5,
        batch_norm_momentum: float = 0.001,
        stem_padding: StemPadding = "same",
    ) -> None:
        super().__init__()
        if in_channels not in (2, 3):
            raise ValueError(f"{self.name}: in_channels is {in_channels}, must be 3 (RGB) or 2 (flow)")
        self.in_channels = in_channels
        style = Style(BatchNorm(batch_norm_momentum), inflated=False, stem_padding=stem_padding)
        self.inception = Inception(3 if in_channels == 3 else 2 * STACK, style)
        self.inception.logits = Classifier(FEATURES, num_classes).apply(init_weights)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits (N, num_classes) of frames (N, 3, S, H, W), or of flow (N, 2, 10 S, H, W)."""
        features = self.dropout(self.maps(x).mean(dim=(3, 4), keepdim=True))
        return self.inception.get_submodule("logits")(features)[..., 0, 0].mean(dim=2)

    def pooled_features(self, x: Tensor) -> Tensor:
        """Compute features (N, 1024), averaged over snapshots and space, of an input of `forward`."""
        return self.maps(x).mean(dim=(2, 3, 4))

    def maps(self, x: Tensor) -> Tensor:
        """Compute the last map (N, 1024, S, H', W') of an input of `forward`."""
        check_clip(self.name, x, self.in_channels)
        if self.in_channels == 2 and x.shape[2] % STACK:
            raise ValueError(f"{self.name}: flow comes in stacks of {STACK} frames, got {x.shape[2]}")
        return self.inception(x if self.in_channels == 3 else stacked(x))


def stacked(flow: Tensor) -> Tensor:
    """Turn flow (N, 2, 10 S, H, W) into stacks (N, 20, S, H, W), whose channels are in time order: x1 y1 x2 y2 ..."""
    return flow.unflatten(2, (-1, STACK)).transpose(2, 3).transpose(1, 2).flatten(1, 2)


class TwoStream(Streams):
    """Two-stream network: one snapshot in training; in test the logits of several snapshots (25) are averaged.

    Args:
        num_classes: width of the classifiers.
        dropout: probability of dropping a feature before a classifier.
        batch_norm_momentum: see `pipeline.models.i3d.BatchNorm`.
        stem_padding: see `pipeline.models.i3d.I3D`.
    """

    head: ClassVar[str] = "logits.conv3d"

    def __init__(
        self,
        num_classes: int,
        dropout: float = 0.5,
        batch_norm_momentum: float = 0.001,
        stem_padding: StemPadding = "same",
    ) -> None:
        super().__init__(batch_norm_momentum, stem_padding)
        self.dropout = nn.Dropout(dropout)
        self.rgb.logits = Classifier(FEATURES, num_classes).apply(init_weights)
        self.flow.logits = Classifier(FEATURES, num_classes).apply(init_weights)

    def forward(self, rgb: Tensor, flow: Tensor) -> Tensor:
        """Compute logits (N, num_classes) of frames rgb (N, 3, S, H, W) and flow (N, 2, 10 S, H, W)."""
        return self.logits_over_time(rgb, flow).mean(dim=2)

    def logits_over_time(self, rgb: Tensor, flow: Tensor) -> Tensor:
        """Compute logits (N, num_classes, S), averaged over both streams, but not over the S snapshots.

        The inputs are frames rgb (N, 3, S, H, W) and flow (N, 2, 10 S, H, W).
        """
        rgb_map, flow_map = self.maps(rgb, flow)
        return (self._classify(self.rgb, rgb_map) + self._classify(self.flow, flow_map)) / 2

    def _classify(self, stream: nn.Module, x: Tensor) -> Tensor:
        x = self.dropout(x.mean(dim=(3, 4), keepdim=True))
        return stream.get_submodule("logits")(x)[..., 0, 0]


class FusedTwoStream(Streams):
    """3D-Fused network: five RGB frames, 10 apart, and the 50 flow frames around them in training; any number in test.

    The last maps (5x7x7) of both streams go through a 3x3x3 convolution with 512 filters and a 3x3x3 max pooling to the
    classifier. The paper omits details, but its 39M parameters settle most of them: the streams are concatenated (their
    sum would give 26M), and the classifier sees 512 features, the mean over all places that the pooling leaves (feeding
    it each place would give 41M or more). The strides are our choice: 1 for the convolution and 2 for the pooling, with
    SAME padding as in I3D.

    Args:
        num_classes: width of the classifier.
        dropout: probability of dropping a feature before the classifier.
        batch_norm_momentum: see `pipeline.models.i3d.BatchNorm`.
        stem_padding: see `pipeline.models.i3d.I3D`.
    """

    head: ClassVar[str] = "fc"

    def __init__(
        self,
        num_classes: int,
        dropout: float = 0.5,
        batch_norm_momentum: float = 0.001,
        stem_padding: StemPadding = "same",
    ) -> None:
        super().__init__(batch_norm_momentum, stem_padding)
        self.fusion, self.pool, self.fc = _fused_head(2 * FEATURES, num_classes, self.style.norm)
        self.dropout = nn.Dropout(dropout)

    def forward(self, rgb: Tensor, flow: Tensor) -> Tensor:
        """Compute logits (N, num_classes) of frames rgb (N, 3, S, H, W) and flow (N, 2, 10 S, H, W)."""
        return self.fc(self.dropout(self.pooled_features(rgb, flow)))

    def pooled_features(self, rgb: Tensor, flow: Tensor) -> Tensor:
        """Compute the classifier's input (N, 512) from frames rgb (N, 3, S, H, W) and flow (N, 2, 10 S, H, W)."""
        return self.pool(self.fusion(torch.cat(self.maps(rgb, flow), dim=1))).mean(dim=(2, 3, 4))


class FusedSingleStream(SingleStream):
    """One stream of 3D-Fused alone (Table 2 d): five RGB frames, 10 apart, or the 50 flow frames around them.

    The last map of the stream goes through the convolution, pooling and classifier of `FusedTwoStream`, whose
    convolution then has half the inputs. The paper has figures for the single streams and does not say what joins their
    frames; here it is what joins them in the whole network.

    Args:
        num_classes: width of the classifier.
        in_channels: 3 for RGB, 2 for flow.
        dropout: probability of dropping a feature before the classifier.
        batch_norm_momentum: see `pipeline.models.i3d.BatchNorm`.
        stem_padding: see `pipeline.models.i3d.I3D`.
    """

    name: ClassVar[str] = "fused_single_stream"
    head: ClassVar[str] = "fc"

    def __init__(
        self,
        num_classes: int,
        in_channels: int = 3,
        dropout: float = 0.5,
        batch_norm_momentum: float = 0.001,
        stem_padding: StemPadding = "same",
    ) -> None:
        super().__init__(num_classes, in_channels, dropout, batch_norm_momentum, stem_padding)
        del self.inception.logits
        self.fusion, self.pool, self.fc = _fused_head(FEATURES, num_classes, BatchNorm(batch_norm_momentum))

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits (N, num_classes) of frames (N, 3, S, H, W), or of flow (N, 2, 10 S, H, W)."""
        return self.fc(self.dropout(self.pooled_features(x)))

    def pooled_features(self, x: Tensor) -> Tensor:
        """Compute the classifier's input (N, 512) from an input of `forward`."""
        return self.pool(self.fusion(self.maps(x))).mean(dim=(2, 3, 4))


def _fused_head(features: int, num_classes: int, norm: BatchNorm) -> tuple[Unit3D, SameMaxPool3d, nn.Linear]:
    """Build the convolution, the pooling and the classifier of 3D-Fused; new layers begin with Gaussian noise."""
    fusion, fc = Unit3D(features, 512, 3, 1, Style(norm)), nn.Linear(512, num_classes)
    for new in (fusion.conv3d, fc):
        nn.init.normal_(new.weight, std=0.01)
    nn.init.zeros_(fc.bias)
    return fusion, SameMaxPool3d((3, 3, 3), (2, 2, 2)), fc
