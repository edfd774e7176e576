"""Parquet files of one clip a row group, made and joined without holding a clip's streams in memory.

Parquet's writer holds a value three times at once, and a long clip's streams are one value each. So it writes the row
with empty streams; here the streams are then copied into their place, and the lengths and places in the headers are
counted up. Row groups are joined by copying their bytes. The files have the bytes that the writer would have written.
"""

import io
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO, NamedTuple

import pyarrow as pa

from pipeline.shards.tables import parquet_into
from pipeline.shards.thrift_compact import Struct, read_struct, write_struct
from pipeline.storage import open_store, write_atomically

MOST_BYTES = (1 << 31) - 64
"""Largest number of bytes of a stream: Parquet counts the bytes of a page with 31 bits."""

_MAGIC = b"PAR1"
_CHUNK = 1 << 20
_EMPTY = b"\2\0\0\0\2\1" + bytes(4)  # a page with one value that is there, and its length 0

# Numbers of fields in parquet.thrift
_ROWS, _GROUPS = 3, 4  # FileMetaData
_COLUMNS, _GROUP_BYTES, _GROUP_START, _GROUP_PACKED = 1, 2, 5, 6  # RowGroup
_CHUNK_META = 3  # ColumnChunk
_NAME, _BYTES, _PACKED, _PAGE, _SIZES = 3, 6, 7, 9, 16  # ColumnMetaData
_UNENCODED = 1  # SizeStatistics
_PAGE_BYTES, _PAGE_PACKED = 2, 3  # PageHeader


class Piece(NamedTuple):
    """One row group of a file."""

    uri: str
    group: int = 0


def write_row(row: Mapping[str, Any], schema: pa.Schema, uri: str) -> None:
    """Write a file of one row atomically.

    Args:
        row: a value for each column. The last columns may be open binary files, which are read from their beginning.
        schema: schema of the file.
        uri: path or URI of the file.

    Raises:
        ValueError: the installed Parquet writer lays out its pages differently than this module expects.
    """
    streams = {name: value for name, value in row.items() if hasattr(value, "read")}
    small = [{**row, **dict.fromkeys(streams, b"")}]
    buffer = io.BytesIO()
    parquet_into(buffer, [pa.Table.from_pylist(small, schema=schema)], schema)
    data = buffer.getvalue()
    meta, end = _footer(io.BytesIO(data))
    (group,) = meta[_GROUPS].value[1]
    parts: list[tuple[bytes, BinaryIO | None]] = []
    done, shift = 0, 0
    for column in group[_COLUMNS].value[1]:
        chunk = column[_CHUNK_META].value
        start = chunk[_PAGE].value
        _add(chunk, _PAGE, shift)
        stream = streams.get(chunk[_NAME].value[1][0].decode())
        if stream is None:
            continue
        header, body = read_struct(data, start)
        if data[body : body + header[_PAGE_BYTES].value] != _EMPTY:
            raise ValueError("Parquet's writer lays out an empty value in an unknown way; install the locked pyarrow")
        size = stream.seek(0, io.SEEK_END)
        stream.seek(0)
        _add(header, _PAGE_BYTES, size)
        _add(header, _PAGE_PACKED, size)
        head = write_struct(header)
        parts.append((data[done:start] + head + _EMPTY[:-4] + size.to_bytes(4, "little"), stream))
        done = body + len(_EMPTY)
        grown = size + len(head) - (body - start)
        _add(chunk, _BYTES, grown)
        _add(chunk, _PACKED, grown)
        _add(chunk[_SIZES].value, _UNENCODED, size)
        shift += grown
    _add(group, _GROUP_BYTES, shift)
    _add(group, _GROUP_PACKED, shift)

    def write(file: pa.NativeFile) -> None:
        for before, stream in parts:
            file.write(before)
            while stream is not None and (chunk := stream.read(_CHUNK)):
                file.write(chunk)
        file.write(data[done:end])
        file.write(_closing(meta))

    write_atomically(uri, write)


def write_groups(pieces: Sequence[Piece], uri: str) -> None:
    """Write row groups of other files, which have one schema, as one file, atomically and in this order."""
    footers = {piece.uri: _footer_of(piece.uri) for piece in pieces}
    groups = [footers[piece.uri][_GROUPS].value[1][piece.group] for piece in pieces]
    starts = [group[_GROUP_START].value for group in groups]
    place = len(_MAGIC)
    for group, start in zip(groups, starts, strict=True):
        _add(group, _GROUP_START, place - start)
        for column in group[_COLUMNS].value[1]:
            _add(column[_CHUNK_META].value, _PAGE, place - start)
        place += group[_GROUP_PACKED].value
    meta = footers[pieces[0].uri]
    meta[_GROUPS] = meta[_GROUPS]._replace(value=(meta[_GROUPS].value[0], groups))
    meta[_ROWS] = meta[_ROWS]._replace(value=len(groups))

    def write(file: pa.NativeFile) -> None:
        file.write(_MAGIC)
        for piece, group, start in zip(pieces, groups, starts, strict=True):
            _copy(piece.uri, start, group[_GROUP_PACKED].value, file)
        file.write(_closing(meta))

    write_atomically(uri, write)


def _copy(uri: str, start: int, size: int, target: pa.NativeFile) -> None:
    store, path = open_store(uri)
    with store.open_input_file(path) as source:
        source.seek(start)
        while size:
            chunk = source.read(min(size, _CHUNK))
            if not chunk:
                raise OSError(f"{uri} ends within a row group")
            target.write(chunk)
            size -= len(chunk)


def _footer_of(uri: str) -> Struct:
    store, path = open_store(uri)
    with store.open_input_file(path) as file:
        return _footer(file)[0]


def _footer(file: Any) -> tuple[Struct, int]:
    """Read the footer of an open file; return it and its place."""
    end = file.seek(0, io.SEEK_END)
    file.seek(end - 8)
    length = int.from_bytes(file.read(4), "little")
    file.seek(end - 8 - length)
    return read_struct(file.read(length))[0], end - 8 - length


def _closing(meta: Struct) -> bytes:
    footer = write_struct(meta)
    return footer + len(footer).to_bytes(4, "little") + _MAGIC


def _add(fields: Struct, number: int, amount: int) -> None:
    fields[number] = fields[number]._replace(value=fields[number].value + amount)
