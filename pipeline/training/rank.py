"""A worker's place among the others."""

import resource
import sys
from dataclasses import dataclass

import ray.train
import ray.train.torch
import torch

from pipeline.training.precision import autocast_dtype


@dataclass(frozen=True)
class Rank:
    """This worker's place among the others, and its device."""

    rank: int
    world: int
    device: torch.device
    dtype: torch.dtype | None  # dtype of autocast; None for no autocast

    @classmethod
    def here(cls, precision: str) -> "Rank":
        """Return the place of this process, which must be a Ray Train worker."""
        context, device = ray.train.get_context(), ray.train.torch.get_device()
        return cls(context.get_world_rank(), context.get_world_size(), device, autocast_dtype(precision, device))

    def autocast(self) -> torch.autocast:
        """Return the context for forward passes, which sets their precision."""
        return torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype is not None)


def most_memory_gib(device: torch.device) -> float:
    """Return the most memory that this process has had so far, in GiB: of its GPU, or of the process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (2**30 if sys.platform == "darwin" else 2**20)
