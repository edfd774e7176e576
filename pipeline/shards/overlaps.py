"""Search for videos that two shard sets share, so that nobody validates on videos of the training."""

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.shards.manifest import read_catalog

_PARTS = r"^(?P<dataset>[^.]*)\.?(?P<source>[^.]*)"
_YOUTUBE_ID = r"^[A-Za-z0-9_-]{11}$"
_PACKETS = "packets_sha256"  # digest of the coded packets, independent of the container; not every set has this column
_COLUMNS = {"clip": "clip_id", "split": "split", "label": "label"}


def videos_of(clip_ids: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return the video that each clip belongs to, from clip ids `DATASET.SOURCE[.START-END]`.

    A YouTube id means the same video in every data set. Any other name is valid in its own data set only, so the result
    includes the data set.
    """
    parts = pc.extract_regex(clip_ids, _PARTS)
    dataset, source = (pc.struct_field(parts, name) for name in ("dataset", "source"))
    return pc.if_else(
        pc.match_substring_regex(source, _YOUTUBE_ID), source, pc.binary_join_element_wise(dataset, source, ".")
    )


def overlaps(a: str, b: str) -> pa.Table:
    """Find pairs of readable clips, one from each set, that come from the same video, in the order of their ids.

    Args:
        a: folder or URI of a shard set.
        b: folder or URI of another shard set.

    Returns:
        Columns `clip_a`, `split_a`, `label_a`, `clip_b`, `split_b`, `label_b`, and `same`: "video" if the ids name the
        same video, "packets" if the names differ and the coded packets are identical.

    Raises:
        ShardError: one of the sets is not complete.
    """
    left, right = _clips(a, "a"), _clips(b, "b")
    by_video, by_packets = (_join(left, right, key) for key in ("video", "packets"))
    pairs = pa.concat_tables([by_video, by_packets]).group_by(by_video.column_names[:-1]).aggregate([("same", "max")])
    return pairs.rename_columns(by_video.column_names).sort_by([("clip_a", "ascending"), ("clip_b", "ascending")])


def by_split(pairs: pa.Table) -> list[dict[str, Any]]:
    """Count the clips in the pairs, for each pair of splits: `split_a`, `split_b`, `clips_a`, `clips_b`."""
    counted = pairs.group_by(["split_a", "split_b"]).aggregate(
        [("clip_a", "count_distinct"), ("clip_b", "count_distinct")]
    )
    ordered = counted.sort_by([("split_a", "ascending"), ("split_b", "ascending")])
    return ordered.rename_columns(["split_a", "split_b", "clips_a", "clips_b"]).to_pylist()


def _clips(shards: str, side: str) -> pa.Table:
    clips = read_catalog(shards).filter(pc.field("status") == "ok")
    columns = {f"{name}_{side}": clips[column] for name, column in _COLUMNS.items()}
    packets = clips[_PACKETS] if _PACKETS in clips.column_names else pa.nulls(len(clips), pa.string())
    return pa.table({**columns, "video": videos_of(clips["clip_id"]), "packets": packets})


def _join(left: pa.Table, right: pa.Table, key: str) -> pa.Table:
    """Join rows with the same key; a null equals nothing."""
    other = "packets" if key == "video" else "video"
    joined = left.drop([other]).join(right.drop([other]), key, join_type="inner")
    names = [f"{name}_{side}" for side in "ab" for name in _COLUMNS]
    return joined.select(names).append_column("same", pa.array([key] * len(joined), pa.string()))
