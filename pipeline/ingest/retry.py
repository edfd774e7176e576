"""Retry of failed clips: failures stay recorded, unless `--retry` names their error class and they are tried again."""

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.ingest import clip_errors as errors
from pipeline.ingest.in_tasks import in_tasks
from pipeline.ingest.layout import Layout
from pipeline.ingest.lists import AT_ONCE, batches, write_lists
from pipeline.ingest.plan import write_plan
from pipeline.ingest.run_errors import IngestError
from pipeline.ingest.staging import STAGING, Staged, folder_of, is_failure, list_of, list_staging, part_name
from pipeline.shards.manifest import CLIPS, MANIFEST, read_list, read_manifest
from pipeline.shards.row_groups import Piece, write_groups, write_row
from pipeline.shards.schema import CLIPS_SCHEMA, SHARD_SCHEMA
from pipeline.shards.tables import read_table
from pipeline.storage import exists, make_folder, remove_many

Chosen = Callable[[str], bool]


def chosen_by(names: Collection[str], recorded: Callable[[], Collection[str]] = tuple) -> Chosen:
    """Return a function that says whether an error class, given by its name, is to be tried again.

    Args:
        names: names of error classes, verdicts such as `retryable`, or `all`.
        recorded: function that returns the classes of the failures in the set. It is called only for a name that is not
            among `clip_errors`, such as MemoryError, which a worker may have recorded too.

    Raises:
        IngestError: a name is neither an error class nor a verdict nor `all`.
    """
    classes = {name for name in vars(errors) if errors.error_named(name).__name__ == name}
    verdicts = {errors.verdict_of(name) for name in classes}
    unknown = [name for name in names if name not in classes | verdicts | {"all"}]
    there = set(recorded()) if unknown else set()
    for name in unknown:
        if name not in there:
            known = f"{', '.join(sorted(verdicts))}, all, or {', '.join(sorted(classes | there))}"
            raise IngestError(f"--retry {name}: no such error class; {known}")
    wanted = set(names)
    return lambda name: "all" in wanted or name in wanted or errors.verdict_of(name) in wanted


def recorded_classes(shards: str) -> set[str]:
    """Return the error classes of all failures in a set, complete or not."""
    if exists(f"{shards}/{MANIFEST}"):
        return {name for split in read_manifest(shards)["splits"].values() for name in split["failed"]}
    staged = list_staging(shards)
    files = [(list_of(shards, name), CLIPS_SCHEMA) for name in sorted(staged.finished)]
    files += [(file, SHARD_SCHEMA) for file in _failures(shards, staged)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        tables = pool.map(lambda one: read_table(one[0], one[1], ["error_class"]), files)
        return {name for table in tables for name in table["error_class"].to_pylist() if name is not None}


def reopen(
    shards: str,
    layout: Layout,
    plan: dict[str, Any],
    chosen: Chosen,
    changed: Collection[str] = (),
    cpus: float = 1,
) -> int:
    """Remove the failures of the chosen classes from the set, and return the number of clips to try again.

    Args:
        shards: folder or URI of the set.
        layout: the layout of the set.
        plan: the plan of the set, which is written anew: a complete set may be one of an earlier version.
        chosen: function that says whether an error class is to be tried again.
        changed: ids of good clips to ingest again, because their files were replaced.
        cpus: CPUs of a task that splits shards.

    A complete set is unreadable from this point until it is complete again. The run may be killed after any step: the
    same command, or one without `--retry`, can continue from there.

    Raises:
        IngestError: the set is complete, and its clips lie in other shards than the layout says.
    """
    if exists(f"{shards}/{MANIFEST}"):
        clips = read_list(f"{shards}/{CLIPS}")
        if not pc.any(_meant(clips, chosen, changed)).as_py():
            return 0
        clips = _arranged(shards, layout, clips)
        make_folder(f"{shards}/{STAGING}")
        write_lists(shards, ((name, layout.part(number, clips)) for number, name in enumerate(layout.names)), cpus)
        write_plan(shards, plan)
        remove_many([f"{shards}/{MANIFEST}"])
    staged = list_staging(shards)
    remove_many([f"{shards}/{STAGING}/{mark}" for mark in staged.marks])  # archives are read again
    finished = [name for name in layout.names if name in staged.finished]
    failures, again = _failures(shards, staged), set(changed)

    def split(names: Sequence[str]) -> int:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return sum(pool.map(lambda name: _reopen_shard(shards, name, chosen, again), names))

    def forget(files: Sequence[str]) -> int:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            classes = pool.map(lambda file: read_table(file, SHARD_SCHEMA, ["error_class"])["error_class"][0], files)
            meant = [file for file, name in zip(files, classes, strict=True) if chosen(name.as_py())]
        remove_many(meant)
        return len(meant)

    return sum(in_tasks(split, batches(finished), cpus)) + sum(in_tasks(forget, batches(failures), cpus))


def _failures(shards: str, staged: Staged) -> list[str]:
    """Return the files of the failures among the staged clips."""
    return [
        f"{folder_of(shards, name)}/{file}"
        for name, files in sorted(staged.files.items())
        for file in files
        if is_failure(file)
    ]


def _arranged(shards: str, layout: Layout, clips: pa.Table) -> pa.Table:
    """Return the clips of a complete set in the order of its layout, after comparing where they lie."""
    places = pc.index_in(layout.clips["clip_id"], clips["clip_id"])
    arranged = clips.take(places)
    expected = pa.array([f"{name}.parquet" for name in layout.names]).take(pa.array(layout.shard_numbers()))
    if places.null_count or pc.all(pc.equal(arranged["shard"], expected)).as_py() is False:
        raise IngestError(
            f"{shards}: an earlier version of this program made it, and put its clips into shards in another order; "
            "make it again with --ingest.shards and another folder, or try again with that version"
        )
    return arranged


def _reopen_shard(shards: str, name: str, chosen: Chosen, changed: Collection[str]) -> int:
    """Write a finished shard's clips back to staging, except for those to try again; return the number of these."""
    clips = read_list(list_of(shards, name))
    meant = _meant(clips, chosen, changed)
    count = pc.sum(meant).as_py() or 0
    if not count:
        return 0
    folder = folder_of(shards, name)
    make_folder(folder)
    for row in clips.filter(pc.invert(meant)).to_pylist():
        part = f"{folder}/{part_name(row['clip_id'], failed=row['status'] != 'ok')}"
        if row["status"] == "ok":
            write_groups([Piece(f"{shards}/{name}.parquet", row["row_group"])], part)
        else:
            write_row({field.name: row.get(field.name) for field in SHARD_SCHEMA}, SHARD_SCHEMA, part)
    remove_many([list_of(shards, name)])
    return int(count)


def _meant(clips: pa.Table, chosen: Chosen, changed: Collection[str] = ()) -> pa.ChunkedArray:
    """Return for each clip whether it is to be tried again."""
    good = pc.equal(clips["status"], "ok")
    classes = [name for name in clips["error_class"].unique().to_pylist() if name is not None and chosen(name)]
    failed = pc.and_(pc.invert(good), pc.is_in(clips["error_class"], pa.array(classes, pa.string())))
    return pc.or_(failed, pc.and_(good, pc.is_in(clips["clip_id"], pa.array(list(changed), pa.string()))))
