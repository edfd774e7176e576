"""Units of work: a row of Ray Data has the clips of some shards, of one shard, or of a part of one.

Each row costs the driver some 20 ms, whatever is in it. So rows are large while much is left: each row of a round of
`slots` rows has 1/(2 * slots) of the clips that remain. They become smaller from round to round, down to a few clips,
so that all cores end at nearly the same time (guided self-scheduling). A row of whole shards makes these shards. A
shard that is cut into parts is joined when all rows are done.

The rows of clips travel in the row itself, compressed, and not through a file, because addresses may hold secrets,
which are not written to a disk.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.ingest.layout import Layout
from pipeline.ingest.packed_table import packed_table, unpacked_table

MOST = 1024
"""Largest number of clips of a row of Ray Data: what is lost of a progress line, and what one worker holds for long."""

SMALL = 64
"""Largest number of clips of the smallest rows; rows of fewer clips would cost the driver too much."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Unit:
    """Clips of one shard.

    Attributes:
        shard: name of the shard.
        clips: rows of the catalog.
        whole: whether these are all clips of the shard, so that the task makes the shard.
        fresh: whether no earlier run has staged any of these clips.
    """

    shard: str
    clips: pa.Table
    whole: bool
    fresh: bool


def cut(layout: Layout, shards: Sequence[int], todo: NDArray[np.bool_], begun: Sequence[int], slots: int) -> list[Row]:
    """Return the rows of Ray Data for shards that are not finished.

    Args:
        layout: the layout of the set.
        shards: numbers of the shards, in ascending order.
        todo: for each clip of the set, whether it is to be done. A shard with a clip from archives is never a whole.
        begun: numbers of the shards of which an earlier run has staged clips.
        slots: number of tasks that run at the same time.
    """
    sizes, started = layout.sizes(), set(begun)
    archived = set(layout.shard_numbers()[layout.archived()].tolist())
    most, rows, wholes = _Sizes(int(sum(sizes[shard] for shard in shards)), slots), list[Row](), list[Unit]()
    for shard in shards:
        name, fresh, first, end = layout.names[shard], shard not in started, *layout.starts[shard : shard + 2]
        size = most.next(len(rows))
        if wholes and sum(len(one.clips) for one in wholes) + sizes[shard] > size:
            rows.append(packed(len(rows), wholes))
            wholes = []
        if sizes[shard] <= size and shard not in archived:
            wholes.append(Unit(name, layout.of(shard), True, fresh))
        else:
            clips = first + np.flatnonzero(todo[first:end])
            for part in _parts(clips, layout.videos, size):
                rows.append(packed(len(rows), [Unit(name, layout.clips.take(pa.array(part)), False, fresh)]))
        most.remaining -= int(sizes[shard])
    return [*rows, packed(len(rows), wholes)] if wholes else rows


def bundles(units: Iterable[Unit], most: int) -> list[Row]:
    """Return rows of Ray Data of at most `most` clips each, or of one unit that has more."""
    rows, open_ = list[Row](), list[Unit]()
    for unit in units:
        if open_ and sum(len(one.clips) for one in open_) + len(unit.clips) > most:
            rows.append(packed(len(rows), open_))
            open_ = []
        open_.append(unit)
    return [*rows, packed(len(rows), open_)] if open_ else rows


def of_clips(layout: Layout, wanted: NDArray[np.bool_]) -> list[Unit]:
    """Return units of the wanted clips, one for each shard that has some."""
    shards, starts = np.unique(layout.shard_numbers()[wanted], return_index=True)  # clips lie in the order of shards
    numbers = np.split(np.flatnonzero(wanted), starts[1:])
    return [
        Unit(layout.names[shard], layout.clips.take(pa.array(here)), False, False)
        for shard, here in zip(shards, numbers, strict=True)
    ]


def packed(number: int, units: Sequence[Unit]) -> Row:
    """Return the row of Ray Data for some units."""
    clips = pa.concat_tables([unit.clips for unit in units])
    heads = [[unit.shard, len(unit.clips), unit.whole, unit.fresh] for unit in units]
    return {"number": number, "units": json.dumps(heads), "clips": packed_table(clips)}


def unpacked(row: Row) -> Iterator[Unit]:
    """Yield the units of a row of Ray Data."""
    clips, at = unpacked_table(row["clips"]), 0
    for shard, count, whole, fresh in json.loads(row["units"]):
        yield Unit(shard, clips.slice(at, count), whole, fresh)
        at += count


@dataclass
class _Sizes:
    """The largest number of clips of each row, which is set anew after every `slots` rows."""

    remaining: int
    slots: int
    size: int = 0
    round_ends: int = 0

    def __post_init__(self) -> None:
        self.least = max(1, min(SMALL, self.remaining // (8 * self.slots)))

    def next(self, rows: int) -> int:
        if rows >= self.round_ends:
            self.size = max(self.least, min(MOST, self.remaining // (2 * self.slots)))
            self.round_ends = rows + self.slots
        return self.size


def _parts(clips: NDArray[np.int64], videos: NDArray[np.int64], size: int) -> Iterator[NDArray[np.int64]]:
    """Cut clips into parts of `size` clips, or a few more where a video ends later."""
    start = 0
    for end in range(1, len(clips) + 1):
        if end == len(clips) or (end - start >= size and videos[clips[end]] != videos[clips[end - 1]]):
            yield clips[start:end]
            start = end
