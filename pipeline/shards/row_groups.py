"""Parquet files of one clip a row group, made and joined without holding a clip's streams in memory.

Parquet's writer holds a value three times at once, and a long clip's streams are one value each. So it writes the row
with empty streams; here the streams are then copied into their place, and the lengths and places in the headers are
counted up. Row groups are joined by copying their bytes. The files have the bytes that the writer would have written.
"""

import copy
import io
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO, NamedTuple, cast

import pyarrow as pa

from pipeline.shards.schema import BLOBS, SCALARS, SHARD_SCHEMA
from pipeline.shards.tables import parquet_into, read_table
from pipeline.shards.thrift_compact import Struct, read_struct, write_struct
from pipeline.storage import object_path, open_store, read_bytes, write_atomically

MOST_BYTES = (1 << 31) - 64
"""Largest number of bytes of a stream: Parquet counts the bytes of a page with 31 bits."""

_MAGIC = b"PAR1"
_CHUNK = 1 << 20
_THERE = b"\2\0\0\0\2\1"  # how a page begins that has one value
_EMPTY = _THERE + bytes(4)  # and its length 0
_HEADER = 1024  # bytes that are more than the header of a page has
_STREAMS = [field.name for field in BLOBS]

Offsets = dict[str, int | None]
"""`video_offset` and `flow_offset`: where the streams of a clip begin in its file; None for one that it lacks."""

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


def write_groups(pieces: Sequence[Piece], uri: str) -> list[Offsets]:
    """Write row groups of other files, which have one schema, as one file, atomically and in this order.

    Of each file in an object store, one request reads the footer, and another one each row group.

    Returns:
        Where the streams of each row group are in the new file.
    """
    sources = {piece.uri: _Source.open(piece.uri) for piece in pieces}
    return _join(((sources[piece.uri], piece.group) for piece in pieces), uri)


def join_rows(files: Sequence[str], uri: str) -> list[dict[str, Any]]:
    """Write the clips of files of one row each as one file, atomically and in this order, except for failed clips.

    Each file is read once: with one request, if it is in an object store. If all clips are failed, no file is written.

    Args:
        files: paths or URIs of the files, each with the columns of `SHARD_SCHEMA`.
        uri: path or URI of the new file.

    Returns:
        The scalars of each row, with `row_group`, `video_offset` and `flow_offset` if the clip is in the new file.
    """
    rows: list[dict[str, Any]] = []
    good: list[dict[str, Any]] = []

    def sources() -> Iterator[tuple[_Source, int]]:
        """Yield the clips that are not failed, and note the rows of all on the way."""
        for name in files:
            content = read_bytes(name) if object_path(name) else None
            rows.extend(read_table(name, SHARD_SCHEMA, [field.name for field in SCALARS], content).to_pylist())
            if rows[-1]["status"] == "ok":
                good.append(rows[-1])
                yield _Source.open(name, content), 0

    pieces = sources()
    if first := next(pieces, None):
        for group, (row, offsets) in enumerate(zip(good, _join(itertools.chain([first], pieces), uri), strict=True)):
            row.update(offsets, row_group=group)
    return rows


def offsets_in(uri: str) -> list[Offsets]:
    """Return where the streams of each row group of a file are."""
    source, offsets = _Source.open(uri), []
    for group in source.meta[_GROUPS].value[1]:
        start, size = group[_GROUP_START].value, group[_GROUP_PACKED].value
        with source.part(start, size) as (file, at):
            offsets.append({f"{name}_offset": found for name, found in _streams(group, file, at)})
    return offsets


class _Source(NamedTuple):
    """A file of row groups: its footer, and where its bytes are."""

    uri: str
    meta: Struct
    file: BinaryIO | None  # None for a local file, which is opened for each row group

    @classmethod
    def open(cls, uri: str, content: bytes | None = None) -> "_Source":
        """Read the footer of a file, whose content may have been read already."""
        remote = object_path(uri)
        file = io.BytesIO(content) if content is not None else remote.open() if remote else None
        if file:
            return cls(uri, _footer(file)[0], cast(BinaryIO, file))
        with _local(uri) as opened:
            return cls(uri, _footer(opened)[0], None)

    @contextmanager
    def part(self, start: int, size: int) -> Iterator[tuple[BinaryIO, int]]:
        """Open the bytes from `start` on; yield a file and the place at which it begins. A store is asked once."""
        if self.file:
            self.file.seek(start)
            yield io.BytesIO(self.file.read(size)), start
        else:
            with _local(self.uri) as opened:
                yield opened, 0


def _join(pieces: Iterable[tuple[_Source, int]], uri: str) -> list[Offsets]:
    groups: list[Struct] = []
    offsets: list[Offsets] = []
    first: list[Struct] = []

    def write(target: Any) -> None:
        target.write(_MAGIC)
        place = len(_MAGIC)
        for source, number in pieces:
            group = copy.deepcopy(source.meta[_GROUPS].value[1][number])
            start, size = group[_GROUP_START].value, group[_GROUP_PACKED].value
            with source.part(start, size) as (file, at):
                file.seek(start - at)
                _copy(source.uri, file, size, target)
                offsets.append(
                    {f"{name}_offset": found and found + place - start for name, found in _streams(group, file, at)}
                )
            _add(group, _GROUP_START, place - start)
            for column in group[_COLUMNS].value[1]:
                _add(column[_CHUNK_META].value, _PAGE, place - start)
            groups.append(group)
            first.append(source.meta)
            place += size
        meta = dict(first[0])
        meta[_GROUPS] = meta[_GROUPS]._replace(value=(meta[_GROUPS].value[0], groups))
        meta[_ROWS] = meta[_ROWS]._replace(value=len(groups))
        target.write(_closing(meta))

    write_atomically(uri, write)
    return offsets


def _streams(group: Struct, file: BinaryIO, at: int) -> Iterator[tuple[str, int | None]]:
    """Yield the name of each stream of a row group, and where it is in its file; None if the clip has no such stream.

    Args:
        group: the row group.
        file: an open file with the bytes of the row group.
        at: where that file begins in the file of the row group.
    """
    for column in group[_COLUMNS].value[1]:
        chunk = column[_CHUNK_META].value
        name = chunk[_NAME].value[1][0].decode()
        if name in _STREAMS:
            page = chunk[_PAGE].value
            file.seek(page - at)
            data = file.read(_HEADER)
            _, body = read_struct(data)
            there = data[body : body + len(_THERE)] == _THERE
            yield name, page + body + len(_EMPTY) if there else None


def _copy(uri: str, source: BinaryIO, size: int, target: Any) -> None:
    while size:
        chunk = source.read(min(size, _CHUNK))
        if not chunk:
            raise OSError(f"{uri} ends within a row group")
        target.write(chunk)
        size -= len(chunk)


def _local(uri: str) -> Any:
    store, path = open_store(uri)
    return store.open_input_file(path)


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
