"""Another try of failed videos: `--retry` takes results apart into staged clips, without the failures to try again."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.features.results import Row, opened, read_staged, read_videos, staged_of
from pipeline.ingest.layout import Layout
from pipeline.ingest.retry import Chosen
from pipeline.ingest.staging import STAGING, folder_of, is_failure, list_of, list_staging, part_name
from pipeline.shards.manifest import MANIFEST
from pipeline.shards.tables import write_table
from pipeline.storage import exists, make_folder, read_json, remove_many, write_atomically, write_json


def recorded_classes(folder: str) -> set[str]:
    """Return the error classes of all failures of a complete run; none of an unfinished one."""
    there = exists(f"{folder}/{MANIFEST}")
    return set(read_json(f"{folder}/{MANIFEST}")["videos"]["failed"]) if there else set()


def reopen(folder: str, layout: Layout, table: str, chosen: Chosen) -> None:
    """Take the failures of the chosen classes out of the results, so that a run tries them again.

    Every video that is not meant stays as it is. The run may be killed after any step.

    Args:
        folder: folder or URI of the results.
        layout: the layout of the results.
        table: name of the table of all clips of a complete run.
        chosen: function that says whether an error class is to be tried again.
    """
    if exists(f"{folder}/{MANIFEST}"):
        videos = read_videos(f"{folder}/{table}")
        make_folder(f"{folder}/{STAGING}")
        for number, name in enumerate(layout.names):
            rows = layout.part(number, videos)
            if not any(row["error_class"] and chosen(row["error_class"]) for row in rows.to_pylist()):
                write_table(rows, list_of(folder, name))
            else:
                _take_apart(folder, name, rows, chosen)
        remove_many([f"{folder}/{MANIFEST}"])
    staged = list_staging(folder)
    for name in staged.finished:
        rows = read_videos(list_of(folder, name))
        if any(row["error_class"] and chosen(row["error_class"]) for row in rows.to_pylist()):
            _take_apart(folder, name, rows, chosen)
            remove_many([list_of(folder, name)])
    files = [f"{folder_of(folder, name)}/{file}" for name, names in staged.files.items() for file in names]
    failures = [file for file in files if is_failure(file)]
    remove_many([file for file in failures if chosen(read_staged(file)["error_class"])])


def _take_apart(folder: str, name: str, rows: pa.Table, chosen: Chosen) -> None:
    """Stage the clips of a shard again, except for the failures that are meant."""
    make_folder(folder_of(folder, name))
    shared = f"{folder}/{name}.parquet"
    first = 0
    for row in rows.to_pylist():
        failed = row["status"] == "failed"
        part = f"{folder_of(folder, name)}/{part_name(row['clip_id'], failed=failed)}"
        if not failed and row["files"] == f"{name}.parquet":
            groups = _groups(shared, first, row["windows"])
            first += len(groups)
            write_atomically(part, partial(_copy, shared, groups, {**row, "files": None}))
        elif not failed:
            write_atomically(part, partial(staged_of, row))
        elif not chosen(row["error_class"]):
            write_json(part, row)


def _groups(shared: str, first: int, windows: int) -> Sequence[int]:
    """Return the numbers of the row groups of a clip, which begin with `first`."""
    with opened(shared) as source:
        metadata = pq.read_metadata(source)
    groups, count = list[int](), 0
    while count < windows:
        groups.append(first + len(groups))
        count += metadata.row_group(groups[-1]).num_rows
    return groups


def _copy(shared: str, groups: Sequence[int], row: Row, target: Any) -> None:
    with opened(shared) as source, pq.ParquetFile(source) as file:
        staged_of(row, target, file, groups)
