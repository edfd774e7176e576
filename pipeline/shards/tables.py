"""Writing and reading the Parquet files of a shard set, which may come from a stranger.

Only `open_table` opens a file. Parquet stores with the columns an Arrow schema that may name extension types, and a
library that knows such a type runs its code: Ray unpickles the values of one of them. So the stored Arrow schema is
never used: the types come from Parquet's own schema, and a file with an extension type, an unknown column or another
type is refused by its footer, before a row is read.

The metadata of a column chunk are not asked for in Python: pyarrow ends the process where they contradict themselves.
"""

import base64
import binascii
import functools
import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.escaping import one_line
from pipeline.shards.schema import BLOBS, SHARD_SCHEMA
from pipeline.storage import object_path, open_store, write_atomically

UNREADABLE = (pa.ArrowException, OSError, ValueError, KeyError, IndexError, OverflowError, MemoryError)
"""What pyarrow raises for a file that is not whole, or not what it says."""
_BLOB_NAMES = [field.name for field in BLOBS]
_MAGIC, _TAIL = b"PAR1", 8  # a file ends with the length of its footer, 4 bytes, and the magic
_ARROW, _UNUSED = b"ARROW:schema", b"ARROW-schema"  # the key of the stored Arrow schema; and one that nobody reads
_NAMED = 5  # columns that a message names
_ROWS, _TEXT, _LEAST_TEXT = 4, 256, 2**26  # see `_check_size`


class ShardError(ValueError):
    """A shard set is missing, incomplete or not readable; the message is one line, written for the user."""


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


def open_table(
    uri: str, schema: pa.Schema, pre_buffer: bool = False, file: pa.NativeFile | None = None
) -> pq.ParquetFile:
    """Open a Parquet file and check its footer; nothing else of the file is read.

    Args:
        uri: path or URI of the file.
        schema: the columns that the file may have, with their types; it may lack some.
        pre_buffer: whether to read the columns of a row group in few large requests, as from a store in any case.
        file: the file, if it is open already.

    Raises:
        ShardError: the file does not read, or has an extension type, an unknown column or a column of another type.
    """
    table = _parquet(uri, [field.name for field in schema if field.type == pa.string()], pre_buffer, file)
    if wrong := list(_wrong(table, schema)):
        says = ", ".join(wrong[:_NAMED]) + (f" and {len(wrong) - _NAMED} more" if len(wrong) > _NAMED else "")
        raise ShardError(f"{uri}: refused before a row is read: {says}; make the set again from the videos")
    return table


def column_names(uri: str) -> list[str]:
    """Return the names of the columns of a Parquet file, of which only the footer is read.

    Raises:
        ShardError: the file does not read.
    """
    with _parquet(uri) as file:
        return list(file.schema_arrow.names)


def read_table(
    uri: str, schema: pa.Schema, columns: Sequence[str] | None = None, content: bytes | None = None
) -> pa.Table:
    """Read a whole file, or some of its columns; see `open_table`. A small file of a store is read with one request.

    Args:
        uri: path or URI of the file.
        schema: the columns that the file may have, with their types; it may lack some.
        columns: names of the columns to read; None for all.
        content: the bytes of the file, if they have been read already.

    Raises:
        ShardError: the file does not read, has other columns, or would unpack to far more than its size.
    """
    opened = _opened(uri) if content is None else pa.BufferReader(content)
    with open_table(uri, schema, file=opened) as file, _refused(uri):
        size = opened.size() if opened else _facts(uri)[1]
        _check_size(uri, file.metadata.num_rows * _ROWS, size)
        table = file.read(columns=None if columns is None else list(columns))
        table.validate(full=True)
        _check_size(uri, _text(table), max(_TEXT * size, _LEAST_TEXT))
        kept = {key: value for key, value in (table.schema.metadata or {}).items() if key != _UNUSED}
        return table.cast(pa.schema([schema.field(name) for name in table.column_names], kept))


def read_clip(uri: str, row_group: int, columns: Sequence[str]) -> dict[str, object]:
    """Read one clip's row, and only the bytes of the named columns.

    Raises:
        ShardError: the file does not read, or has other columns than a shard.
    """
    file = _open(uri, _facts(uri))
    try:
        return one_clip(file, row_group, columns)
    except UNREADABLE as error:
        raise ShardError(f"{uri}: row group {row_group} does not read ({line(error)})") from error


def one_clip(file: pq.ParquetFile, row_group: int, columns: Sequence[str] | None = None) -> dict[str, object]:
    """Read the row of a row group of an opened shard.

    Raises:
        ShardError: there is no such row group, or it does not hold one clip.
    """
    if not 0 <= row_group < file.num_row_groups:
        raise ShardError(f"there are {file.num_row_groups}")
    if (count := file.metadata.row_group(row_group).num_rows) != 1:
        raise ShardError(f"it holds {count} clips, not one")
    table = file.read_row_group(row_group, columns=None if columns is None else list(columns))
    table.validate(full=True)
    return dict(table.to_pylist()[0])


