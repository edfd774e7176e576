"""The lists of clips of finished shards, which are read and written by the hundred in tasks."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa

from pipeline.ingest.in_tasks import in_tasks
from pipeline.ingest.packed_table import packed_table, unpacked_table
from pipeline.ingest.staging import list_of
from pipeline.shards.manifest import read_list
from pipeline.shards.tables import write_table

BATCH, AT_ONCE = 64, 8
"""Number of lists that a task reads or writes, and of requests that it makes at the same time."""


def read_lists(shards: str, names: Sequence[str], cpus: float) -> pa.Table:
    """Return the clips of all lists in the order of the names.

    Args:
        shards: folder or URI of the set.
        names: names of finished shards.
        cpus: CPUs of a task.

    Raises:
        ShardError: a list does not read.
    """

    def read(batch: Sequence[str]) -> bytes:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            tables = pool.map(lambda name: read_list(list_of(shards, name)), batch)
            return packed_table(pa.concat_tables(tables))

    return pa.concat_tables(map(unpacked_table, in_tasks(read, batches(names), cpus)))


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
