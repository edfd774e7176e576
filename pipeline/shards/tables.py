"""Writing and reading the Parquet files of a shard set."""

import functools
from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.shards.schema import BLOBS
from pipeline.storage import open_store, write_atomically

_BLOB_NAMES = [field.name for field in BLOBS]


def write_table(table: pa.Table, uri: str) -> None:
    """Write one Parquet file atomically."""
    write_atomically(uri, lambda file: parquet_into(file, [table], table.schema))


def parquet_into(file: Any, tables: Iterable[pa.Table], schema: pa.Schema) -> None:
    """Write tables of one schema, one after the other, as one Parquet file.

    If the tables have blobs, each clip is a row group, so that a reader of one clip and one stream reads only those
    bytes (the footer grows by 4 kB per clip). Blobs are not compressed, since they are compressed video already;
    scalars are compressed with zstd.
    """
    blobs = [name for name in _BLOB_NAMES if name in schema.names]
    scalars = [name for name in schema.names if name not in blobs]
    with pq.ParquetWriter(
        file,
        schema,
        compression={**dict.fromkeys(scalars, "zstd"), **dict.fromkeys(blobs, "none")},
        use_dictionary=not blobs,
        write_statistics=scalars,
    ) as writer:
        for table in tables:
            writer.write_table(table, row_group_size=1 if blobs else None)


def read_table(uri: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a whole file, or some of its columns."""
    store, path = open_store(uri)
    return pq.read_table(path, columns=list(columns) if columns else None, filesystem=store)


def read_clip(uri: str, row_group: int, columns: Sequence[str]) -> dict[str, object]:
    """Read one clip's row, and only the bytes of the named columns."""
    store, path = open_store(uri)
    info = store.get_file_info(path)
    return _open(uri, (info.mtime_ns, info.size)).read_row_group(row_group, columns=list(columns)).to_pylist()[0]


@functools.lru_cache(maxsize=64)
def _open(uri: str, version: tuple[int, int]) -> pq.ParquetFile:  # noqa: ARG001 - version is part of the cache key
    """Open a file and parse its footer; the result is kept for the next clip of the same shard."""
    store, path = open_store(uri)
    return pq.ParquetFile(path, filesystem=store)
