"""Retry of failed clips: failures stay recorded, unless `--retry` names their error class and they are tried again."""

from collections.abc import Callable, Collection

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.ingest import clip_errors as errors
from pipeline.ingest.run_errors import IngestError
from pipeline.ingest.staging import STAGING, finished, list_of, part_name
from pipeline.ingest.write_shards import Groups
from pipeline.shards.manifest import CLIPS, MANIFEST
from pipeline.shards.schema import CLIPS_SCHEMA, SHARD_SCHEMA
from pipeline.shards.tables import read_table, write_table
from pipeline.storage import exists, list_files, make_folder, remove

Chosen = Callable[[str], bool]


def chosen_by(names: Collection[str]) -> Chosen:
    """Return a function that says whether an error class, given by its name, is to be tried again.

    Args:
        names: names of error classes, verdicts such as `retryable`, or `all`.

    Raises:
        IngestError: a name is neither an error class nor a verdict nor `all`.
    """
    classes = {name for name in vars(errors) if errors.error_named(name).__name__ == name}
    verdicts = {errors.error_named(name).verdict for name in classes}
    for name in names:
        if name not in classes | verdicts | {"all"}:
            known = f"{', '.join(sorted(verdicts))}, all, or {', '.join(sorted(classes))}"
            raise IngestError(f"--retry {name}: no such error class; {known}")
    wanted = set(names)
    return lambda name: "all" in wanted or name in wanted or errors.error_named(name).verdict in wanted


def reopen(shards: str, groups: Groups, chosen: Chosen) -> int:
    """Remove the failures of the chosen classes from the set, and return the number of clips to try again.

    A complete set is unreadable from this point until it is complete again. The run may be killed after any step: the
    same command, or one without `--retry`, can continue from there.
    """
    if exists(f"{shards}/{MANIFEST}"):
        clips = read_table(f"{shards}/{CLIPS}")
        if not _meant(clips, chosen):
            return 0
        make_folder(f"{shards}/{STAGING}")
        for name, members in groups.items():
            ids = pa.array([row["clip_id"] for row in members])
            write_table(clips.filter(pc.is_in(clips["clip_id"], ids)), list_of(shards, name))
        remove(f"{shards}/{MANIFEST}")
    return sum(_reopen_shard(shards, name, chosen) for name in groups if finished(shards, name)) + _forget_parts(
        shards, chosen
    )


def _reopen_shard(shards: str, name: str, chosen: Chosen) -> int:
    """Write a finished shard's clips back to staging, except for the chosen failures; return the number of these."""
    clips = read_table(list_of(shards, name)).cast(CLIPS_SCHEMA)
    meant = _meant(clips, chosen)
    if not meant:
        return 0
    failed = clips.filter(pc.field("status") != "ok").to_pylist()
    kept = [{field.name: row.get(field.name) for field in SHARD_SCHEMA} for row in failed]
    tables = [pa.Table.from_pylist([row], schema=SHARD_SCHEMA) for row in kept if row["clip_id"] not in meant]
    if len(failed) < len(clips):
        good = read_table(f"{shards}/{name}.parquet").cast(SHARD_SCHEMA)
        tables += [good.slice(row, 1) for row in range(len(good))]
    for table in tables:
        write_table(table, f"{shards}/{STAGING}/{part_name(table['clip_id'][0].as_py())}")
    remove(list_of(shards, name))
    return len(meant)


def _forget_parts(shards: str, chosen: Chosen) -> int:
    """Remove the chosen failures from the staged clips of unfinished shards, and return their number."""
    staging, forgotten = f"{shards}/{STAGING}", 0
    for part in list_files(staging):
        if (
            part.endswith(".parquet")
            and not part.startswith(".")
            and _meant(read_table(f"{staging}/{part}", ["clip_id", "status", "error_class"]), chosen)
        ):
            remove(f"{staging}/{part}")
            forgotten += 1
    return forgotten


def _meant(clips: pa.Table, chosen: Chosen) -> set[str]:
    rows = clips.select(["clip_id", "status", "error_class"]).to_pylist()
    return {row["clip_id"] for row in rows if row["status"] != "ok" and chosen(row["error_class"])}
