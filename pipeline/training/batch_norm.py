"""Batch-norm statistics: each worker has its own during a step; a network that is evaluated or stored has one set."""

from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pipeline.config import ConfigError


def synchronise(network: nn.Module, device: torch.device) -> nn.Module:
    """Return the network with batch norm over the clips of all workers.

    Raises:
        ConfigError: there is no GPU; torch supports this on GPUs only.
    """
    if device.type == "cpu":
        raise ConfigError("training.sync_batch_norm: needs GPUs; leave it out, or give --resources.gpu yes")
    return nn.SyncBatchNorm.convert_sync_batchnorm(network)


def average_statistics(network: nn.Module) -> None:
    """Give all ranks the mean of their batch-norm statistics, so that they evaluate and store the same network."""
    if not dist.is_initialized():
        return
    for name, buffer in network.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            dist.all_reduce(buffer)
            buffer /= dist.get_world_size()


@torch.no_grad()
def precise_statistics(network: nn.Module, clips: Iterable[tuple[Tensor, ...]]) -> None:
    """Recompute the batch-norm statistics as means over the given batches.

    Running averages still contain statistics of earlier weights (Wu and Johnson, arXiv 2105.07576, section 3). Batch
    norm that is frozen (in evaluation mode) keeps its statistics; so does the batch norm of the LSTM, which has
    statistics for each time step.

    Args:
        network: the network, in training mode; its parameters do not change.
        clips: inputs of the network, batch by batch.
    """
    modules = [module for module in network.modules() if isinstance(module, _BatchNorm) and module.training]
    momenta = [module.momentum for module in modules]
    for module in modules:
        module.reset_running_stats()
        module.momentum = None  # tells torch to take the mean over all batches since the reset
    for inputs in clips:
        network(*inputs)
    for module, momentum in zip(modules, momenta, strict=True):
        module.momentum = momentum
