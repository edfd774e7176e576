"""Batch-norm statistics: each worker's own in a step, one for all where a network is evaluated or stored."""

from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pipeline.config import ConfigError


def synchronise(network: nn.Module, device: torch.device) -> nn.Module:
    """The network with batch norm over the clips of all workers.

    Raises:
        ConfigError: there is no GPU, and torch has it for GPUs only.
    """
    if device.type == "cpu":
        raise ConfigError("training.sync_batch_norm: needs GPUs; leave it out, or give --resources.gpu yes")
    return nn.SyncBatchNorm.convert_sync_batchnorm(network)


def average_statistics(network: nn.Module) -> None:
    """Give all ranks the mean of their batch-norm statistics, so that they evaluate and store one network."""
    if not dist.is_initialized():
        return
    for name, buffer in network.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            dist.all_reduce(buffer)
            buffer /= dist.get_world_size()


@torch.no_grad()
def precise_statistics(network: nn.Module, clips: Iterable[tuple[Tensor, ...]]) -> None:
    """Take the statistics of batch norm anew, each the mean over the given batches.

    A running mean still holds those of earlier weights (Wu and Johnson, arXiv 2105.07576, section 3). Frozen batch
    norm, in evaluation mode, keeps its own; so does the LSTM's, whose statistics are of steps.

    Args:
        network: in training mode; its parameters stay as they are.
        clips: its inputs, batch by batch.
    """
    modules = [module for module in network.modules() if isinstance(module, _BatchNorm) and module.training]
    momenta = [module.momentum for module in modules]
    for module in modules:
        module.reset_running_stats()
        module.momentum = None  # torch's word for the mean over all batches since the reset
    for inputs in clips:
        network(*inputs)
    for module, momentum in zip(modules, momenta, strict=True):
        module.momentum = momentum
