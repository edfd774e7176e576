"""What the solver keeps on the device for a batch of pairs at one scale."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Weights:
    """The numbers of one iteration, OpenCV's names."""

    l_t: float  # lambda * theta
    taut: float  # tau / theta
    theta: float
    gamma: float
    scaled_epsilon: float  # epsilon^2 * H * W: a pair goes on while its squared change exceeds this


@dataclass
class State:
    """B pairs of H x W pixels with C = 2 unknowns each (u1, u2), or 3 with illumination (u3).

    An iteration reads flow and dual from one side and writes the other. A pair that has converged is not written any
    more, so after n iterations of the batch the pair has its values on side (side + iterations) % 2, where
    `iterations` is how many of the n were its own.

    Attributes:
        flow: (2, B, C, H, W), pixels; both sides.
        dual: (2, B, 2 C, H, W): p11, p12, p21, p22 (, p31, p32).
        smoothed: (B, 2, H, W): u1 and u2 after the median filter.
        warped: (B, 3, H, W): I1x and I1y where the flow pointed at the warp, and the constant part of rho.
        error: (2, B, tiles): squared change in the last iteration and in the one before, in parts of the frame.
        side: (B,) int32: where the pair's values were at the warp.
        iterations: (B,) int32: of this pair since the warp.
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
        """From flow (B, C, H, W), with dual variables of zero."""
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
        """Every pair iterates again, from the side where it has come to rest."""
        self.side = (self.side + self.iterations) % 2
        self.iterations.zero_()
        self.error.fill_(torch.inf)

    def current_flow(self) -> Tensor:
        """(B, C, H, W): each pair's flow from the side that it is on."""
        return self.flow[self._current()]

    def keep_smoothed(self) -> None:
        """Smoothed u1 and u2 become the flow without an iteration: what is left to do where there is none."""
        flow = self.current_flow()
        flow[:, :2] = self.smoothed
        self.flow[self._current()] = flow

    def _current(self) -> tuple[Tensor, Tensor]:
        return (self.side + self.iterations) % 2, torch.arange(len(self.side), device=self.side.device)


def planes_per_pair(unknowns: int) -> int:
    """Float planes of H x W in a `State`, for each pair."""
    return 2 * unknowns + 4 * unknowns + 2 + 3


class Running:
    """The pairs of a batch that still iterate, known to the host one look late.

    The host must not wait for the device, so each look is fetched while the iterations after it are queued. A list
    that is out of date names too many pairs, never too few; the steps themselves leave a converged pair alone.
    """

    def __init__(self, state: State) -> None:
        self.pairs = torch.arange(len(state.side), dtype=torch.int32, device=state.side.device)
        self._state = state
        self._look: tuple[Tensor, Tensor, torch.cuda.Event | None] | None = None

    def look(self, iterations: int) -> int:
        """After so many iterations of the batch: take the last look's pairs, start the next; how many are left."""
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