def line(error: object) -> str:
    """Return the message of an error, or any text, as one line of at most 200 characters."""
    return " ".join(str(error).split())[:200] or type(error).__name__


@functools.lru_cache(maxsize=64)
def _open(uri: str, facts: tuple[object, int]) -> pq.ParquetFile:  # noqa: ARG001 - the facts are part of the cache's key
    """Open a shard and parse its footer; the result is kept for the next clip of the same shard."""
    return open_table(uri, SHARD_SCHEMA)


def _parquet(
    uri: str, texts: Sequence[str] = (), pre_buffer: bool = False, file: pa.NativeFile | None = None
) -> pq.ParquetFile:
    """Open a Parquet file by its own schema; the named columns are read as dictionaries, each text once."""
    file = file or _opened(uri)
    with _refused(uri):
        if file:
            store, path, metadata = None, file, _footer(file)
        else:
            store, path = open_store(uri)
            with store.open_input_file(path) as opened:
                metadata = _footer(opened)
        there = {metadata.schema.column(number).path for number in range(metadata.num_columns)}
        return pq.ParquetFile(
            path,
            metadata=metadata,
            filesystem=store,
            pre_buffer=pre_buffer or file is not None,
            arrow_extensions_enabled=False,
            read_dictionary=[name for name in texts if name in there],
        )


def _opened(uri: str) -> pa.NativeFile | None:
    """Open a file in an object store; None for any other."""
    with _refused(uri):
        return pa.PythonFile(remote.open(), "r") if (remote := object_path(uri)) else None


def _facts(uri: str) -> tuple[object, int]:
    """Return what changes when a file is written again, and its size."""
    with _refused(uri):
        if remote := object_path(uri):
            facts = remote.head()
            return facts["e_tag"], facts["size"]
        store, path = open_store(uri)
        info = store.get_file_info(path)
        return info.mtime_ns, info.size


@contextmanager
def _refused(uri: str) -> Iterator[None]:
    """Raise what pyarrow raises for a file that does not read as `ShardError`."""
    try:
        yield
    except ShardError:
        raise
    except UNREADABLE as error:
        raise ShardError(f"{uri}: does not read ({line(error)}); copy it again, or ingest again") from error


def _footer(file: pa.NativeFile) -> pq.FileMetaData:
    """Read the footer of a file, with another key for the stored Arrow schema, so that no reader finds it."""
    size = file.size()
    end = file.read_at(min(_TAIL, size), max(0, size - _TAIL))
    if len(end) < _TAIL or end[4:] != _MAGIC:
        raise ValueError("it does not end as Parquet does")
    (length,) = struct.unpack("<I", end[:4])
    if length + _TAIL + len(_MAGIC) > size:
        raise ValueError("its footer is longer than the file")
    footer = file.read_at(length, size - _TAIL - length)
    return pq.read_metadata(pa.BufferReader(_MAGIC + footer.replace(_ARROW, _UNUSED) + end))


def _wrong(file: pq.ParquetFile, schema: pa.Schema) -> Iterator[str]:
    """Yield what a file has that the schema does not allow."""
    if b"ARROW:extension" in _decoded((file.metadata.metadata or {}).get(_UNUSED, b"")):
        yield "an extension type, which may run code"
    names = file.schema_arrow.names
    for name in dict.fromkeys(names):
        if name not in schema.names:
            yield f"a column {one_line(name)} too many"
        elif names.count(name) > 1:
            yield f"{names.count(name)} columns {name}"
        elif not _same(found := _plain(file.schema_arrow.field(name).type), expected := schema.field(name).type):
            yield f"{name} is {one_line(found)}, not {expected}"


def _plain(found: pa.DataType) -> pa.DataType:
    return found.value_type if pa.types.is_dictionary(found) else found


def _same(found: pa.DataType, expected: pa.DataType) -> bool:
    """Return whether a column may have a type; Parquet's own schema knows no large binaries, and names list items."""
    if pa.types.is_list(found) and pa.types.is_list(expected):
        return bool(found.value_type == expected.value_type)
    return bool(found == expected or (found == pa.binary() and expected == pa.large_binary()))


def _decoded(value: bytes) -> bytes:
    try:
        return base64.b64decode(value)
    except binascii.Error:
        return b""


def _text(table: pa.Table) -> int:
    """Return the bytes of a table's texts, of which each is held only once so far."""
    total = 0
    for column in table.columns:
        for chunk in column.chunks if pa.types.is_dictionary(column.type) else ():
            lengths = pc.binary_length(chunk.dictionary).cast(pa.int64())
            total += pc.sum(lengths.take(chunk.indices)).as_py() or 0
    return total


def _check_size(uri: str, needed: int, allowed: int) -> None:
    """Check that a small file does not unpack to gigabytes.

    A row takes at least 4 bytes of a file, as clips have names of their own. Texts, which repeat, may have 256 times
    the size of the file, and 64 MiB in any case.
    """
    if needed > allowed:
        raise ShardError(f"{uri}: would unpack to far more than its size; it is damaged or was made to fill the memory")
