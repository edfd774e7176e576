"""The work of one task: it does the clips of its units, stages each, and makes the shards whose clips it has all.

A task may be repeated at any time, because Ray repeats a task whose worker was killed. Then it lists the folder of its
shard, and does what is not there.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from pipeline.ingest.attempts import counted
from pipeline.ingest.ledger import HaltedError, Reporter
from pipeline.ingest.nodes import node_id
from pipeline.ingest.product import Join
from pipeline.ingest.run_errors import stopped
from pipeline.ingest.stages import Row, Stage
from pipeline.ingest.staging import finished, folder_of, list_shard, make_store, part_name
from pipeline.ingest.units import Unit, unpacked
from pipeline.ingest.videos import Video, clips_of, kind_of, local, remote
from pipeline.ingest.write_shards import write_shard
from pipeline.storage import make_folder

AHEAD, AHEAD_BYTES, FETCHERS = 4, 64 << 20, 2
"""Videos that a task fetches ahead of decoding: their largest number and bytes, and how many at a time."""


@dataclass(frozen=True)
class ShardTask:
    """What a task needs to know; it is pickled with the function that Ray Data calls.

    Attributes:
        shards: folder or URI of the set.
        work: the stage from a row to what is stored; None if staged clips are only joined.
        fetch: function that adds its content to a remote video; None if there are no remote videos.
        ledger: actor of `pipeline.ingest.ledger`.
        listed: whether a local file that is not found may be seen on another node, so that its failure is provisional.
        store: see `pipeline.ingest.product.Product`.
        join: see `pipeline.ingest.product.Product`.
    """

    shards: str
    work: Stage | None
    fetch: Callable[[Video], Video] | None
    ledger: Any
    listed: bool = True
    store: Callable[[str], Callable[[Row], Row]] = make_store
    join: Join = write_shard

    def run(self, row: Row) -> Row:
        """Do the units of a row of `pipeline.ingest.units.packed`.

        Returns:
            The `number` of the row; `made`, the names of the shards that are finished; `left`, the number of clips that
            are not done; `stopped`, the message of an error that stops the run, or None; and `node`, where it ran.
        """
        reporter, made = Reporter(self.ledger), list[str]()
        left = 0

        def do_units() -> None:
            nonlocal left
            for number, unit in enumerate(unpacked(row)):
                again = reporter.open(f"{row['number']} {number}") or not unit.fresh
                open_ = self.do(unit, again, reporter)
                left += open_
                if unit.whole and not open_:
                    made.append(unit.shard)

        stop = stopped(do_units)
        reporter.flush()
        return {"number": row["number"], "made": made, "left": left, "stopped": stop, "node": node_id()}

    def do(self, unit: Unit, again: bool, reporter: Reporter) -> int:
        """Do one unit and return the number of clips that are left."""
        if unit.whole and again and finished(self.shards, unit.shard):
            return 0
        folder, there = folder_of(self.shards, unit.shard), list_shard(self.shards, unit.shard) if again else {}
        store, rows = self.store(folder), unit.clips.to_pylist()
        names = [part_name(row["clip_id"]) for row in rows]
        left = {
            name: self._begun(row)
            for name, row in zip(names, rows, strict=True)
            if name not in there and not (unit.whole and row["error_class"])
        }
        if left and self.work is not None:
            make_folder(folder)
            with closing(self._videos(left.values())) as videos:
                try:
                    for clip in (clip for video in videos for clip in clips_of(video)):
                        status = counted(clip, self.work, store, reporter)
                        if status["stopped"]:
                            raise OSError(status["stopped"])
                        if not status["provisional"]:
                            name = part_name(clip["clip_id"])
                            there[name] = part_name(clip["clip_id"], failed=status["status"] == "failed")
                            del left[name]
                except HaltedError:
                    return len(left)
        if unit.whole and not left:
            self.join(
                self.shards,
                unit.shard,
                [there.get(name, row) for name, row in zip(names, rows, strict=True)],
            )
        return len(left)

    def _begun(self, row: Row) -> Row:
        """Return a row of the catalog with the columns that the stages expect."""
        is_failed = row["error_class"] is not None
        listed = self.listed and not is_failed and "://" not in row["source"]
        return {**row, "rank": None, "listed": listed, "status": "failed" if is_failed else None}

    def _videos(self, rows: Iterable[Row]) -> Generator[Video]:
        """Yield the videos of clips, those at an address with their content."""
        kinds: dict[str, list[Row]] = {"local": [], "remote": []}
        for row in rows:
            kinds[kind_of(row)].append(row)
        yield from local(kinds["local"])
        if self.fetch is not None:
            yield from fetched_ahead(self.fetch, remote(kinds["remote"]))


def fetched_ahead(fetch: Callable[[Video], Video], videos: Iterable[Video]) -> Iterator[Video]:
    """Yield videos with their content, in their order; threads fetch the next ones in the meantime.

    At most `AHEAD` videos are held or on their way. No more are begun if they could be more than `AHEAD_BYTES`, judging
    by the largest one so far.
    """
    coming, waiting, largest = iter(videos), deque[Future[Video]](), 0
    pool = ThreadPoolExecutor(FETCHERS)
    try:
        while True:
            while len(waiting) < AHEAD and (not waiting or (len(waiting) + 1) * largest <= AHEAD_BYTES):
                if (video := next(coming, None)) is None:
                    break
                waiting.append(pool.submit(fetch, video))
            if not waiting:
                return
            fetched = waiting.popleft().result()
            largest = max(largest, len(fetched["content"] or b""))
            yield fetched
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
