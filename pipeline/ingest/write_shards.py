"""Writing of shards: which clips go into which shard, and the step that joins the staged files of its clips."""

from typing import Any

import pyarrow as pa

from pipeline.ingest.staging import STAGING, list_of, part_name
from pipeline.shards.row_groups import Piece, write_groups
from pipeline.shards.schema import CLIPS_SCHEMA, SCALARS, SHARD_SCHEMA
from pipeline.shards.tables import read_table, write_table
from pipeline.storage import remove

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
    names = [field.name for field in SCALARS]
    rows = [row for file in files for row in read_table(file, SHARD_SCHEMA, names).to_pylist()]
    good = [file for file, row in zip(files, rows, strict=True) if row["status"] == "ok"]
    positions = iter(range(len(good)))
    located = [
        {**row, **({"shard": f"{name}.parquet", "row_group": next(positions)} if row["status"] == "ok" else {})}
        for row in rows
    ]
    if good:
        write_groups([Piece(file) for file in good], f"{shards}/{name}.parquet")
    else:
        remove(f"{shards}/{name}.parquet")  # it was good before its clips were tried again
    write_table(pa.Table.from_pylist(located, schema=CLIPS_SCHEMA), list_of(shards, name))
    for file in files:
        remove(file)
