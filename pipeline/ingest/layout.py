"""The layout of a set: which clips go into which shard, and in which order.

The clips of a split are in the order of a digest of their ids, which mixes the classes. The clips of one video stay
together, at the place of its first clip, so that a video is fetched once. A shard ends where the clips of the next
video do not fit any more; a video that has more clips than a shard may have is cut.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.catalog.rows import ARCHIVES, CATALOG_SCHEMA
from pipeline.shards.overlaps import videos_of

LAYOUT = "videos together"
"""What the plan of a set says about its layout. Sets of before have no word on it: they cut a video between shards."""


@dataclass(frozen=True)
class Layout:
    """The clips of a catalog in the order of the set.

    Attributes:
        clips: rows of `CATALOG_SCHEMA`, in one chunk.
        videos: number of the video of each clip; the clips of a video have one number.
        names: names of the shards.
        starts: number of the first clip of each shard, and of all clips at the end.
    """

    clips: pa.Table
    videos: NDArray[np.int64]
    names: list[str]
    starts: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.clips)

    def sizes(self) -> NDArray[np.int64]:
        """Return the number of clips of each shard."""
        return np.diff(self.starts)

    def of(self, shard: int) -> pa.Table:
        """Return the clips of a shard, given by its number."""
        return self.part(shard, self.clips)

    def part(self, shard: int, rows: pa.Table) -> pa.Table:
        """Return the rows of a shard from other rows that are in the order of the layout."""
        return rows.slice(int(self.starts[shard]), int(self.starts[shard + 1] - self.starts[shard]))

    def shard_numbers(self) -> NDArray[np.int64]:
        """Return the number of the shard of each clip."""
        return np.repeat(np.arange(len(self.names)), self.sizes())

    def archived(self) -> NDArray[np.bool_]:
        """Return for each clip whether it is to be found in archives."""
        there = pc.and_(pc.starts_with(self.clips["source"], ARCHIVES), pc.is_null(self.clips["error_class"]))
        return there.fill_null(False).to_numpy().astype(bool)

    def has_addresses(self) -> bool:
        """Return whether some clip's video is to be fetched from an address."""
        sources = self.clips["source"].filter(pc.is_null(self.clips["error_class"]))
        there = pc.and_not(pc.match_substring(sources, "://"), pc.starts_with(sources, ARCHIVES))
        return bool(pc.any(there).as_py())

    def failed(self) -> NDArray[np.bool_]:
        """Return for each clip whether the catalog says that it cannot be used."""
        return pc.is_valid(self.clips["error_class"]).to_numpy().astype(bool)


def layout_of(catalog: pa.Table, size: int) -> Layout:
    """Return the layout of a catalog.

    Args:
        catalog: rows of `pipeline.catalog.CATALOG_SCHEMA`, in any order.
        size: largest number of clips of a shard.
    """
    splits = sorted(pc.unique(catalog["split"]).to_pylist())
    split = pc.index_in(catalog["split"], pa.array(splits, pa.string())).to_numpy().astype(np.int64)
    ids = catalog["clip_id"].to_pylist()
    videos = videos_of(catalog["clip_id"]).combine_chunks()
    video = videos.dictionary_encode().indices.to_numpy().astype(np.int64)
    video += split * (int(video.max(initial=0)) + 1)
    order = np.lexsort((*_digests(ids), split))
    _, first, member = np.unique(video[order], return_index=True, return_inverse=True)
    order = order[np.argsort(first[member], kind="stable")]  # within a video, the order stays
    names, starts = [], []
    video, split = video[order], split[order]
    for number, name in enumerate(splits):
        begin, end = np.searchsorted(split, [number, number + 1])
        found = begin + np.fromiter(_starts(_runs(video[begin:end]), size), np.int64)
        names += [f"{name}-{shard:05d}" for shard in range(len(found))]
        starts.append(found)
    clips = catalog.select(CATALOG_SCHEMA.names).take(pa.array(order)).combine_chunks().replace_schema_metadata(None)
    return Layout(clips, video, names, np.concatenate([*starts, [len(clips)]]))


def _digests(ids: Iterable[str]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Return the lower and the upper half of the digests by which staged clips are named (`staging.part_name`)."""
    digests = b"".join(hashlib.sha256(name.encode()).digest()[:16] for name in ids)
    halves = np.frombuffer(digests, ">u8").reshape(-1, 2).astype(np.uint64)
    return halves[:, 1], halves[:, 0]


def _runs(video: NDArray[np.int64]) -> list[int]:
    """Return the number of clips of each video, whose clips are side by side."""
    edges = np.flatnonzero(np.diff(video, prepend=-1, append=-1))
    return list(np.diff(edges).tolist())


def _starts(videos: Iterable[int], size: int) -> Iterator[int]:
    """Yield the first clip of each shard of a split, from the number of clips of each video."""
    at = used = 0
    for clips in videos:
        if not used or used + clips > size:
            yield at
            used = 0
        left = clips
        while left > size:
            at, left = at + size, left - size
            yield at
        at, used = at + left, used + left
