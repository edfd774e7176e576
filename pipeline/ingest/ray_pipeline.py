"""The stages in Ray Data, which make the shards of a catalog.

    clips of some shards -> one task: fetch, convert, store, write the shard -> one small row a task

What is made of a clip never becomes a block of Ray's. `archived.py` has the stages for clips from archives.
"""

from collections.abc import Collection, Generator, Iterator, Mapping
from contextlib import AbstractContextManager, closing
from dataclasses import replace
from typing import Any, NoReturn

import pyarrow as pa
import pyarrow.compute as pc
import ray

from pipeline.catalog.rows import CATALOG_SCHEMA
from pipeline.config import Config
from pipeline.ingest.fetch.limiter import cluster_limiter
from pipeline.ingest.frames import frames_of, is_frames
from pipeline.ingest.layout import Layout
from pipeline.ingest.ledger import start_ledger
from pipeline.ingest.nodes import NODE_LABEL, another, named
from pipeline.ingest.product import Product, encoded_clips
from pipeline.ingest.progress_report import Tally
from pipeline.ingest.remaining import Remaining
from pipeline.ingest.run_errors import IngestError, check
from pipeline.ingest.shard_task import ShardTask
from pipeline.ingest.stages import Row
from pipeline.ingest.units import Unit, bundles, cut, of_clips
from pipeline.ingest.videos import make_fetch
from pipeline.ingest.watch import Watch, watched

NO_PROGRESS_TIMEOUT_S = 24 * 3600  # Ray's 1800 s would end a run with slow flow, or one that pauses for YouTube
JOINED = 1024
"""Largest number of staged clips that one task joins to shards."""

PART = 8
"""Largest number of clips of a task that does a few clips again, on another node or at the end of archives."""


