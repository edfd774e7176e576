"""From uint8 windows to what a network takes, on the device that trains."""

import torch


def normalise(windows: torch.Tensor, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Levels 0 to 255 to [-1, 1], as the I3D networks take RGB and flow alike (flow: bound to bound).

    Args:
        windows: (N, T, H, W, C) uint8.
        dtype: of the result.

    Returns:
        (N, C, T, H, W), in `channels_last_3d` memory format: the layout in which it came.
    """
    return windows.permute(0, 4, 1, 2, 3).to(dtype).mul_(2 / 255).sub_(1)
