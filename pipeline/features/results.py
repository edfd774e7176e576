"""What a run leaves in its folder, and how each clip's features get there exactly once.

    SPLIT-00000.parquet ...   one row for each window, clip after clip (form parquet)
    NAME_rgb.npy ...          or the files of each clip: (windows, values), with crops (windows, crops, values)
    _videos.parquet           every clip, good or failed: why it failed, its windows, facts of its source
    _manifest.json            counts, failures by class, settings, digest of the weights; written last
    _plan.json                what decides the features; written first

Meanwhile `_staging/` has a file for each clip, by the protocol of `pipeline.ingest.staging`: a Parquet file of its
features, in whose metadata the row for `_videos.parquet` is, or that row alone if the clip failed.
"""

import hashlib
import itertools
import json
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, BinaryIO, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.features.scorer import Features
from pipeline.features.windows import Times
from pipeline.ingest.run_errors import stopped
from pipeline.ingest.staging import folder_of, is_failure, list_of, part_name, provisional
from pipeline.masking import masked
from pipeline.shards.schema import CATALOG, SOURCE, STATUS
from pipeline.shards.tables import write_table
from pipeline.storage import object_path, open_store, read_json, remove_many, write_atomically, write_json

Form = Literal["parquet", "npy", "npy_joined", "npz"]
FORMS = ("parquet", "npy", "npy_joined", "npz")
Row = dict[str, Any]

WINDOW = [
    pa.field("clip_id", pa.string()),
    pa.field("split", pa.string()),
    pa.field("label", pa.string()),
    pa.field("source", pa.string()),
    pa.field("window", pa.int32()),  # from 0
    pa.field("start_s", pa.float64()),  # when the window begins, seconds of the source
    pa.field("end_s", pa.float64()),
    pa.field("centre_s", pa.float64()),
]
VIDEOS = pa.schema(
    [
        *CATALOG,
        *STATUS,
        pa.field("windows", pa.int32()),
        pa.field("num_frames", pa.int32()),
        pa.field("num_flow", pa.int32()),
        *(column for column in SOURCE if column.name != "packets_sha256"),
        pa.field("features_sha256", pa.string()),  # of all values of all windows, column after column
        pa.field("files", pa.string()),  # names of the clip's files, with commas between, or of the one it shares
    ]
)
TIMES = ("start_s", "end_s", "centre_s")
_ABOUT, _SHAPE = b"video", b"shape"  # keys of the metadata of a staged file, and of a column
_GROUP, _GROUP_BYTES = 1024, 16 << 20  # largest number of windows of a row group, and of bytes of their values


def schema_of(shapes: Mapping[str, tuple[int, ...]]) -> pa.Schema:
    """Return the schema of windows.

    Args:
        shapes: shape of a window's features in each column, crops first if there are several. The column has their
            number of values in each row, and the shape in its metadata, such as `10x1024`.
    """
    columns = [
        pa.field(name, pa.list_(pa.float32(), int(np.prod(shape))), metadata={_SHAPE: "x".join(map(str, shape))})
        for name, shape in shapes.items()
    ]
    return pa.schema([*WINDOW, *columns])


def shapes_in(schema: pa.Schema) -> dict[str, tuple[int, ...]]:
    """Return the shape of a window's features in each column, as `schema_of` takes it."""
    return {
        field.name: tuple(map(int, field.metadata[_SHAPE].split(b"x")))
        for field in schema
        if field.metadata and _SHAPE in field.metadata
    }


def values_of(table: pa.Table, column: str) -> NDArray[np.float32]:
    """Return a column of features as an array, (windows, ...)."""
    flat = [np.asarray(chunk.flatten()) for chunk in table[column].chunks]
    shape = shapes_in(table.schema)[column]
    return np.concatenate([*flat, np.empty(0, np.float32)]).reshape(len(table), *shape)


