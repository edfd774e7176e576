"""Retry of failed clips: failures stay recorded, unless `--retry` names their error class and they are tried again."""

from collections.abc import Callable, Collection

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.ingest import clip_errors as errors
from pipeline.ingest.run_errors import IngestError
from pipeline.ingest.staging import STAGING, finished, list_of, marks, part_name
from pipeline.ingest.write_shards import Groups
from pipeline.shards.manifest import CLIPS, MANIFEST, read_list, read_manifest
from pipeline.shards.row_groups import Piece, write_groups, write_row
from pipeline.shards.schema import CLIPS_SCHEMA, SHARD_SCHEMA
from pipeline.shards.tables import read_table, write_table
from pipeline.storage import exists, list_files, make_folder, remove

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
    staging = f"{shards}/{STAGING}"
    files = (f"{staging}/{file}" for file in list_files(staging) if _has_clips(file))
    tables = (read_table(file, SHARD_SCHEMA, ["error_class"]) for file in files)
    return {name for table in tables for name in table["error_class"].to_pylist() if name is not None}


def _has_clips(file: str) -> bool:
    return file.endswith((".parquet", ".clips"))


def reopen(shards: str, groups: Groups, chosen: Chosen, changed: Collection[str] = ()) -> int:
    """Remove the failures of the chosen classes from the set, and return the number of clips to try again.

    Args:
        shards: folder or URI of the set.
        groups: the clips of each shard.
        chosen: function that says whether an error class is to be tried again.
        changed: ids of good clips to ingest again, because their files were replaced.

    A complete set is unreadable from this point until it is complete again. The run may be killed after any step: the
    same command, or one without `--retry`, can continue from there.
    """
    if exists(f"{shards}/{MANIFEST}"):
        clips = read_list(f"{shards}/{CLIPS}")
        if not _meant(clips, chosen, changed):
            return 0
        make_folder(f"{shards}/{STAGING}")
        for name, members in groups.items():
            ids = pa.array([row["clip_id"] for row in members])
            write_table(clips.filter(pc.is_in(clips["clip_id"], ids)), list_of(shards, name))
        remove(f"{shards}/{MANIFEST}")
    for mark in marks(shards):  # archives are read again for the clips that are tried again
        remove(f"{shards}/{STAGING}/{mark}")
    reopened = [_reopen_shard(shards, name, chosen, changed) for name in groups if finished(shards, name)]
    return sum(reopened) + _forget_parts(shards, chosen)


def _reopen_shard(shards: str, name: str, chosen: Chosen, changed: Collection[str]) -> int:
    """Write a finished shard's clips back to staging, except for those to try again; return the number of these."""
    clips = read_table(list_of(shards, name), CLIPS_SCHEMA)
    meant = _meant(clips, chosen, changed)
    if not meant:
        return 0
    for row in clips.to_pylist():
        part = f"{shards}/{STAGING}/{part_name(row['clip_id'])}"
        if row["clip_id"] in meant:
            continue
        if row["status"] == "ok":
            write_groups([Piece(f"{shards}/{name}.parquet", row["row_group"])], part)
        else:
            write_row({field.name: row.get(field.name) for field in SHARD_SCHEMA}, SHARD_SCHEMA, part)
    remove(list_of(shards, name))
    return len(meant)


def _forget_parts(shards: str, chosen: Chosen) -> int:
    """Remove the chosen failures from the staged clips of unfinished shards, and return their number."""
    staging, forgotten = f"{shards}/{STAGING}", 0
    for part in list_files(staging):
        if (
            part.endswith(".parquet")
            and not part.startswith(".")
            and _meant(read_table(f"{staging}/{part}", SHARD_SCHEMA, ["clip_id", "status", "error_class"]), chosen)
        ):
            remove(f"{staging}/{part}")
            forgotten += 1
    return forgotten


def _meant(clips: pa.Table, chosen: Chosen, changed: Collection[str] = ()) -> set[str]:
    rows = clips.select(["clip_id", "status", "error_class"]).to_pylist()
    failed = {row["clip_id"] for row in rows if row["status"] != "ok" and chosen(row["error_class"])}
    return failed | {row["clip_id"] for row in rows if row["status"] == "ok"}.intersection(changed)
