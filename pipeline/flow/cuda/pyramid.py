"""Image pyramids in OpenCV's arithmetic: bilinear resizing and centred gradients of planes (..., H, W)."""

import torch
from torch import Tensor

SMALLEST = 16  # pixels per side; OpenCV makes no smaller scale


def sizes(height: int, width: int, nscales: int, scale_step: float) -> list[tuple[int, int]]:
    """Return (height, width) of each scale in pixels, the finest first; the finest is always included."""
    scales = [(height, width)]
    while len(scales) < nscales:
        height, width = round(height * scale_step), round(width * scale_step)  # half to even, as cvRound
        if height < SMALLEST or width < SMALLEST:
            break
        scales.append((height, width))
    return scales


def resize(planes: Tensor, size: tuple[int, int], scale: float | None = None) -> Tensor:
    """Resize planes (..., H, W) to (..., h, w), as cv::resize with INTER_LINEAR.

    Args:
        planes: float32 planes (..., H, W).
        size: (h, w) in pixels.
        scale: the requested factor, if the size was computed from it. As in OpenCV, the factor then sets the step
            between samples; otherwise the quotient of the rounded sizes does.
    """
    rows, columns = (
        _taps(old, new, 1 / scale if scale else old / new, planes.device)
        for old, new in zip(planes.shape[-2:], size, strict=True)
    )
    planes = _blend(planes[..., columns[0]], planes[..., columns[1]], columns[2])
    return _blend(planes[..., rows[0], :], planes[..., rows[1], :], rows[2][:, None])


def gradients(planes: Tensor) -> tuple[Tensor, Tensor]:
    """Return centred differences of planes (..., H, W) in x and in y, with the border repeated."""
    right, left = torch.cat([planes[..., 1:], planes[..., -1:]], -1), torch.cat([planes[..., :1], planes[..., :-1]], -1)
    below = torch.cat([planes[..., 1:, :], planes[..., -1:, :]], -2)
    above = torch.cat([planes[..., :1, :], planes[..., :-1, :]], -2)
    return 0.5 * (right - left), 0.5 * (below - above)


def _taps(old: int, new: int, step: float, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Return two source indices for each of `new` samples of an axis, and the weight of the second."""
    position = ((torch.arange(new, dtype=torch.float64, device=device) + 0.5) * step - 0.5).float()
    low = position.floor()
    weight = torch.where((low >= 0) & (low < old - 1), position - low, 0)
    low = low.long().clamp(0, old - 1)
    return low, (low + 1).clamp(max=old - 1), weight


def _blend(low: Tensor, high: Tensor, weight: Tensor) -> Tensor:
    return low * (1 - weight) + high * weight
