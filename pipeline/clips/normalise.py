"""Conversion of uint8 windows to the input of a network, on the device that trains."""

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.clips.planes import WHOLE

# BT.601 of limited range, with swscale's factors for rgb24: for Y; for V in red, U and V in green, U in blue.
BITS = 13
LIGHT, RED_V, GREEN_U, GREEN_V, BLUE_U = 9539, 13075, -3209, -6660, 16525  # times 2 ** BITS

# Windows are in read-only shared memory; torch warns when it makes tensors from it, but nothing writes to them.
warnings.filterwarnings("ignore", "The given NumPy array is not writable", UserWarning)


@dataclass(frozen=True)
class Planes:
    """RGB windows of some clips as H.264 holds them (`pipeline.clips.planes`).

    Attributes:
        luma: (N, T, H, W) uint8.
        chroma: (N, T, 2, h, w) uint8.
        phase: (N, 2) int64; stays on the CPU.
    """

    luma: Tensor
    chroma: Tensor
    phase: Tensor

    def to(self, device: torch.device, non_blocking: bool = False) -> "Planes":
        """Return the planes on another device."""
        luma, chroma = (each.to(device, non_blocking=non_blocking) for each in (self.luma, self.chroma))
        return Planes(luma, chroma, self.phase)

    def pin_memory(self) -> "Planes":
        """Return the planes in pinned memory, from which copies to a GPU do not block the host."""
        return Planes(self.luma.pin_memory(), self.chroma.pin_memory(), self.phase)

    def __len__(self) -> int:
        return len(self.luma)

    def __getitem__(self, clips: slice) -> "Planes":
        return Planes(self.luma[clips], self.chroma[clips], self.phase[clips])


def normalise(windows: Tensor | Planes, dtype: torch.dtype = torch.float32) -> Tensor:
    """Map levels from 0 to 255 to [-1, 1], as the I3D networks take both RGB and flow (for flow: -bound to bound).

    Args:
        windows: (N, T, H, W, C) uint8, or the planes of RGB.
        dtype: the dtype of the result.

    Returns:
        (N, C, T, H, W) in `channels_last_3d` memory format, which is the memory layout of the windows.
    """
    levels = rgb(windows) if isinstance(windows, Planes) else windows
    return levels.permute(0, 4, 1, 2, 3).to(dtype).mul_(2 / 255).sub_(1)


def rgb(planes: Planes) -> Tensor:
    """Compute the levels that `pipeline.shards.decode_video` gives, (N, T, H, W, 3) uint8, on the planes' device.

    As in swscale, colour of half the resolution is taken from the nearest sample, and each product is rounded down,
    which darkens by one level; with colour of full resolution, the sum is rounded to the nearest level.
    """
    levels = torch.empty(*planes.luma.shape, 3, dtype=torch.uint8, device=planes.luma.device)
    for luma, chroma, phase, target in zip(planes.luma, planes.chroma, planes.phase.tolist(), levels, strict=True):
        convert = _whole if phase[0] == WHOLE else _half
        convert(luma, chroma, phase, target)
    return levels


def _half(luma: Tensor, chroma: Tensor, phase: list[int], target: Tensor) -> None:
    (row, column), (steps, height, width) = phase, luma.shape
    light = (luma.int().sub_(16).mul_(LIGHT) >> BITS).short()
    u, v = chroma.int().sub_(128).unbind(1)
    red, green, blue = v * RED_V >> BITS, (u * GREEN_U >> BITS) + (v * GREEN_V >> BITS), u * BLUE_U >> BITS
    for channel, term in enumerate((red, green, blue)):
        rows, columns = term.shape[1:]
        twice = term.short()[:, :, None, :, None].expand(-1, -1, 2, -1, 2).reshape(steps, 2 * rows, 2 * columns)
        colour = twice[:, row : row + height, column : column + width]
        target[..., channel] = colour.add_(light).clamp_(0, 255)


def _whole(luma: Tensor, chroma: Tensor, phase: list[int], target: Tensor) -> None:  # noqa: ARG001 - as `_half`
    light = luma.int().sub_(16).mul_(LIGHT).add_(1 << BITS - 1)
    u, v = chroma[..., : luma.shape[1], : luma.shape[2]].int().sub_(128).unbind(1)
    for channel, term in enumerate((v * RED_V, u * GREEN_U + v * GREEN_V, u * BLUE_U)):
        target[..., channel] = (light + term >> BITS).clamp_(0, 255)
