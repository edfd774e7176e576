"""Networks that turn windows into features, in the process that calls them or on the GPUs of the cluster."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import ray
import torch
from numpy.typing import NDArray
from torch import nn

from pipeline.clips.normalise import normalise
from pipeline.features.layers import Pool, Taps

View = Mapping[str, NDArray[np.uint8]]
"""One crop of one window: for each stream its frames, (T, S, S, C) uint8."""

Features = dict[str, NDArray[np.float32]]
"""The values of each column, (views, ...)."""

Score = Callable[[Sequence[View]], Callable[[], Features]]
"""A function of views that returns a function that waits for their features."""

ATTEMPTS = 3
"""Retries of a batch on an actor, and restarts of an actor."""


@dataclass(frozen=True)
class Networks:
    """Networks in evaluation mode on the CPU, with what is wanted of them.

    Attributes:
        networks: networks by name: rgb, flow, or two_stream for one that takes both.
        inputs: streams that each network takes.
        layers: names of the layers whose outputs are the features.
        pool: see `pipeline.features.layers.Taps`.
    """

    networks: Mapping[str, nn.Module]
    inputs: Mapping[str, tuple[str, ...]]
    layers: tuple[str, ...]
    pool: Pool

    def column(self, network: str, layer: str) -> str:
        """Return the name of the column of a network's layer."""
        return f"{network}_{layer.replace('.', '_')}"


class Local:
    """A scorer in this process.

    On a CPU, each view goes through the network alone, so that its features do not depend on the batch it is in: the
    kernels of torch's CPU backend round differently for other sizes of a batch, and are not faster for larger ones.
    """

    def __init__(self, networks: Networks, device: torch.device | str = "cpu") -> None:
        """Move the networks to a device."""
        self._wanted, self._device = networks, torch.device(device)
        self._taps = {
            name: Taps(_laid_out(network).to(self._device).eval(), networks.layers, networks.pool)
            for name, network in networks.networks.items()
        }

    def __call__(self, views: Sequence[View]) -> Callable[[], Features]:
        """Compute the features of views of the same size."""
        alone = self._device.type == "cpu"
        batches = [[view] for view in views] if alone else [views]
        parts = [self._batch(batch) for batch in batches]
        made = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        return lambda: made

    def _batch(self, views: Sequence[View]) -> Features:
        found: Features = {}
        clips = {
            stream: normalise(torch.from_numpy(np.stack([view[stream] for view in views])).to(self._device))
            for stream in views[0]
        }
        for name, taps in self._taps.items():
            for layer, output in taps({stream: clips[stream] for stream in self._wanted.inputs[name]}).items():
                found[self._wanted.column(name, layer)] = output.float().cpu().numpy()
        return found


def _laid_out(network: nn.Module) -> nn.Module:
    """Convert 3D convolutions to the memory layout of the windows.

    On one core, I3D then takes 0.8 of the time that it takes with channels first; 3D ResNets take the same.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv3d):
            module.to(memory_format=torch.channels_last_3d)
    return network


@dataclass(frozen=True)
class Shared:
    """A scorer in each worker process, made of networks that lie in Ray's object store; it is pickled to the workers.

    Attributes:
        networks: reference to a `Networks`.
    """

    networks: Any

    def __call__(self, views: Sequence[View]) -> Callable[[], Features]:
        """Compute the features of views in this process; the first call gets the networks."""
        key = self.networks.hex()
        if key not in _here:
            _here.clear()
            _here[key] = Local(ray.get(self.networks))
        return _here[key](views)


_here: dict[str, Local] = {}


@dataclass(frozen=True)
class OnGpus:
    """A scorer that sends views to one actor on each GPU; it is pickled to the workers, which decode meanwhile.

    Attributes:
        actors: the actors; they end with the last copy of this object.
    """

    actors: tuple[Any, ...]

    def __call__(self, views: Sequence[View]) -> Callable[[], Features]:
        """Send views to a GPU."""
        answer = random.choice(self.actors).score.remote(list(views))
        return lambda: ray.get(answer)


def scorer(networks: Networks, gpus: int, gpus_each: float = 1.0, device: str = "cuda") -> Shared | OnGpus:
    """Return the scorer of a run on this cluster.

    Args:
        networks: the networks.
        gpus: number of GPUs to use; without one, the workers compute on their CPUs.
        gpus_each: share of each GPU to reserve.
        device: the device of an actor.
    """
    stored = ray.put(networks)
    if not gpus:
        return Shared(stored)
    actor = ray.remote(
        num_gpus=gpus_each,
        num_cpus=0,
        max_restarts=ATTEMPTS,
        max_task_retries=ATTEMPTS,
        scheduling_strategy="SPREAD",
    )(_GpuScorer)
    return OnGpus(tuple(actor.remote(stored, device) for _ in range(gpus)))


class _GpuScorer:
    """An actor that holds the networks on one GPU."""

    def __init__(self, networks: Networks, device: str) -> None:
        self._score = Local(networks, device)

    def score(self, views: list[View]) -> Features:
        """Return the features of views."""
        return self._score(views)()
