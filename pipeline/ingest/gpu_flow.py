"""TV-L1 on the cluster's GPUs: one actor per GPU, to which the ingest tasks of all nodes send grey frames.

Decoding and encoding stay in tasks on CPUs; only a clip's grey frames go to a GPU, and its flow comes back. So all
cores of the cluster, on every node, can supply a GPU that computes a thousand pairs per second.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import ray
from numpy.typing import NDArray

from pipeline import flow

Compute = Callable[..., NDArray[np.float32]]
ATTEMPTS = 3  # retries of a clip on an actor, and restarts of an actor, before the clip counts as failed


@dataclass(frozen=True)
class OnGpus:
    """A replacement of `pipeline.flow.tvl1` that calls an actor; it is pickled to the tasks that call it.

    Attributes:
        actors: one actor for each GPU. They end with the last copy of this object.
    """

    actors: tuple[ray.actor.ActorHandle, ...]

    def __call__(self, frames: NDArray[np.uint8], backend: str, **parameters: float) -> NDArray[np.float32]:
        """Compute flow as `pipeline.flow.tvl1` does, and wait while the actor computes other clips."""
        grey = np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames])  # grey has a third of the bytes
        actor = random.choice(self.actors)  # the result does not depend on the choice
        computed: NDArray[np.float32] = ray.get(actor.tvl1.remote(grey, backend, parameters))
        return computed


def on_gpus(count: int, memory_gib: float, gpus_each: float = 1.0) -> OnGpus:
    """Start the actors.

    Args:
        count: number of actors.
        memory_gib: GPU memory in GiB that each actor may use for a batch of pairs.
        gpus_each: number of GPUs that each actor reserves.
    """
    actor = ray.remote(
        num_gpus=gpus_each, num_cpus=0, max_restarts=ATTEMPTS, max_task_retries=ATTEMPTS, scheduling_strategy="SPREAD"
    )(_FlowActor)
    return OnGpus(tuple(actor.remote(memory_gib) for _ in range(count)))


class _FlowActor:
    """An actor that holds one GPU and its compiled kernels."""

    def __init__(self, memory_gib: float) -> None:
        self._memory_gib = memory_gib

    def tvl1(self, grey: NDArray[np.uint8], backend: str, parameters: dict[str, float]) -> NDArray[np.float32]:
        """Return the flow of one clip, (T - 1, H, W, 2)."""
        return flow.tvl1(grey, backend, memory_gib=self._memory_gib, **parameters)
