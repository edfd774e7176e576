"""The 3D ConvNet of Quo Vadis (arXiv 1705.07750, section 2.2, Table 1 b): C3D, with batch norm.

Eight convolutions, five poolings, two fully connected layers. What differs from C3D (Tran et al., arXiv 1412.0767):
batch norm after every convolution and fully connected layer, and temporal stride 2 in the first pooling. The paper
leaves open how 7x7 maps and the single frame that is left are pooled at the end: with SAME padding, as in I3D.
"""

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.models.checks import check_clip
from pipeline.models.i3d import BatchNorm, init_weights
from pipeline.models.layers import SameMaxPool3d

# Widths of the 3x3x3 convolutions before each 2x2x2 pooling. On the right the output of the pooling for 16 x 112 x 112.
TABLE = {
    "conv1": (64,),  # 8 x 56 x 56
    "conv2": (128,),  # 4 x 28 x 28
    "conv3": (256, 256),  # 2 x 14 x 14
    "conv4": (512, 512),  # 1 x 7 x 7
    "conv5": (512, 512),  # 1 x 4 x 4
}
FULLY_CONNECTED = 4096  # fc6 and fc7
STRIDE = 32  # of the five poolings together, in time, height and width


class C3D(nn.Module):
    """C3D with batch norm, for square clips of one size; 16 frames of 112x112 in the paper.

    Fully connected layers see one step in time, up to 32 frames; of longer clips they see each step, and the logits
    are averaged.

    Args:
        num_classes: width of the classifier.
        in_channels: 3 for RGB, 2 for flow.
        size: height and width of the clips, which fix the width of fc6; 97 to 128 come to the same.
        dropout: probability of dropping a value after fc6 and fc7.
        batch_norm_momentum: see ``pipeline.models.i3d.BatchNorm``.
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
        """Clip (N, C, T, H, W) -> logits (N, num_classes), averaged over time."""
        return self.logits_over_time(x).mean(dim=2)

    def logits_over_time(self, x: Tensor) -> Tensor:
        """Clip (N, C, T, H, W) -> logits (N, num_classes, ceil(T / 32))."""
        return self.fc8(self._fc7(x)).transpose(1, 2)

    def pooled_features(self, x: Tensor) -> Tensor:
        """Clip (N, C, T, H, W) -> fc7 averaged over time, (N, 4096)."""
        return self._fc7(x).mean(dim=1)

    def _fc7(self, x: Tensor) -> Tensor:
        """Clip (N, C, T, H, W) -> fc7 of each step (N, T', 4096).

        Raises:
            ValueError: for a clip whose map is not of the size that fc6 was made for.
        """
        check_clip("c3d", x, self.in_channels)
        height, width = x.shape[3:]
        if (-(-height // STRIDE), -(-width // STRIDE)) != (self.side, self.side):
            raise ValueError(f"c3d: made for {self.size}x{self.size}, got {height}x{width}: use the option size")
        x = self.features(x)
        x = x.transpose(1, 2).flatten(2)  # (N, T', C * H' * W')
        x = self.dropout(F.relu(_over_steps(self.fc6_norm, self.fc6(x)), inplace=True))
        return self.dropout(F.relu(_over_steps(self.fc7_norm, self.fc7(x)), inplace=True))


def _over_steps(norm: nn.Module, x: Tensor) -> Tensor:
    """Batch norm of (N, T, C) over clips and steps."""
    return norm(x.transpose(1, 2)[..., None, None])[..., 0, 0].transpose(1, 2)
