"""The 3D ConvNet of Quo Vadis (arXiv 1705.07750, section 2.2, Table 1 b): C3D, with batch norm.

The network has eight convolutions, five poolings and two fully connected layers. It differs from C3D (Tran et al.,
arXiv 1412.0767) in two ways: batch norm follows every convolution and fully connected layer, and the first pooling has
temporal stride 2. The paper does not say how the last pooling handles 7x7 maps and the single remaining frame; here it
uses SAME padding, as in I3D.
"""

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.models.checks import check_clip
from pipeline.models.i3d import BatchNorm, init_weights
from pipeline.models.layers import SameMaxPool3d

# Widths of the 3x3x3 convolutions before each 2x2x2 pooling. The comments give the pooling's output for 16 x 112 x 112.
TABLE = {
    "conv1": (64,),  # 8 x 56 x 56
    "conv2": (128,),  # 4 x 28 x 28
    "conv3": (256, 256),  # 2 x 14 x 14
    "conv4": (512, 512),  # 1 x 7 x 7
    "conv5": (512, 512),  # 1 x 4 x 4
}
FULLY_CONNECTED = 4096  # fc6 and fc7
STRIDE = 32  # total stride of the five poolings, in time, height and width


class C3D(nn.Module):
    """C3D with batch norm, for square clips of one size; 16 frames of 112x112 in the paper.

    With up to 32 frames, the fully connected layers see a single step in time. With longer clips they run on each step,
    and the logits are averaged over the steps.

    Args:
        num_classes: width of the classifier.
        in_channels: 3 for RGB, 2 for flow.
        size: height and width of the clips in pixels, which determine fc6; 97 to 128 give the same network.
        dropout: probability of dropping a value after fc6 and fc7.
        batch_norm_momentum: see `pipeline.models.i3d.BatchNorm`.
    """

    trunks: ClassVar[tuple[str, ...]] = ("",)
    head: ClassVar[str] = "fc8"

    def __init__(
        self,
        num_classes: int,
        in_channels: int = 3,
        size: int = 112,
        dropout: float = 0.5,
        batch_norm_momentum: float = 0.001,
    ) -> None:
        super().__init__()
        self.in_channels, self.size = in_channels, size
        norm = BatchNorm(batch_norm_momentum)
        self.features = nn.Sequential()
        channels = in_channels
        for name, widths in TABLE.items():
            for letter, width in zip("ab", widths, strict=False):
                suffix = letter if len(widths) > 1 else ""
                self.features.add_module(f"{name}{suffix}", nn.Conv3d(channels, width, 3, padding=1))
                self.features.add_module(f"{name}{suffix}_norm", norm.build(width))
                self.features.add_module(f"{name}{suffix}_relu", nn.ReLU(inplace=True))
                channels = width
            self.features.add_module(f"pool{name[-1]}", SameMaxPool3d((2, 2, 2), (2, 2, 2)))
        self.side = -(-size // STRIDE)
        self.fc6 = nn.Linear(channels * self.side**2, FULLY_CONNECTED)
        self.fc6_norm = norm.build(FULLY_CONNECTED)
        self.fc7 = nn.Linear(FULLY_CONNECTED, FULLY_CONNECTED)
        self.fc7_norm = norm.build(FULLY_CONNECTED)
        self.fc8 = nn.Linear(FULLY_CONNECTED, num_classes)
        self.dropout = nn.Dropout(dropout)
        self.apply(init_weights)

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits (N, num_classes), averaged over time, of a clip (N, C, T, H, W)."""
        return self.logits_over_time(x).mean(dim=2)

    def logits_over_time(self, x: Tensor) -> Tensor:
        """Compute logits (N, num_classes, ceil(T / 32)) of a clip (N, C, T, H, W)."""
        return self.fc8(self._fc7(x)).transpose(1, 2)

    def pooled_features(self, x: Tensor) -> Tensor:
        """Compute fc7 (N, 4096), averaged over time, of a clip (N, C, T, H, W)."""
        return self._fc7(x).mean(dim=1)

    def _fc7(self, x: Tensor) -> Tensor:
        """Compute fc7 (N, T', 4096) of each step of a clip (N, C, T, H, W).

        Raises:
            ValueError: the clip's last map does not have the size that fc6 was made for.
        """
        check_clip("c3d", x, self.in_channels)
        height, width = x.shape[3:]
        if (-(-height // STRIDE), -(-width // STRIDE)) != (self.side, self.side):
            raise ValueError(f"c3d: made for {self.size}x{self.size}, got {height}x{width}: use the option size")
        x = self.features(x)
        x = x.transpose(1, 2).clone(memory_format=torch.contiguous_format)  # before `flatten`, for export of any T'
        x = x.flatten(2)  # (N, T', C * H' * W')
        x = self.dropout(F.relu(_over_steps(self.fc6_norm, self.fc6(x)), inplace=True))
        return self.dropout(F.relu(_over_steps(self.fc7_norm, self.fc7(x)), inplace=True))


def _over_steps(norm: nn.Module, x: Tensor) -> Tensor:
    """Apply batch norm to (N, T, C) over clips and steps."""
    return norm(x.transpose(1, 2)[..., None, None])[..., 0, 0].transpose(1, 2)
