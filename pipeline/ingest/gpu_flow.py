"""TV-L1 on the cluster's GPUs: an actor a GPU, to which the ingest tasks of any node send their grey frames.

Decoding and encoding stay where they are, in tasks on CPUs; only a clip's flow crosses to a GPU and back. So a GPU
that computes a thousand pairs a second is fed by as many cores as the cluster has, on whichever node they are.
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
ATTEMPTS = 3  # a clip on an actor, and starts of an actor, before the clip counts as failed


@dataclass(frozen=True)
class OnGpus:
    """`pipeline.flow.tvl1` by way of an actor; pickled to the tasks that call it.

    Attributes:
        actors: one for each GPU. They end with the last copy of this object.
    """

    actors: tuple[ray.actor.ActorHandle, ...]

    def __call__(self, frames: NDArray[np.uint8], backend: str, **parameters: float) -> NDArray[np.float32]:
        """See `pipeline.flow.tvl1`; waits for the actor's turn."""
        grey = np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames])  # a third of the bytes
        actor = random.choice(self.actors)  # the result does not depend on it
        computed: NDArray[np.float32] = ray.get(actor.tvl1.remote(grey, backend, parameters))
        return computed


def on_gpus(count: int, memory_gib: float, gpus_each: float = 1.0) -> OnGpus:
    """Start the actors.

    Args:
        count: how many.
        memory_gib: the GPU memory that each may take for a batch of pairs.
        gpus_each: what each reserves.
    """
    actor = ray.remote(
        num_gpus=gpus_each, num_cpus=0, max_restarts=ATTEMPTS, max_task_retries=ATTEMPTS, scheduling_strategy="SPREAD"
    )(_FlowActor)
    return OnGpus(tuple(actor.remote(memory_gib) for _ in range(count)))


class _FlowActor:
    """Holds one GPU and its compiled kernels."""

    def __init__(self, memory_gib: float) -> None:
        self._memory_gib = memory_gib

    def tvl1(self, grey: NDArray[np.uint8], backend: str, parameters: dict[str, float]) -> NDArray[np.float32]:
        """Flow of one clip, (T - 1, H, W, 2)."""
        return flow.tvl1(grey, backend, memory_gib=self._memory_gib, **parameters)