class Spool:
    """The features of one clip in a temporary file without a name, written as they come; it is a `Sink`.

    Attributes:
        file: the file, which holds Parquet once it is closed.
    """

    def __init__(self, clip: Row, schema: pa.Schema) -> None:
        """Prepare to take the windows of a clip, a row of the catalog."""
        self._clip, self._schema, self._shapes = masked({**clip}), schema, shapes_in(schema)
        self.begin()

    def begin(self) -> None:
        """See `pipeline.features.extraction.Sink`."""
        self.file: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the clip's row
        self._writer = pq.ParquetWriter(self.file, self._schema, **_how(self._schema))
        self._digests = {name: hashlib.sha256() for name in self._shapes}
        self._tables: list[pa.Table] = []
        self._windows = 0
        bytes_each = 4 * sum(int(np.prod(shape)) for shape in self._shapes.values())
        self._group = max(1, min(_GROUP, _GROUP_BYTES // bytes_each))

    def add(self, times: list[Times], features: Features) -> None:
        """See `pipeline.features.extraction.Sink`."""
        count = len(times)
        same = {name: [self._clip.get(name)] * count for name in ("clip_id", "split", "label", "source")}
        columns: dict[str, Any] = {**same, "window": np.arange(self._windows, self._windows + count, dtype=np.int32)}
        columns |= {name: [getattr(time, name) for time in times] for name in TIMES}
        arrays = [pa.array(columns[field.name], field.type) for field in WINDOW]
        for name, shape in self._shapes.items():
            values = np.ascontiguousarray(features[name], np.float32).reshape(count, -1)
            self._digests[name].update(values.tobytes())
            arrays.append(pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), int(np.prod(shape))))
        self._windows += count
        self._tables.append(pa.table(arrays, schema=self._schema))
        while sum(map(len, self._tables)) >= self._group:
            self._write(self._group)

    def close(self, about: Row) -> None:
        """End the file, with the row of the clip in its metadata."""
        if left := sum(map(len, self._tables)):
            self._write(left)
        whole = hashlib.sha256(b"".join(digest.digest() for digest in self._digests.values())).hexdigest()
        row = _videos_row({**about, "status": "ok", "features_sha256": whole})
        self._writer.add_key_value_metadata({_ABOUT: json.dumps(row)})
        self._writer.close()

    def _write(self, rows: int) -> None:
        table = pa.concat_tables(self._tables)
        self._writer.write_table(table.slice(0, rows).combine_chunks(), row_group_size=rows)
        self._tables = [table.slice(rows)] if len(table) > rows else []


def make_store(folder: str) -> Callable[[Row], Row]:
    """Return the stage that stages a clip that is done; see `pipeline.ingest.staging.make_store`."""

    def store(row: Row) -> Row:
        about = _videos_row(row)
        stop, open_ = None, provisional({**row, "status": about["status"]})
        if about["clip_id"] is not None and not open_:
            failed = about["status"] == "failed"
            file = f"{folder}/{part_name(row['clip_id'], row.get('rank'), failed)}"
            stop = stopped(lambda: write_json(file, about) if failed else _copy(row["features"], file))
        names = ("clip_id", "source", "status", "error_class", "error_message", "num_frames", "num_flow", "windows")
        seconds = {f"{name}_s": float(row.get(f"{name}_s") or 0) for name in ("fetch", "decode", "flow", "network")}
        facts = {name: row.get(name) for name in ("rank", "node", "fetched")}
        return {**{name: about[name] for name in names}, **facts, **seconds, "provisional": open_, "stopped": stop}

    return store


@dataclass(frozen=True)
class Joiner:
    """The step that makes the result of some clips from their staged files; it is pickled to the tasks.

    Attributes:
        form: what is written.
        names: names of the files of clips whose own name another clip has too.
    """

    form: Form
    names: Mapping[str, str]

    def __call__(self, folder: str, shard: str, clips: Sequence[str | Row]) -> None:
        """Write the result and the list of these clips, and then remove the staged files.

        Args:
            folder: folder or URI of the results.
            shard: name of the shard.
            clips: for each clip the name of its staged file, or the row of the catalog if it cannot be used.
        """
        staged = [f"{folder_of(folder, shard)}/{clip}" for clip in clips if isinstance(clip, str)]
        names = iter(staged)
        rows = [
            _videos_row({**clip, "status": "failed"}) if isinstance(clip, dict) else read_staged(next(names))
            for clip in clips
        ]
        good = [file for file in staged if not is_failure(file)]
        here = [row for row in rows if row["status"] == "ok"]
        if self.form == "parquet":
            if good:
                write_atomically(f"{folder}/{shard}.parquet", lambda file: _join(good, file))
            for row in here:
                row["files"] = f"{shard}.parquet"
        else:
            for row, file in zip(here, good, strict=True):
                if row["files"] is None:  # otherwise they are there, and a neighbour was tried again
                    row["files"] = ",".join(self._write(folder, row, file))
        write_table(pa.Table.from_pylist(rows, schema=VIDEOS), list_of(folder, shard))
        remove_many(staged)

    def _write(self, folder: str, row: Row, file: str) -> Iterator[str]:
        """Write the files of a clip, and yield their names."""
        name = self.names.get(row["clip_id"]) or file_name(row)
        with opened(file) as source:
            columns = list(shapes_in(pq.read_schema(source)))
        if self.form == "npz":
            parts = {column: [column] for column in (*columns, *TIMES)}
            write_atomically(f"{folder}/{name}.npz", lambda target: _npz(file, parts, row["windows"], target))
            yield f"{name}.npz"
            return
        networks = [column.partition("_")[0] for column in columns]
        short = networks if len(set(networks)) == len(columns) else columns
        parts = {f"{name}_{word}.npy": [column] for word, column in zip(short, columns, strict=True)}
        if self.form == "npy_joined":
            parts = {f"{name}.npy": columns}
        for each, joined in parts.items():
            write_atomically(f"{folder}/{each}", partial(_npy, file, joined, row["windows"]))
            yield each


