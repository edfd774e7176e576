"""The middle of an epoch: how far it is, its metrics so far, and what each rank has of its own there.

Between evaluations batch-norm statistics are each rank's own, so every rank adds a file to a checkpoint inside an
epoch. As many workers as before take their own again; another number of them starts from the mean.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.models.weights import read_tensors
from pipeline.training.faults import save_tensors
from pipeline.training.metrics import Sums


@dataclass
class Position:
    """Where in an epoch a training is.

    Attributes:
        steps: optimiser steps done in it.
        sums: training metrics of this rank so far.
        seconds: spent on it, over all restarts.
        waited: of these for data.
    """

    steps: int = 0
    sums: Sums = field(default_factory=Sums)
    seconds: float = 0.0
    waited: float = 0.0


def save_rank(folder: Path, rank: int, networks: list[nn.Module], position: Position) -> None:
    """Write `rank-N.pt`: the statistics of the networks, and the metrics so far."""
    stored = {
        "statistics": [dict(_statistics(network)) for network in networks],
        "sums": position.sums.values.cpu(),
        "seconds": position.seconds,
        "waited": position.waited,
    }
    save_tensors(stored, folder / f"rank-{rank}.pt")


def load_rank(folder: Path, rank: int, world: int, networks: list[nn.Module], position: Position) -> None:
    """Read what the ranks wrote; nothing changes where the checkpoint is of an epoch's end."""
    files = sorted(folder.glob("rank-*.pt"))
    if not files:
        return
    mine = [folder / f"rank-{rank}.pt"] if len(files) == world else files
    stored: list[dict[str, Any]] = [read_tensors(file) for file in mine]
    for number, network in enumerate(networks):
        for name, buffer in _statistics(network):
            values = [one["statistics"][number][name] for one in stored]
            buffer.copy_(values[0] if len(values) == 1 else torch.stack(values).mean(dim=0, dtype=torch.float64))
    if len(files) == world or rank == 0:  # rank 0 stands for all ranks that were
        position.sums = Sums(torch.stack([one["sums"] for one in stored]).sum(dim=0))
    position.seconds, position.waited = stored[0]["seconds"], stored[0]["waited"]


def _statistics(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for name, buffer in network.named_buffers():
        if name.endswith(("running_mean", "running_var", "num_batches_tracked")):
            yield name, buffer