class Pipeline:
    """The stages with the settings of one run.

    Attributes:
        config: a resolved config.
        tally: what counts the figures of the run.
        product: what is made of the clips.
        ledger: actor to which tasks report.
        slots: number of tasks that run at the same time.
    """

    def __init__(self, config: Config, tally: Tally, product: Product | None = None) -> None:
        """Start the ledger of the run; without a product, encoded clips are made."""
        self.config, self.tally, self.product = config, tally, product or encoded_clips(config.ingest, config.resources)
        self.ledger = start_ledger()
        self.slots = max(1, int(ray.cluster_resources().get("CPU", 1) / config.resources.ingest_cpus))

    def make_shards(self, remaining: Remaining) -> set[str]:
        """Do the clips that are left and do not come from archives.

        Returns:
            The names of the shards that are made. A shard that was cut into parts is still to be joined.

        Raises:
            IngestError: a node does not see the files that this process has listed.
        """
        layout, made, again = remaining.layout, set[str](), list[Row]()
        rows = cut(layout, remaining.shards, remaining.todo & ~layout.archived(), remaining.begun, self.slots)
        if not rows:
            return made
        task = self._task(fetches=layout.has_addresses())
        with self.watched() as watch, closing(self._run(task, rows)) as ended:
            for row in ended:
                made.update(row["made"])
                if row["left"]:
                    again.append(rows[row["number"]])
                if watch.blind:
                    break
        if watch.blind:
            self._do_elsewhere(task, layout, watch)
            self.stop_for(watch.blind, watch.source)
        if again:  # the file is nowhere now, or a network disk had not shown it yet
            with self.watched():
                for row in self._run(replace(task, listed=False), again):
                    made.update(row["made"])
        return made

    def stage_failures(self, failures: Mapping[str, list[Row]]) -> None:
        """Stage clips that failed.

        Args:
            failures: for each shard, rows of the catalog with the error.
        """
        schema = pa.schema(list(CATALOG_SCHEMA))
        units = [Unit(name, pa.Table.from_pylist(rows, schema), False, True) for name, rows in failures.items()]
        with self.watched():
            for _ in self._run(replace(self._task(), listed=False), bundles(units, PART)):
                pass

    def join_shards(self, layout: Layout, names: Collection[str]) -> Iterator[int]:
        """Join the staged clips of shards, and yield the number of shards that each task has made.

        Raises:
            IngestError: a clip that workers have written is not there.
        """
        units = [Unit(name, layout.of(shard), True, False) for shard, name in enumerate(layout.names) if name in names]
        clips = sum(len(unit.clips) for unit in units)
        for row in self._run(replace(self._task(), work=None), bundles(units, min(JOINED, clips // (4 * self.slots)))):
            if row["left"]:
                raise IngestError(
                    f"{self.config.ingest.shards}: {row['left']} clips that workers have written are not there; give a "
                    "folder that all nodes share, or the address of an object store"
                )
            yield len(row["made"])

    def watched(self) -> AbstractContextManager[Watch]:
        """Return a context in which the driver watches the tasks."""
        return watched(self.ledger, self.tally, self.config.resources.ingest_cpus)

    def stop_for(self, blind: list[str], source: str) -> NoReturn:
        """End the run with the names of the nodes that do not see a file."""
        source = str(frames_of(source).folder) if is_frames(source) else source
        raise IngestError(
            f"{self.config.ingest.shards}: {source} is there, but not on the node{'s' * (len(blind) > 1)} "
            f"{', '.join(named(node) for node in blind)}; mount its folder there under the same path, or take the node "
            "out of the cluster; what is finished stays, and the same command goes on from there"
        )

    def _task(self, fetches: bool = False) -> ShardTask:
        settings = self.config.ingest
        fetch = make_fetch(settings.fetch, cluster_limiter(settings.fetch)) if fetches else None
        product = self.product
        return ShardTask(settings.shards, product.work, fetch, self.ledger, store=product.store, join=product.join)

    def _run(self, task: ShardTask, rows: list[Row], node: str | None = None) -> Generator[Row]:
        """Do rows of units and yield what `ShardTask.run` returns for each, in any order.

        Args:
            task: the work of each task.
            rows: rows of `pipeline.ingest.units`.
            node: id of the node that runs the tasks; None for all nodes.
        """

        def ingest_clips(row: Row) -> Iterator[Row]:
            yield task.run(row)

        where: dict[str, Any] = {"label_selector": {NODE_LABEL: node}} if node is not None else {}
        cpus = self.config.resources.ingest_cpus
        for row in dataset(rows).flat_map(ingest_clips, num_cpus=cpus, **where).iter_rows():
            check(row)
            yield row

    def _do_elsewhere(self, task: ShardTask, layout: Layout, watch: Watch) -> None:
        """Do the clips whose files were not found on a node that sees them."""
        seeing = another(watch.blind, self.config.resources.ingest_cpus)
        if seeing is None:
            return
        there = pc.is_in(layout.clips["clip_id"], pa.array(watch.unseen, pa.string())).to_numpy().astype(bool)
        self.ledger = start_ledger()  # the other one tells every task to stop
        with self.watched():
            for _ in self._run(replace(task, ledger=self.ledger), bundles(of_clips(layout, there), PART), seeing):
                pass


def dataset(rows: list[Row], block_bytes: int | None = None) -> ray.data.Dataset:
    """Return rows as a dataset, each in a block of its own, so that a task has one row.

    Args:
        rows: the rows.
        block_bytes: target bytes of the blocks that are made of them; None for Ray's own choice.
    """
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False  # `Progress` prints lines that suit a job log
    context.print_on_execution_start = False
    context.execution_options.verbose_progress = False
    context.execution_no_progress_timeout_s = NO_PROGRESS_TIMEOUT_S
    context.target_max_block_size = block_bytes or ray.data.context.DEFAULT_TARGET_MAX_BLOCK_SIZE
    # from_items makes its blocks in this process; from_arrow and range would start a task with a whole CPU for each.
    return ray.data.from_items(rows, override_num_blocks=len(rows))