def read_videos(uri: str) -> pa.Table:
    """Read a table of clips that a run wrote, such as `_videos.parquet`."""
    with opened(uri) as file:
        return pq.ParquetFile(file).read().cast(VIDEOS)


def read_staged(file: str) -> Row:
    """Return the row of a staged clip, good or failed."""
    if is_failure(file):
        return dict(read_json(file))
    with opened(file) as source:
        return dict(json.loads(pq.read_metadata(source).metadata[_ABOUT]))


def staged_of(row: Row, target: Any, file: pq.ParquetFile | None = None, groups: Sequence[int] = ()) -> None:
    """Write the staged file of a good clip again.

    Args:
        row: the row of the clip for `_videos.parquet`.
        target: the open file.
        file: the file that has the clip's windows; None if the clip has files of its own, which stay.
        groups: numbers of the clip's row groups.
    """
    schema = file.schema_arrow.remove_metadata() if file else pa.schema(WINDOW)
    with pq.ParquetWriter(target, schema, **_how(schema)) as writer:
        for group in groups:
            table = file.read_row_group(group).replace_schema_metadata(None)  # type: ignore[union-attr]
            writer.write_table(table, row_group_size=max(1, len(table)))
        writer.add_key_value_metadata({_ABOUT: json.dumps(_videos_row(row))})


def opened(uri: str) -> Any:
    """Open a file on a disk or in a store for reading."""
    if remote := object_path(uri):
        return pa.PythonFile(remote.open(), "r")
    store, path = open_store(uri)
    return store.open_input_file(path)


def file_name(row: Row) -> str:
    """Return the name under which a clip's own files are written: that of its video, without what a path could be.

    It is the id of the clip in its data set, or the name of its file where that says more; see `pipeline.catalog`.
    """
    own = row["clip_id"].partition(".")[2] or row["clip_id"]
    if "~" in own:
        last = (row["source"] or "").rpartition("#")[2].split("?")[0].rstrip("/").rpartition("/")[2]
        stem = last.rpartition(".")[0] or last
        own = f"{stem}{own[own.index('~') + 17 :]}" if stem else own
    plain = "".join(one if one.isalnum() or one in "-_.+" else "_" for one in own).strip("._")
    return plain[:120] or "video"


def _videos_row(row: Row) -> Row:
    about = {field.name: row.get(field.name) for field in VIDEOS}
    about["status"] = about["status"] or "ok"
    return about | masked({name: about[name] for name in ("source", "error_message")})


def _how(schema: pa.Schema) -> dict[str, Any]:
    features = shapes_in(schema)
    scalars = [name for name in schema.names if name not in features]
    return {
        "compression": {**dict.fromkeys(scalars, "zstd"), **{f"{name}.list.element": "none" for name in features}},
        "use_dictionary": scalars,
        "write_statistics": scalars,
    }


def _join(files: Sequence[str], target: Any) -> None:
    """Copy the windows of staged clips, a row group at a time."""
    writer = None
    for name in files:
        with opened(name) as source, pq.ParquetFile(source) as staged:
            schema = staged.schema_arrow.remove_metadata()
            writer = writer or pq.ParquetWriter(target, schema, **_how(schema))
            for group in range(staged.num_row_groups):
                table = staged.read_row_group(group).replace_schema_metadata(None)
                writer.write_table(table, row_group_size=max(1, len(table)))
    if writer is not None:
        writer.close()


def _copy(source: BinaryIO, uri: str) -> None:
    source.seek(0)
    write_atomically(uri, lambda target: shutil.copyfileobj(source, target, 1 << 20))
    source.close()


def _chunks(file: str, columns: Sequence[str]) -> Iterator[NDArray[Any]]:
    """Yield the values of a clip's columns, joined along their last axis, a row group at a time."""
    with opened(file) as source, pq.ParquetFile(source) as staged:
        for group in range(staged.num_row_groups):
            table = staged.read_row_group(group)
            values = [table[name].to_numpy() if name in TIMES else values_of(table, name) for name in columns]
            yield np.concatenate(values, axis=-1)


def _npy(file: str, columns: Sequence[str], windows: int, target: Any) -> None:
    """Write columns of a clip as NumPy's own format, (windows, ...)."""
    chunks = _chunks(file, columns)
    first = next(chunks)
    shape, kind = (windows, *first.shape[1:]), np.lib.format.dtype_to_descr(first.dtype)
    head = {"descr": kind, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(target, head)
    for chunk in itertools.chain([first], chunks):
        target.write(chunk.tobytes())


def _npz(file: str, parts: Mapping[str, Sequence[str]], windows: int, target: Any) -> None:
    """Write arrays of a clip as `np.load` reads them, with the same bytes each time."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as packed:
        for name, columns in parts.items():
            with packed.open(zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0)), "w", force_zip64=True) as member:
                _npy(file, columns, windows, member)
