"""Writing of shards: the step that joins the staged files of a shard's clips."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from pipeline.ingest.staging import folder_of, list_of, stored_columns
from pipeline.shards.row_groups import join_rows
from pipeline.shards.schema import CLIPS_SCHEMA
from pipeline.shards.tables import write_table
from pipeline.storage import remove_many


def write_shard(shards: str, name: str, clips: Sequence[str | dict[str, Any]]) -> None:
    """Join staged clips into one shard, write the list of its clips, and then remove the staged files.

    Args:
        shards: folder or URI of the set.
        name: name of the shard.
        clips: for each clip, the name of its staged file, or the row of the catalog that says why it cannot be used.
    """
    files = [f"{folder_of(shards, name)}/{clip}" for clip in clips if isinstance(clip, str)]
    staged = iter(join_rows(files, f"{shards}/{name}.parquet"))
    rows = [next(staged) if isinstance(clip, str) else stored_columns({**clip, "status": "failed"}) for clip in clips]
    for row in rows:
        row["shard"] = f"{name}.parquet" if row["status"] == "ok" else None
    if not any(row["shard"] for row in rows):
        remove_many([f"{shards}/{name}.parquet"])  # it was good before its clips were tried again
    write_table(pa.Table.from_pylist(rows, schema=CLIPS_SCHEMA), list_of(shards, name))
    remove_many(files)
