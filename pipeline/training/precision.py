"""What makes a step fast on its device: number formats, memory layout, cuDNN's choice, compilation."""

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
    """The dtype of autocast under `training.precision`; None without autocast."""
    bf16 = precision == "bf16" or (precision == "auto" and device.type == "cuda")
    return torch.bfloat16 if bf16 else None


def set_multiplication(precision: str, device: torch.device) -> None:
    """Say how this process multiplies float32 on a GPU: fp32 means all 24 bits, anything else TF32.

    By torch's default convolutions take TF32 and matrices do not. Only the older of torch's two interfaces is used:
    with both in one process, torch refuses to tell the setting, which `torch.compile` asks for.
    """
    if device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision != "fp32"


def threads(resources: ResourcesConfig) -> int:
    """On how many threads a worker without a GPU computes: the CPUs that are reserved for it, to the nearest number."""
    return max(1, min(round(resources.cpus_of_a_worker), os.cpu_count() or 1))


def lay_out(network: nn.Module, device: torch.device) -> nn.Module:
    """The network with its 3D convolutions in the memory format that is fast on the device: see `clip_format`."""
    if device.type == "cuda":
        for module in network.modules():
            if isinstance(module, nn.Conv3d):  # the 2D network of supervision transfer has no such format
                module.to(memory_format=torch.channels_last_3d)
    return network


def clip_format(device: torch.device, dtype: torch.dtype | None) -> torch.memory_format:
    """In which clips are fast.

    They come as (N, T, H, W, C), which is `channels_last_3d`: the format of cuDNN's tensor-core kernels, and of CPUs in
    bfloat16. In float32 CPUs are faster channels first: a step of a 3D ResNet-18 took 1.6 times as long otherwise.
    """
    plain = device.type == "cpu" and dtype is None
    return torch.contiguous_format if plain else torch.channels_last_3d


def distributed_options() -> dict[str, Any]:
    """DDP's: batch-norm statistics stay each rank's own between evaluations; gradients lie in the reduced buckets."""
    names = inspect.signature(DistributedDataParallel.__init__).parameters
    own = "forward_sync_buffers" if "forward_sync_buffers" in names else "broadcast_buffers"  # by the torch at hand
    return {own: False, "gradient_as_bucket_view": True}


def compiled(model: nn.Module, config: TrainingConfig, backend: str = "inductor") -> nn.Module:
    """The model, compiled for training where the config asks for it.

    The wrapper shares its weights with the network, whose state dict, average and evaluation know nothing of it. DDP
    goes inside, so that the graph is cut where its buckets are reduced.
    """
    return torch.compile(model, backend=backend) if config.compile else model  # type: ignore[return-value]


@contextmanager
def fastest_algorithms() -> Iterator[None]:
    """Let cuDNN try all its algorithms for a size that is new, and keep the fastest.

    For steps, whose sizes repeat; not for evaluations, where clips of every length would be tried anew.
    """
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before
