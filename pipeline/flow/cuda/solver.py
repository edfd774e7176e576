"""The coarse-to-fine pyramid loop of TV-L1 for one batch of pairs."""

from dataclasses import dataclass
from types import ModuleType

import numpy as np
import torch
from torch import Tensor

from pipeline.flow.cuda import pyramid
from pipeline.flow.cuda.state import Running, State, Weights

LOOK_EVERY = 8  # iterations between two checks of which pairs still run


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """Parameters of TV-L1, with OpenCV's names and defaults (DualTVL1OpticalFlow)."""

    tau: float = 0.25
    lambda_: float = 0.15
    theta: float = 0.3
    nscales: int = 5
    warps: int = 5
    epsilon: float = 0.01
    innerIterations: int = 30  # noqa: N815 - OpenCV's names
    outerIterations: int = 10  # noqa: N815
    scaleStep: float = 0.8  # noqa: N815
    gamma: float = 0.0
    medianFiltering: int = 5  # noqa: N815

    def __post_init__(self) -> None:
        """Refuse invalid values with an error that names the parameter."""
        for name in ("tau", "lambda_", "theta", "epsilon", "gamma"):
            value = getattr(self, name)
            if not 0 <= value < float("inf") or (name == "theta" and value == 0):
                raise ValueError(f"TV-L1 parameter {name}: {value}; expected a finite number, not negative")
        for name, least in (("nscales", 1), ("warps", 0), ("innerIterations", 0), ("outerIterations", 0)):
            value = getattr(self, name)
            if value != int(value) or value < least:
                raise ValueError(f"TV-L1 parameter {name}: {value}; expected a whole number, {least} or more")
        if not 0 < self.scaleStep < 1:
            raise ValueError(f"TV-L1 parameter scaleStep: {self.scaleStep}; expected more than 0, less than 1")
        if self.medianFiltering not in (1, 3, 5):
            raise ValueError(f"TV-L1 parameter medianFiltering: {self.medianFiltering}; expected 1, 3 or 5")

    @property
    def unknowns(self) -> int:
        """Return the number of unknowns per pixel: two displacements, and with gamma the change of illumination."""
        return 3 if self.gamma else 2

    def weights(self, pixels: int) -> Weights:
        """Return the constants of an iteration on frames with so many pixels, in OpenCV's float32 precision."""
        return Weights(
            l_t=float(np.float32(self.lambda_ * self.theta)),
            taut=float(np.float32(self.tau / self.theta)),
            theta=float(np.float32(self.theta)),
            gamma=float(np.float32(self.gamma)),
            scaled_epsilon=float(np.float32(self.epsilon * self.epsilon * pixels)),
        )


def solve(
    frames: Tensor, first: Tensor, parameters: Parameters, steps: ModuleType, initial_flow: Tensor | None = None
) -> Tensor:
    """Compute the TV-L1 flow of a batch of pairs.

    Args:
        frames: (frames, H, W) float32 grey levels, 0 to 255.
        first: (B,) int32, index of the first frame of each pair; the second is the next frame.
        parameters: the parameters of the algorithm.
        steps: the module whose `warp`, `smooth` and `iterate` do the work.
        initial_flow: (B, 2, H, W) float32 in pixels; None starts from zero.

    Returns:
        Flow (B, 2, H, W), float32, in pixels.
    """
    scale = parameters.scaleStep
    height, width = frames.shape[-2:]
    sizes = pyramid.sizes(height, width, parameters.nscales, scale)
    levels = [frames]
    for size in sizes[1:]:
        levels.append(pyramid.resize(levels[-1], size, scale))
        if initial_flow is not None:
            initial_flow = pyramid.resize(initial_flow, size, scale) * scale
    flow = frames.new_zeros(len(first), parameters.unknowns, *sizes[-1])
    if initial_flow is not None:
        flow[:, :2] = initial_flow
    while True:
        grey = levels.pop()
        flow = _solve_scale(flow, torch.stack([grey, *pyramid.gradients(grey)], 1), first, parameters, steps)
        if not levels:
            return flow[:, :2]
        flow = pyramid.resize(flow, sizes[len(levels) - 1])
        flow[:, :2] *= 1 / scale


def _solve_scale(flow: Tensor, images: Tensor, first: Tensor, parameters: Parameters, steps: ModuleType) -> Tensor:
    """Improve flow (B, C, H, W) at one scale; `images` (frames, 3, H, W) are the frames and their gradients."""
    height, width = flow.shape[-2:]
    weights = parameters.weights(height * width)
    state = State.start(flow, steps.tiles(height, width))
    del flow
    for _ in range(parameters.warps):
        state.begin_warp()
        steps.warp(state, images, first)
        _iterate(state, weights, parameters, steps)
    return state.current_flow()


def _iterate(state: State, weights: Weights, parameters: Parameters, steps: ModuleType) -> None:
    """Iterate until every pair has converged, or for as many iterations as the parameters allow."""
    running = Running(state)
    median = parameters.medianFiltering
    n = 0
    for _ in range(parameters.outerIterations):
        if median > 1:
            steps.smooth(state, running.pairs, n, median, weights.scaled_epsilon)
            if parameters.innerIterations == 0:
                state.keep_smoothed()
        for inner in range(parameters.innerIterations):
            steps.iterate(state, running.pairs, n, median > 1 and inner == 0, weights)
            n += 1
            if n % LOOK_EVERY == 0 and running.look(n) == 0:
                return
