"""Plain Ray tasks for work that has no clips in it: reading, writing and splitting the lists of many shards."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import ray
import ray.exceptions

from pipeline.shards.tables import ShardError

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_tasks(work: Callable[[Item], Result], items: Iterable[Item], cpus: float) -> Iterator[Result]:
    """Yield the result of a function for each item, in their order; not many more tasks are begun than can run.

    Args:
        work: the function. It may be called again with the same item if its worker was killed.
        items: the items; they are asked for as tasks end.
        cpus: CPUs of a task.

    Raises:
        OSError: a task failed at the disk, the network or the store.
        ShardError: a task refused a file.
    """
    task = ray.remote(num_cpus=cpus, max_retries=-1)(work)
    most = 2 * max(1, int(ray.cluster_resources().get("CPU", 1) / cpus))
    waiting: list[ray.ObjectRef] = []
    for item in items:
        waiting.append(task.remote(item))
        if len(waiting) > most:
            yield _got(waiting.pop(0))
    while waiting:
        yield _got(waiting.pop(0))


def _got(result: ray.ObjectRef) -> Any:
    try:
        return ray.get(result)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, OSError | ShardError):
            raise error.cause from None
        raise
