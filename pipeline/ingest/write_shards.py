"""Writing of shards: which clips go into which shard, and the step that joins the staged files of its clips."""

from typing import Any

import pyarrow as pa

from pipeline.ingest.staging import STAGING, list_of, part_name
from pipeline.shards.row_groups import join_rows
from pipeline.shards.schema import CLIPS_SCHEMA
from pipeline.shards.tables import write_table
from pipeline.storage import remove, remove_many

Groups = dict[str, list[dict[str, Any]]]


def groups_of(catalog: pa.Table, size: int) -> Groups:
    """Return a dictionary from the name of each shard to the rows of its clips.

    A shard has clips of one split, at most `size` of them. They are in the order of a digest of their ids, which mixes
    the classes.
    """
    rows: Groups = {}
    for row in sorted(catalog.to_pylist(), key=lambda row: part_name(row["clip_id"])):
        rows.setdefault(row["split"], []).append(row)
    return {
        f"{split}-{start // size:05d}": members[start : start + size]
        for split, members in sorted(rows.items())
        for start in range(0, len(members), size)
    }


def write_shard(shards: str, name: str, parts: list[str]) -> None:
    """Join staged clips into one shard, and then remove the staged files."""
    files = [f"{shards}/{STAGING}/{part}" for part in parts]
    rows = join_rows(files, f"{shards}/{name}.parquet")
    for row in rows:
        row["shard"] = f"{name}.parquet" if row["status"] == "ok" else None
    if not any(row["shard"] for row in rows):
        remove(f"{shards}/{name}.parquet")  # it was good before its clips were tried again
    write_table(pa.Table.from_pylist(rows, schema=CLIPS_SCHEMA), list_of(shards, name))
    remove_many(files)
