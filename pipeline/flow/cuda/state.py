"""State of the solver on the device, for a batch of pairs at one scale."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Weights:
    """Constants of one iteration, with OpenCV's names."""

    l_t: float  # lambda * theta
    taut: float  # tau / theta
    theta: float
    gamma: float
    scaled_epsilon: float  # epsilon^2 * H * W: a pair continues while its squared change exceeds this


@dataclass
class State:
    """State of B pairs of H x W pixels with C = 2 unknowns per pixel (u1, u2), or 3 with illumination (u3).

    Flow and dual variables are stored twice, on two sides: an iteration reads one side and writes the other. A pair
    that has converged is no longer written. After n iterations of the batch, a pair's values are therefore on side
    (side + iterations) % 2, where `iterations` is the number of iterations that this pair took part in.

    Attributes:
        flow: (2, B, C, H, W) in pixels; both sides.
        dual: (2, B, 2 C, H, W): p11, p12, p21, p22, and with illumination p31, p32; both sides.
        smoothed: (B, 2, H, W): u1 and u2 after the median filter.
        warped: (B, 3, H, W): I1x and I1y where the flow pointed at the warp, and the constant part of rho.
        error: (2, B, tiles): squared change in the last iteration and in the one before, per tile of the frame.
        side: (B,) int32: the side that held the pair's values at the warp.
        iterations: (B,) int32: iterations of each pair since the warp.
    """

    flow: Tensor
    dual: Tensor
    smoothed: Tensor
    warped: Tensor
    error: Tensor
    side: Tensor
    iterations: Tensor

    @classmethod
    def start(cls, flow: Tensor, tiles: int) -> "State":
        """Create the state from flow (B, C, H, W), with dual variables of zero."""
        pairs, unknowns, *size = flow.shape
        return cls(
            flow=torch.stack([flow, flow]),
            dual=flow.new_zeros(2, pairs, 2 * unknowns, *size),
            smoothed=flow.new_empty(pairs, 2, *size),
            warped=flow.new_empty(pairs, 3, *size),
            error=flow.new_empty(2, pairs, tiles),
            side=torch.zeros(pairs, dtype=torch.int32, device=flow.device),
            iterations=torch.zeros(pairs, dtype=torch.int32, device=flow.device),
        )

    def begin_warp(self) -> None:
        """Make every pair iterate again, from the side that holds its values."""
        self.side = (self.side + self.iterations) % 2
        self.iterations.zero_()
        self.error.fill_(torch.inf)

    def current_flow(self) -> Tensor:
        """Return each pair's current flow, (B, C, H, W)."""
        return self.flow[self._current()]

    def keep_smoothed(self) -> None:
        """Make the smoothed u1 and u2 the flow; needed if no inner iteration does it."""
        flow = self.current_flow()
        flow[:, :2] = self.smoothed
        self.flow[self._current()] = flow

    def _current(self) -> tuple[Tensor, Tensor]:
        return (self.side + self.iterations) % 2, torch.arange(len(self.side), device=self.side.device)


def planes_per_pair(unknowns: int) -> int:
    """Return the number of float planes of H x W in a `State`, per pair."""
    return 2 * unknowns + 4 * unknowns + 2 + 3


class Running:
    """List of the pairs of a batch that still iterate, which the host gets one look late.

    The host must not wait for the device, so the result of each look is fetched while later iterations are already
    queued. An outdated list has too many pairs, never too few; the steps themselves skip a converged pair.
    """

    def __init__(self, state: State) -> None:
        self.pairs = torch.arange(len(state.side), dtype=torch.int32, device=state.side.device)
        self._state = state
        self._look: tuple[Tensor, Tensor, torch.cuda.Event | None] | None = None

    def look(self, iterations: int) -> int:
        """Take the pairs of the last look, start the next look and return the number of pairs.

        Args:
            iterations: number of iterations of the batch since the warp.
        """
        if self._look is not None:
            ordered, count, ready = self._look
            if ready is not None:
                ready.synchronize()
            self.pairs = ordered[: int(count)]
        still = self._state.iterations[self.pairs.long()] == iterations
        ordered = self.pairs[torch.argsort(still, descending=True, stable=True)]
        count = still.sum().to("cpu", non_blocking=True)
        ready = None
        if still.is_cuda:
            ready = torch.cuda.Event()
            ready.record()
        self._look = ordered, count, ready
        return len(self.pairs)
