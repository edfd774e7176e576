"""Another try of failed videos: `--retry` takes results apart into staged clips, without the failures to try again."""

import itertools
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.features.results import Row, opened, read_staged, read_videos, staged_of
from pipeline.ingest.in_tasks import in_tasks
from pipeline.ingest.layout import Layout
from pipeline.ingest.lists import AT_ONCE, batches, write_lists
from pipeline.ingest.retry import Chosen
from pipeline.ingest.staging import STAGING, Staged, folder_of, is_failure, list_of, list_staging, part_name
from pipeline.shards.manifest import MANIFEST
from pipeline.storage import exists, make_folder, read_json, remove_many, write_atomically, write_json


def recorded_classes(folder: str) -> set[str]:
    """Return the error classes of all failures of a run, complete or not."""
    if exists(f"{folder}/{MANIFEST}"):
        return set(read_json(f"{folder}/{MANIFEST}")["videos"]["failed"])
    staged = list_staging(folder)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        lists = pool.map(lambda name: read_videos(list_of(folder, name))["error_class"].to_pylist(), staged.finished)
        files = pool.map(lambda file: [read_staged(file)["error_class"]], _failures(folder, staged))
        return {name for names in itertools.chain(lists, files) for name in names if name is not None}


def reopen(folder: str, layout: Layout, table: str, chosen: Chosen, cpus: float = 1) -> None:
    """Take the failures of the chosen classes out of the results, so that a run tries them again.

    Every video that is not meant stays as it is. The run may be killed after any step.

    Args:
        folder: folder or URI of the results.
        layout: the layout of the results.
        table: name of the table of all clips of a complete run.
        chosen: function that says whether an error class is to be tried again.
        cpus: CPUs of a task that takes results apart.
    """
    if exists(f"{folder}/{MANIFEST}"):
        videos = read_videos(f"{folder}/{table}")
        if not _meant(videos, chosen):
            return
        make_folder(f"{folder}/{STAGING}")
        write_lists(folder, ((name, layout.part(number, videos)) for number, name in enumerate(layout.names)), cpus)
        remove_many([f"{folder}/{MANIFEST}"])
    staged = list_staging(folder)
    remove_many([f"{folder}/{STAGING}/{mark}" for mark in staged.marks])  # archives are read again

    def split(names: Sequence[str]) -> None:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(lambda name: _reopen_shard(folder, name, chosen), names))

    def forget(files: Sequence[str]) -> None:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            rows = pool.map(read_staged, files)
            remove_many([file for file, row in zip(files, rows, strict=True) if chosen(row["error_class"])])

    for _ in in_tasks(split, batches(sorted(staged.finished)), cpus):
        pass
    for _ in in_tasks(forget, batches(_failures(folder, staged)), cpus):
        pass


def _failures(folder: str, staged: Staged) -> list[str]:
    """Return the files of the failures among the staged clips."""
    files = [f"{folder_of(folder, name)}/{file}" for name, names in sorted(staged.files.items()) for file in names]
    return [file for file in files if is_failure(file)]


def _meant(videos: pa.Table, chosen: Chosen) -> bool:
    """Return whether some failure is to be tried again."""
    return any(chosen(name) for name in videos["error_class"].unique().to_pylist() if name is not None)


def _reopen_shard(folder: str, name: str, chosen: Chosen) -> None:
    """Take a finished shard apart if some of its failures are meant."""
    rows = read_videos(list_of(folder, name))
    if _meant(rows, chosen):
        _take_apart(folder, name, rows, chosen)
        remove_many([list_of(folder, name)])


def _take_apart(folder: str, name: str, rows: pa.Table, chosen: Chosen) -> None:
    """Stage the clips of a shard again, except for the failures that are meant."""
    make_folder(folder_of(folder, name))
    shared, clips = f"{folder}/{name}.parquet", rows.to_pylist()
    groups = _groups(shared, [row["windows"] for row in clips if row["files"] == f"{name}.parquet"])
    for row in clips:
        failed = row["status"] == "failed"
        part = f"{folder_of(folder, name)}/{part_name(row['clip_id'], failed=failed)}"
        if not failed and row["files"] == f"{name}.parquet":
            write_atomically(part, partial(_copy, shared, next(groups), {**row, "files": None}))
        elif not failed:
            write_atomically(part, partial(staged_of, row))
        elif not chosen(row["error_class"]):
            write_json(part, row)


def _groups(shared: str, windows: Sequence[int]) -> Iterator[list[int]]:
    """Yield the numbers of the row groups of each clip in a file, from the clips' numbers of windows."""
    if not windows:
        return
    with opened(shared) as source:
        metadata = pq.read_metadata(source)
    group = 0
    for count in windows:
        first, rows = group, 0
        while rows < count:
            rows += metadata.row_group(group).num_rows
            group += 1
        yield list(range(first, group))


def _copy(shared: str, groups: Sequence[int], row: Row, target: Any) -> None:
    with opened(shared) as source, pq.ParquetFile(source) as file:
        staged_of(row, target, file, groups)
