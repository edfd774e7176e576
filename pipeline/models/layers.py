"""Convolution and pooling over (N, C, T, H, W) with paddings that PyTorch lacks.

SAME is TensorFlow's padding: the output has ceil(n / stride) steps, and the padding depends on the input's length n.
If the number of steps to pad is odd, the extra one goes to the end. Fixed symmetric padding would shift the grid, so
networks trained in TensorFlow would give different results.

While a network is exported with sizes that are not known, paddings are expressions in these sizes, and the input is
padded before the operator, which takes only numbers.

Padding in time uses either zeros, as usual, or repetitions of the first and last frame. Only with repetition does a
network inflated from 2D see no border in a video that repeats one image (Quo Vadis, section 2.4).
"""

from typing import Literal, get_args

import torch.nn.functional as F
from torch import SymInt, Tensor, nn

Triple = tuple[int, int, int]  # time, height, width
Pads = list[tuple[int, int]]  # before and after, for time, height, width
TimePadding = Literal["zeros", "replicate"]


def same_padding(n: int, kernel: int, stride: int) -> tuple[int, int]:
    """Return the numbers of steps to pad before and after an axis of length n."""
    steps = (n - 1) // stride + 1
    total = (steps - 1) * stride + kernel - n
    if kernel < stride:  # otherwise it is never negative, also where n is an expression
        total = max(total, 0)
    return total // 2, total - total // 2


class Conv3d(nn.Conv3d):
    """3D convolution whose padding in time may repeat the border frames; see `set_time_padding`."""

    time_padding: TimePadding = "zeros"

    def pads(self, x: Tensor) -> Pads:  # noqa: ARG002
        """Return the numbers of steps to pad before and after each axis of a clip (N, C, T, H, W)."""
        return [(int(p), int(p)) for p in self.padding]

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, T, H, W) to (N, C', T', H', W')."""
        (t0, t1), (h0, h1), (w0, w1) = self.pads(x)
        if self.time_padding == "replicate" and t0 + t1 > 0:
            x, t0, t1 = F.pad(x, (0, 0, 0, 0, t0, t1), mode="replicate"), 0, 0
        if _unknown(t0, h0, w0) or (t0, h0, w0) != (t1, h1, w1):  # F.conv3d can only pad both ends alike
            x, t0, h0, w0 = F.pad(x, (w0, w1, h0, h1, t0, t1)), 0, 0, 0
        return F.conv3d(x, self.weight, self.bias, self.stride, (t0, h0, w0), self.dilation, self.groups)


class SameConv3d(Conv3d):
    """3D convolution with SAME padding."""

    def pads(self, x: Tensor) -> Pads:
        """Return the numbers of steps to pad before and after each axis of a clip (N, C, T, H, W)."""
        return [same_padding(n, k, s) for n, k, s in zip(x.shape[2:], self.kernel_size, self.stride, strict=True)]


class SameMaxPool3d(nn.Module):
    """3D max pooling with SAME padding by minus infinity.

    PyTorch pads both sides with minus infinity, and `ceil_mode` adds one more step at the end. Together this is SAME
    padding without a padded copy of the input. It does not work for an even kernel with stride 1.
    """

    def __init__(self, kernel: Triple, stride: Triple) -> None:
        super().__init__()
        if any(k % 2 == 0 and s == 1 for k, s in zip(kernel, stride, strict=True)):
            raise ValueError(f"SameMaxPool3d: an even kernel needs a stride above 1, got kernel {kernel}, {stride=}")
        self.kernel, self.stride = kernel, stride

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, T, H, W) to (N, C, ceil(T/s), ceil(H/s), ceil(W/s))."""
        pads = [same_padding(n, k, s) for n, k, s in zip(x.shape[2:], self.kernel, self.stride, strict=True)]
        if _unknown(*(after for _, after in pads)):
            (t0, t1), (h0, h1), (w0, w1) = pads
            x = F.pad(x, (w0, w1, h0, h1, t0, t1), value=float("-inf"))
            return F.max_pool3d(x, self.kernel, self.stride)
        return F.max_pool3d(x, self.kernel, self.stride, [before for before, _ in pads], ceil_mode=True)

    def extra_repr(self) -> str:
        """Return what `print(model)` shows of this layer."""
        return f"kernel={self.kernel}, stride={self.stride}"


def _unknown(*lengths: int | SymInt) -> bool:
    """Return whether one of these numbers depends on a size that an exported program leaves open."""
    return any(isinstance(length, SymInt) for length in lengths)


def set_time_padding(model: nn.Module, time_padding: TimePadding) -> None:
    """Make every `Conv3d` of a network pad in time with zeros or with its border frames.

    Raises:
        ValueError: `time_padding` is neither "zeros" nor "replicate".
    """
    if time_padding not in get_args(TimePadding):
        raise ValueError(f'time_padding is "{time_padding}", must be one of {get_args(TimePadding)}')
    for module in model.modules():
        if isinstance(module, Conv3d):
            module.time_padding = time_padding
