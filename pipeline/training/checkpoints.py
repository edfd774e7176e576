"""Checkpoints, from which a run resumes: rank 0 writes them at the end of an epoch or inside it, every rank reads them.

    model.pt      state dict of the evaluated network, with its classes, data and input
    training.pt   optimiser, schedule, counters; also the network itself if model.pt holds its moving average
    history.json  metrics of every epoch so far
    points.json   points of the curves that MLflow may not have yet
    config.yaml   the resolved config
    rank-N.pt     written by every rank N, inside an epoch only

Between evaluations each rank has its own batch-norm statistics, so every rank adds a file to a checkpoint inside an
epoch. If the number of workers has not changed, each reads its own file again; otherwise all start from the mean.

Random numbers need no state: windows, crops and order are functions of (seed, epoch, clip), dropout and mixup of
(seed, step, micro-batch).
"""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.optim.swa_utils import AveragedModel

from pipeline.config import ConfigError
from pipeline.models.weights import Provenance, read_tensors, read_weights, with_provenance
from pipeline.training.failures import save_tensors
from pipeline.training.metric_points import Point
from pipeline.training.metrics import Sums

WEIGHTS = "model.pt"
SELECT, SELECT_MODE = "val/loss", "min"  # metric that selects the best checkpoint


@dataclass
class Position:
    """The position of a training inside an epoch.

    Attributes:
        steps: optimiser steps done in the epoch.
        sums: training metrics of this rank so far.
        seconds: seconds spent on the epoch, over all restarts.
        waited: those of these seconds that were spent waiting for data.
    """

    steps: int = 0
    sums: Sums = field(default_factory=Sums)
    seconds: float = 0.0
    waited: float = 0.0


@dataclass
class State:
    """The state of a training: everything that changes while it runs."""

    model: nn.Module
    optimiser: Optimizer
    plateau: ReduceLROnPlateau | None = None
    average: AveragedModel | None = None
    epoch: int = 0  # epochs done
    step: int = 0  # optimiser steps done
    history: list[dict[str, float]] = field(default_factory=list)
    loss: float = math.nan  # loss of the last step
    points: list[Point] = field(default_factory=list)  # points of curves that MLflow may not have yet
    restarts: int = 0  # number of times that training resumed from a checkpoint
    position: Position = field(default_factory=Position)  # position in the unfinished epoch
    provenance: Provenance = field(default_factory=Provenance)  # classes, data and input of the weights
    began_with: str = ""  # digest of the data of the checkpoint from which training resumed
    ordered: bool = False  # whether the order of DDP's buckets is fixed in this process; it is not saved

    @property
    def evaluated(self) -> nn.Module:
        """The network that is evaluated: the moving average if there is one."""
        return self.model if self.average is None else self.average.module

    def save(self, folder: Path) -> None:
        """Write the files that all ranks share."""
        save_tensors(with_provenance(self.evaluated.state_dict(), self.provenance), folder / WEIGHTS)
        rest: dict[str, Any] = {"optimiser": self.optimiser.state_dict(), "epoch": self.epoch, "step": self.step}
        rest |= {"steps_in_epoch": self.position.steps, "restarts": self.restarts}
        if self.plateau is not None:
            rest["plateau"] = _plain(self.plateau.state_dict())
        if self.average is not None:
            rest["network"], rest["averaged"] = self.model.state_dict(), self.average.n_averaged
        save_tensors(rest, folder / "training.pt")
        (folder / "history.json").write_text(json.dumps(self.history))
        (folder / "points.json").write_text(json.dumps(self.points))

    def load(self, folder: Path, device: torch.device) -> None:
        """Read what `save` wrote.

        Raises:
            ConfigError: the checkpoint has other classes, or the same classes in another order.
        """
        weights = read_weights(folder / WEIGHTS, device)
        if weights.provenance.labels and weights.provenance.labels != self.provenance.labels:
            raise ConfigError(
                f"{folder.name}: its classes are not those of the data, or not in their order; a new run can begin "
                "with it, by --model.weights"
            )
        rest: dict[str, Any] = read_tensors(folder / "training.pt", device)
        self.evaluated.load_state_dict(weights.state)
        self.began_with = weights.provenance.digest
        if self.average is not None:
            self.model.load_state_dict(rest["network"])
            self.average.n_averaged.copy_(rest["averaged"])
        if self.plateau is not None:
            self.plateau.load_state_dict(rest["plateau"])
        self.optimiser.load_state_dict(rest["optimiser"])
        self.epoch, self.step = rest["epoch"], rest["step"]
        self.position.steps, self.restarts = rest["steps_in_epoch"], rest["restarts"] + 1
        self.history = json.loads((folder / "history.json").read_text())
        if (points := folder / "points.json").exists():
            self.points[:] = [Point(*point) for point in json.loads(points.read_text())]

    def save_rank(self, folder: Path, rank: int) -> None:
        """Write what differs between ranks inside an epoch."""
        _save_rank(folder, rank, self._networks, self.position)

    def load_rank(self, folder: Path, rank: int, world: int) -> None:
        """Read what `save_rank` wrote; call it after `load`."""
        _load_rank(folder, rank, world, self._networks, self.position)

    def check_finite(self, name: str) -> None:
        """Check that all weights are finite, so that no other weights get into a checkpoint.

        Raises:
            FloatingPointError: a weight is not finite; the message names the step.
        """
        finite = [value.isfinite().all() for value in self.model.state_dict().values() if value.is_floating_point()]
        if not torch.stack(finite).all():
            raise FloatingPointError(f"{name}: weights are not finite after step {self.step}; lower optimiser.lr")

    @property
    def _networks(self) -> list[nn.Module]:
        return [self.model] if self.average is None else [self.model, self.average.module]


