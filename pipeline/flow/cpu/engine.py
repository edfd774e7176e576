"""Entry point of the `cpu` backend, which prepares the parameters of OpenCV's DualTVL1OpticalFlow for `solve`."""

import functools
import importlib.metadata
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

SMALLEST = 16  # pixels per side; OpenCV's pyramid has no smaller scale


@dataclass(frozen=True)
class Work:
    """Cost of a computation, in pixels summed over scales and pairs."""

    iterations: int
    """Pixel-iterations that the result consists of."""
    repeated: int
    """Pixel-iterations that were discarded because the error fell below epsilon earlier than expected."""
    medians: int
    """Pixels whose u was median-filtered."""
    warps: int
    """Pixels warped."""


def version() -> str:
    """Return Numba's version, for the record."""
    return f"cpu numba-{importlib.metadata.version('numba')}"


def measured(
    frames: NDArray[np.uint8],
    *,
    tau: float = 0.25,
    lambda_: float = 0.15,
    theta: float = 0.3,
    nscales: int = 5,
    warps: int = 5,
    epsilon: float = 0.01,
    innerIterations: int = 30,  # noqa: N803 - OpenCV's names
    outerIterations: int = 10,  # noqa: N803
    scaleStep: float = 0.8,  # noqa: N803
    gamma: float = 0.0,
    medianFiltering: int = 5,  # noqa: N803
    initial_flow: NDArray[np.float32] | None = None,
) -> tuple[NDArray[np.float32], Work]:
    """Compute the flow and its cost."""
    from pipeline.flow.cpu.settle import no_past
    from pipeline.flow.cpu.solve import reserve, solve
    from pipeline.flow.cpu.vectors import LANES

    grey = frames if frames.ndim == 3 else np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames])
    flow = np.zeros((len(grey) - 1, *grey.shape[1:], 2), np.float32)
    shapes = scales(grey.shape[1], grey.shape[2], nscales, scaleStep)
    rows, picture = [], LANES
    for height, width in shapes:
        rows.append((height, width, picture))
        picture += height * (-(-width // LANES) * LANES) + LANES
    levels = np.array(rows, np.int64)
    single = np.float32
    taut = single(tau / theta)
    work = np.zeros(4, np.int64)
    solve(
        np.require(grey, requirements=("C", "W")),
        np.zeros((0, 0, 0, 2), single) if initial_flow is None else np.require(initial_flow, requirements=("C", "W")),
        flow,
        levels,
        (float(scaleStep), float(epsilon)),
        (single(taut * single(theta)), taut, single(lambda_ * theta), single(gamma)),
        (int(warps), int(outerIterations), int(innerIterations), int(medianFiltering)),
        no_past(len(levels), int(warps), int(innerIterations)),
        work,
        *reserve(levels, 9 if gamma else 6),
    )
    return flow, Work(*work.tolist())


@functools.wraps(measured, assigned=())
def tvl1(*args: Any, **parameters: Any) -> NDArray[np.float32]:
    """Compute TV-L1 flow; see `pipeline.flow.tvl1`. The arguments are those of `measured`."""
    return measured(*args, **parameters)[0]


def scales(height: int, width: int, nscales: int, scale_step: float) -> list[tuple[int, int]]:
    """Return (height, width) of the pyramid's scales in pixels, the finest first."""
    shapes = [(height, width)]
    while len(shapes) < nscales:
        shape = (round(shapes[-1][0] * scale_step), round(shapes[-1][1] * scale_step))
        if min(shape) < SMALLEST:
            break
        shapes.append(shape)
    return shapes
