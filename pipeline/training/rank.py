"""A worker's place among the others."""

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
    dtype: torch.dtype | None  # of autocast

    @classmethod
    def here(cls, precision: str) -> "Rank":
        """Inside a Ray Train worker."""
        context, device = ray.train.get_context(), ray.train.torch.get_device()
        return cls(context.get_world_rank(), context.get_world_size(), device, autocast_dtype(precision, device))

    def autocast(self) -> torch.autocast:
        """The precision of forward passes."""
        return torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype is not None)
