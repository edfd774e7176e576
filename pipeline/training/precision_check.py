"""A self-test of 3D convolutions before training in low precision: some cuDNN versions give wrong results silently."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.config import ConfigError
from pipeline.training.rank import Rank

BOUND = 0.02  # largest accepted relative error; rounding to bfloat16 alone causes 0.002 to 0.004
Convolve = Callable[..., Tensor]
# First version with the fault, first version without it, description.
KNOWN = (
    (90800, 91500, "wrong bfloat16 results on large clips (pytorch#163539), where torch does without it, slowly"),
    (91002, 91600, "wrong TF32 results of some 3D convolutions (pytorch#167024)"),
)


@dataclass(frozen=True)
class Convolution:
    """One kind of 3D convolution that our networks use, and the size of a small clip to test it on."""

    kernel: tuple[int, int, int]
    stride: int
    channels: tuple[int, int]
    size: tuple[int, int, int]
    groups: int = 1

    def __str__(self) -> str:
        return f"{'x'.join(map(str, self.kernel))} convolution of stride {self.stride}"


TYPICAL = (
    Convolution((7, 7, 7), 2, (3, 64), (8, 28, 28)),  # first layer of I3D and the 3D ResNets
    Convolution((3, 3, 3), 1, (64, 96), (4, 14, 14)),
    Convolution((3, 3, 3), 2, (64, 64), (4, 14, 14)),
    Convolution((1, 1, 1), 1, (192, 64), (4, 14, 14)),
    Convolution((1, 1, 1), 2, (64, 128), (4, 14, 14)),  # residual shortcut
    Convolution((3, 1, 1), 1, (64, 64), (8, 7, 7)),
    Convolution((1, 3, 3), 1, (64, 64), (8, 7, 7)),
    Convolution((3, 3, 3), 1, (128, 128), (4, 7, 7), groups=32),  # ResNeXt
)


def check_device(precision: str, here: Rank) -> None:
    """Warn of known faults of this cuDNN version and run the self-test, unless training is in full float32.

    Raises:
        ConfigError: see `check_convolutions`.
    """
    gpu = here.device.type == "cuda"
    if here.dtype is None and not (gpu and precision == "tf32"):
        return
    if gpu and here.rank == 0:
        for fault in known_faults(torch.backends.cudnn.version()):
            warnings.warn(fault, stacklevel=2)
    check_convolutions(here.device, here.dtype)


def check_convolutions(device: torch.device, dtype: torch.dtype | None, convolve: Convolve = F.conv3d) -> None:
    """Compare the results and gradients of typical convolutions with those of float32, in both memory formats.

    Args:
        device: the device that trains.
        dtype: the dtype of autocast; None to compare TF32 with full float32.
        convolve: the convolution function to check.

    Raises:
        ConfigError: a result or gradient has a relative error above `BOUND`, or is not finite.
    """
    for kind, form in product(TYPICAL, (torch.contiguous_format, torch.channels_last_3d)):
        error = relative_error(kind, form, device, dtype, convolve)
        if not error <= BOUND:
            name = "TF32" if dtype is None else str(dtype).removeprefix("torch.")
            layout = str(form).removeprefix("torch.")
            raise ConfigError(
                f"training.precision: a {kind} ({layout}) in {name} is {100 * error:.3g} % off float32 on "
                f"{_machine(device)}; train with --training.precision fp32, or install another torch"
            )


def known_faults(version: int | None) -> list[str]:
    """Describe the known faults of a cuDNN version, given as `torch.backends.cudnn.version()` returns it."""
    found = [what for first, end, what in KNOWN if version is not None and first <= version < end]
    return [f"cuDNN {_dotted(version)}: {what}; 9.16 or newer has none of it" for what in found]


def relative_error(
    kind: Convolution, form: torch.memory_format, device: torch.device, dtype: torch.dtype | None, convolve: Convolve
) -> float:
    """Return the largest relative error of the result and the gradients, or NaN if one of them is not finite.

    The relative error is the norm of the difference to full float32, divided by the norm in full float32.
    """
    draw = torch.Generator().manual_seed(0)

    def noise(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=draw).to(device, memory_format=form)

    clip = noise(2, kind.channels[0], *kind.size).requires_grad_()
    weight = noise(kind.channels[1], kind.channels[0] // kind.groups, *kind.kernel).requires_grad_()
    size = [(side - 1) // kind.stride + 1 for side in kind.size]
    from_above = noise(2, kind.channels[1], *size)

    def results() -> tuple[Tensor, ...]:
        padding = tuple(side // 2 for side in kind.kernel)
        y = convolve(clip, weight, stride=kind.stride, padding=padding, groups=kind.groups)
        return y, *torch.autograd.grad(y, (clip, weight), from_above.to(y.dtype))

    with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
        ours = results()
    with _all_bits():
        exact = results()
    errors = [(one.detach().float() - other).norm() / other.norm() for one, other in zip(ours, exact, strict=True)]
    return float(torch.stack(errors).max().detach())  # NaN if any error is NaN


@contextmanager
def _all_bits() -> Iterator[None]:
    """Run float32 convolutions without TF32."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def _machine(device: torch.device) -> str:
    if device.type != "cuda":
        return f"this CPU (torch {torch.__version__})"
    version = torch.backends.cudnn.version()
    return f"{torch.cuda.get_device_name(device)} (torch {torch.__version__}, cuDNN {_dotted(version)})"


def _dotted(version: int | None) -> str:
    return "none" if version is None else f"{version // 10000}.{version // 100 % 100}.{version % 100}"
