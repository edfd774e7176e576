"""The moving average of the weights (EMA), which is evaluated, stored and registered if there is one."""

from itertools import chain

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


class MovingAverage(AveragedModel):
    """A moving average of a network's weights and batch-norm statistics.

    The decay rises as (1 + n) / (10 + n) with the number of steps n until it reaches its configured value, so that the
    average of a short run is not dominated by the initial weights. Torch's own update reads n from the GPU in every
    step and so waits for it; here n stays on the host.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        super().__init__(network, use_buffers=True)
        self.decay = decay

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Move the average towards the network; the first call copies the network."""
        n = int(self.n_averaged)
        share = 1 - min(self.decay, (1 + n) / (10 + n)) if n else 1.0
        (averages, counters), (values, counts) = _values(self.module), _values(model)
        torch._foreach_lerp_(averages, values, share)
        for counter, count in zip(counters, counts, strict=True):  # batch counters
            counter.copy_(count)
        self.n_averaged += 1


def build_average(network: nn.Module, decay: float) -> MovingAverage | None:
    """Return the moving average of a network that trains, or None if the decay is 0."""
    return MovingAverage(network, decay) if decay else None


def _values(network: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
    """Return the parameters and buffers in two lists: those of floats, and the others."""
    values = [value.detach() for value in chain(network.parameters(), network.buffers())]
    return [v for v in values if v.is_floating_point()], [v for v in values if not v.is_floating_point()]
