"""The digest that identifies a version of a data set: it covers everything that decides a training.

These are, of every clip, the columns of `DECISIVE`, and the names of all classes in the order of their numbers. Where a
clip lies, where it came from, and statistics that only a person reads are not covered. Each value is written with its
length before it, so that no two tables are written alike; the rows are put in order, so that theirs does not count.
"""

import hashlib
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc

DECISIVE = (
    "clip_id", "dataset", "split", "label", "label_id", "status", "error_class",
    "num_frames", "height", "width", "fps", "video_codec", "video_pixel_format", "video_sha256",
    "num_flow", "flow_codec", "flow_bound", "flow_sha256",
)  # fmt: skip

_AT_ONCE = 1 << 14  # texts that are copied at once


def digest(clips: pa.Table, labels: Sequence[str]) -> str:
    """Return the digest of a shard set, 16 hexadecimal digits.

    Args:
        clips: one row per clip of the catalog (`CLIPS_SCHEMA`), in any order.
        labels: names of the classes, in the order of their numbers.
    """
    lines = pc.binary_join_element_wise(*(_written(clips[name]) for name in DECISIVE), _text(" "))
    total = hashlib.sha256(f"shards of format 3: {len(clips)} clips, {len(labels)} classes\n".encode())
    for name in labels:
        total.update(f"{len(name.encode())}:{name}\n".encode())
    for some in in_order(lines):
        total.update("\n".join([*some, ""]).encode())
    return total.hexdigest()[:16]


def in_order(lines: pa.ChunkedArray) -> Iterator[list[str]]:
    """Yield the texts of a column in the order of their bytes, some thousands at a time."""
    lines = lines.combine_chunks()
    order = pc.sort_indices(lines)
    for start in range(0, len(order), _AT_ONCE):
        yield lines.take(order.slice(start, _AT_ONCE)).to_pylist()


def digest_of_format_2(clips: pa.Table) -> str:
    """Return the digest of sets of format 2, which covers neither the numbers of the classes nor the sizes of clips."""
    columns = ["clip_id", "split", "label", "status", "error_class", "video_sha256", "flow_sha256"]
    rows = sorted(tuple(repr(row[name]) for name in columns) for row in clips.select(columns).to_pylist())
    return hashlib.sha256("\n".join("\t".join(row) for row in rows).encode()).hexdigest()[:16]


def _written(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Write each value of a column as `LENGTH:TEXT`, and `-` for null; floats as the number of their bits."""
    if pa.types.is_floating(column.type):
        bits = pa.int32() if column.type.bit_width == 32 else pa.int64()
        column = pa.chunked_array([chunk.view(bits) for chunk in column.chunks], bits)
    texts = column.cast(pa.large_string())
    lengths = pc.binary_length(texts).cast(pa.large_string())
    return pc.binary_join_element_wise(lengths, texts, _text(":")).fill_null(_text("-"))


def _text(text: str) -> pa.Scalar:
    return pa.scalar(text, pa.large_string())
