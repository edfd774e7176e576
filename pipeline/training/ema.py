"""The moving average of the weights (EMA): what is evaluated, stored and registered where there is one."""

from itertools import chain

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


class MovingAverage(AveragedModel):
    """A copy of a network that follows it, batch-norm statistics like weights.

    The decay rises as (1 + n) / (10 + n) with the steps n until it reaches its value, so that short runs are not
    averaged with their start. Torch's own update asks a GPU for n in every step and so waits for it; here n stays on
    the host.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        super().__init__(network, use_buffers=True)
        self.decay = decay

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Move towards the network; the first time, become it."""
        n = int(self.n_averaged)
        share = 1 - min(self.decay, (1 + n) / (10 + n)) if n else 1.0
        (averages, counters), (values, counts) = _values(self.module), _values(model)
        torch._foreach_lerp_(averages, values, share)
        for counter, count in zip(counters, counts, strict=True):  # of batches
            counter.copy_(count)
        self.n_averaged += 1


def build_average(network: nn.Module, decay: float) -> MovingAverage | None:
    """The average of a network that trains; None without decay."""
    return MovingAverage(network, decay) if decay else None


def _values(network: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
    """Parameters and buffers: those of floats, and the others."""
    values = [value.detach() for value in chain(network.parameters(), network.buffers())]
    return [v for v in values if v.is_floating_point()], [v for v in values if not v.is_floating_point()]
