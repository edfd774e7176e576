"""The lists of clips of finished shards, which are read and written by the hundred in tasks."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pyarrow as pa

from pipeline.ingest.in_tasks import in_tasks
from pipeline.ingest.packed_table import packed_table, unpacked_table
from pipeline.ingest.run_errors import IngestError
from pipeline.ingest.staging import finished, list_of
from pipeline.shards.manifest import read_list
from pipeline.shards.tables import ShardError, write_table

BATCH, AT_ONCE = 64, 8
"""Number of lists that a task reads or writes, and of requests that it makes at the same time."""


def read_lists(shards: str, names: Sequence[str], cpus: float) -> pa.Table:
    """Return the clips of all lists in the order of the names.

    Args:
        shards: folder or URI of the set.
        names: names of finished shards.
        cpus: CPUs of a task.

    Raises:
        IngestError: a list that a worker has written is not there.
        ShardError: a list does not read.
    """

    def read(batch: Sequence[str]) -> bytes:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            tables = pool.map(lambda name: read_list(list_of(shards, name)), batch)
            return packed_table(pa.concat_tables(tables))

    with seen_by_all(shards, names):
        return pa.concat_tables(map(unpacked_table, in_tasks(read, batches(names), cpus)))


@contextmanager
def seen_by_all(shards: str, names: Sequence[str]) -> Iterator[None]:
    """Say of lists that do not read that they are not there, if that is the reason: a node has written them elsewhere.

    Args:
        shards: folder or URI of the set.
        names: names of the shards that workers have finished.

    Raises:
        IngestError: a list is not there.
    """
    try:
        yield
    except (ShardError, OSError) as error:
        if gone := sum(not finished(shards, name) for name in names):
            raise IngestError(
                f"{shards}: {gone} of {len(names)} files that workers have finished are not there; give a folder that "
                "all nodes share, or the address of an object store"
            ) from error
        raise


def write_lists(shards: str, lists: Iterator[tuple[str, pa.Table]], cpus: float) -> None:
    """Write the clips of shards as their lists.

    Args:
        shards: folder or URI of the set.
        lists: name and clips of each shard.
        cpus: CPUs of a task.
    """

    def write(batch: Sequence[tuple[str, bytes]]) -> None:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(lambda one: write_table(unpacked_table(one[1]), list_of(shards, one[0])), batch))

    packed = [(name, packed_table(clips)) for name, clips in lists]
    for _ in in_tasks(write, batches(packed), cpus):
        pass


def batches(items: Sequence) -> Iterator[Sequence]:
    """Yield items in batches of `BATCH`."""
    return (items[at : at + BATCH] for at in range(0, len(items), BATCH))
