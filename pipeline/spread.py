"""Calls of a function in Ray tasks on every node of a cluster, with two for each core in flight."""

import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import ray
from ray.exceptions import RayError, RayTaskError

from pipeline.cluster import ADDRESS, ClusterError, join, quiet

T = TypeVar("T")
R = TypeVar("R")
_AT_ONCE = 2  # tasks in flight for each core, so that no core waits for the driver
_EVERY_S = 0.2  # longest wait for more results; one question to Ray has the answers for all tasks that ended meanwhile


def spread(function: Callable[[T], R], items: Iterable[T], lost: Callable[[T, str], R]) -> Iterator[R]:
    """Call a function on each item in a Ray task with one CPU, and yield the results in the order of their ends.

    The tasks run on the cluster that this process is connected to, else on the one that `RAY_ADDRESS` names, else on
    this machine alone. A task whose worker or node dies is tried three more times.

    Args:
        function: a function that may be called more than once for an item.
        items: what to call it with; an item is asked for when there is room for its task.
        lost: gives the result of an item whose workers all died, from the item and the kind of death.

    Raises:
        ClusterError: there is no cluster, or the function raised an error.
    """
    if not ray.is_initialized():
        join(os.environ.get(ADDRESS, "local"))
    quiet()
    task = ray.remote(num_cpus=1, max_retries=3, scheduling_strategy="SPREAD")(function)
    rest, running = iter(items), dict[ray.ObjectRef, T]()
    while True:
        cores = max(1, int(ray.cluster_resources().get("CPU", 1)))
        running |= {task.remote(item): item for item in itertools.islice(rest, max(0, _AT_ONCE * cores - len(running)))}
        if not running:
            return
        ended, _ = ray.wait(list(running), num_returns=len(running), timeout=_EVERY_S)
        for reference in ended:
            item = running.pop(reference)
            try:
                result = ray.get(reference)
            except RayTaskError as error:
                raise ClusterError(f"a task failed: {type(error.cause).__name__}: {error.cause}") from error
            except RayError as error:
                result = lost(item, type(error).__name__)
            yield result