def best_checkpoint(folder: Path) -> Path | None:
    """Return the checkpoint with the lowest validation loss in the folder of a trained network, or None."""
    return min((file.parent for file in sorted(folder.glob(f"checkpoint_*/{WEIGHTS}"))), key=_loss, default=None)


def _loss(checkpoint: Path) -> float:
    if any(checkpoint.glob("rank-*.pt")):  # written inside an epoch, without validation
        return math.inf
    return float(json.loads((checkpoint / "history.json").read_text())[-1][SELECT])


def _plain(state: dict[str, Any]) -> dict[str, Any]:
    """Return only what `weights_only=True` can read back: numbers, strings, lists and None."""
    return {key: value for key, value in state.items() if isinstance(value, int | float | str | list | None)}


def _save_rank(folder: Path, rank: int, networks: list[nn.Module], position: Position) -> None:
    """Write `rank-N.pt`: the batch-norm statistics of the networks, and the metrics so far."""
    stored = {
        "statistics": [dict(_statistics(network)) for network in networks],
        "sums": position.sums.values.cpu(),
        "seconds": position.seconds,
        "waited": position.waited,
    }
    save_tensors(stored, folder / f"rank-{rank}.pt")


def _load_rank(folder: Path, rank: int, world: int, networks: list[nn.Module], position: Position) -> None:
    """Read what the ranks wrote; do nothing if the checkpoint was written at the end of an epoch."""
    files = sorted(folder.glob("rank-*.pt"))
    if not files:
        return
    mine = [folder / f"rank-{rank}.pt"] if len(files) == world else files
    stored: list[dict[str, Any]] = [read_tensors(file) for file in mine]
    for number, network in enumerate(networks):
        for name, buffer in _statistics(network):
            values = [one["statistics"][number][name] for one in stored]
            buffer.copy_(values[0] if len(values) == 1 else torch.stack(values).mean(dim=0, dtype=torch.float64))
    if len(files) == world or rank == 0:  # rank 0 takes the sums of all former ranks
        position.sums = Sums(torch.stack([one["sums"] for one in stored]).sum(dim=0))
    position.seconds, position.waited = stored[0]["seconds"], stored[0]["waited"]


def _statistics(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for name, buffer in network.named_buffers():
        if name.endswith(("running_mean", "running_var", "num_batches_tracked")):
            yield name, buffer
