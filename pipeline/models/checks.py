"""Checks of a network's input, with error messages of one line."""

from torch import Tensor

from pipeline.models.layers import Triple


def check_clip(model: str, x: Tensor, channels: int, minimum: Triple = (1, 1, 1), name: str = "clip") -> None:
    """Refuse an input that is not (N, channels, T, H, W), or that is too small for the network's strides.

    Raises:
        ValueError: the input is refused; the message names the network, the input and both shapes.
    """
    if x.ndim != 5 or x.shape[1] != channels:
        raise ValueError(f"{model}: {name} must be (N, {channels}, T, H, W), got {tuple(x.shape)}")
    if any(n < least for n, least in zip(x.shape[2:], minimum, strict=True)):
        raise ValueError(f"{model}: {name} must be at least {_size(minimum)}, got {_size(tuple(x.shape[2:]))}")


def _size(size: tuple[int, ...]) -> str:
    frames, height, width = size
    return f"{frames} frames of {height}x{width}"
