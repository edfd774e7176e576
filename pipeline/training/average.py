"""The moving average of the weights (EMA): what is evaluated, stored and registered where there is one."""

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


def build_average(network: nn.Module, decay: float) -> AveragedModel | None:
    """A copy of the network that follows it; None without decay.

    Batch-norm statistics are averaged like weights. The decay rises as (1 + n) / (10 + n) with the steps n until it
    reaches its value, so that short runs are not averaged with their start.
    """
    if decay == 0:
        return None

    @torch.no_grad()
    def follow(averages: list[Tensor], values: list[Tensor], updates: Tensor) -> None:
        n = int(updates)
        share = 1 - min(decay, (1 + n) / (10 + n))
        if averages[0].is_floating_point():
            torch._foreach_lerp_(averages, values, share)
        else:
            torch._foreach_copy_(averages, values)  # counters of batches

    return AveragedModel(network, multi_avg_fn=follow, use_buffers=True)  # type: ignore[arg-type]
