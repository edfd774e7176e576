"""Settings that make a step fast on its device: number formats, memory layout, cuDNN's algorithms, compilation."""

import inspect
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from pipeline.config import ResourcesConfig, TrainingConfig


def autocast_dtype(precision: str, device: torch.device) -> torch.dtype | None:
    """Return the dtype of autocast for a value of `training.precision`, or None for no autocast."""
    bf16 = precision == "bf16" or (precision == "auto" and device.type == "cuda")
    return torch.bfloat16 if bf16 else None


def set_multiplication(precision: str, device: torch.device) -> None:
    """Set how this process multiplies float32 on a GPU: with all 24 bits for fp32, in TF32 for any other precision.

    By default torch uses TF32 for convolutions but not for matrix products. Only the older of torch's two interfaces is
    used here: if a process uses both, torch refuses to report the setting, which `torch.compile` asks for.
    """
    if device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision != "fp32"


def threads(resources: ResourcesConfig) -> int:
    """Return the number of threads of a worker without a GPU: the CPUs that are reserved for it, rounded."""
    return max(1, min(round(resources.cpus_of_a_worker), os.cpu_count() or 1))


def lay_out(network: nn.Module, device: torch.device) -> nn.Module:
    """Convert the network's 3D convolutions to the memory format that is fast on the device; see `clip_format`."""
    if device.type == "cuda":
        for module in network.modules():
            if isinstance(module, nn.Conv3d):  # supervision transfer also has 2D layers, without such a format
                module.to(memory_format=torch.channels_last_3d)
    return network


def clip_format(device: torch.device, dtype: torch.dtype | None) -> torch.memory_format:
    """Return the memory format in which computation on clips is fast.

    Clips arrive as (N, T, H, W, C), which is `channels_last_3d`: the fast format for cuDNN's tensor-core kernels, and
    for CPUs in bfloat16. In float32, CPUs are faster with channels first: a step of a 3D ResNet-18 took 1.6 times as
    long with channels last.
    """
    plain = device.type == "cpu" and dtype is None
    return torch.contiguous_format if plain else torch.channels_last_3d


def distributed_options() -> dict[str, Any]:
    """Return DDP's options.

    Each rank keeps its own batch-norm statistics between evaluations; gradients are views of the buckets that DDP
    reduces.
    """
    names = inspect.signature(DistributedDataParallel.__init__).parameters
    own = "forward_sync_buffers" if "forward_sync_buffers" in names else "broadcast_buffers"  # by torch version
    return {own: False, "gradient_as_bucket_view": True}


def compiled(model: nn.Module, config: TrainingConfig, backend: str = "inductor") -> nn.Module:
    """Return the model, compiled for training if the config asks for it.

    The compiled wrapper shares its weights with the network; the network's state dict, average and evaluation stay as
    they were. The wrapper encloses DDP, so that the graph is cut where DDP reduces its buckets.
    """
    return torch.compile(model, backend=backend) if config.compile else model  # type: ignore[return-value]


@contextmanager
def fastest_algorithms() -> Iterator[None]:
    """Let cuDNN try all its algorithms for each new input size, and keep the fastest.

    This is for steps, whose sizes repeat; in an evaluation, cuDNN would try all algorithms again for every clip length.
    """
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before
