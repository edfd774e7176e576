"""Writing of shards: the step that joins the staged files of a shard's clips."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from pipeline.ingest.staging import folder_of, list_of, stored_columns
from pipeline.shards.row_groups import Piece, write_groups
from pipeline.shards.schema import CLIPS_SCHEMA, SCALARS, SHARD_SCHEMA
from pipeline.shards.tables import read_table, write_table
from pipeline.storage import remove, remove_many


def write_shard(shards: str, name: str, clips: Sequence[str | dict[str, Any]]) -> None:
    """Join staged clips into one shard, write the list of its clips, and then remove the staged files.

    Args:
        shards: folder or URI of the set.
        name: name of the shard.
        clips: for each clip, the name of its staged file, or the row of the catalog that says why it cannot be used.
    """
    files = {clip: f"{folder_of(shards, name)}/{clip}" for clip in clips if isinstance(clip, str)}
    columns = [field.name for field in SCALARS]
    rows: list[dict[str, Any]] = []
    good: list[str] = []
    for clip in clips:
        if isinstance(clip, str):
            rows += read_table(files[clip], SHARD_SCHEMA, columns).to_pylist()
        else:
            rows.append(stored_columns({**clip, "status": "failed"}))
        if rows[-1]["status"] == "ok":
            rows[-1] |= {"shard": f"{name}.parquet", "row_group": len(good)}
            good.append(files[str(clip)])
    if good:
        write_groups([Piece(file) for file in good], f"{shards}/{name}.parquet")
    else:
        remove(f"{shards}/{name}.parquet")  # it was good before its clips were tried again
    write_table(pa.Table.from_pylist(rows, schema=CLIPS_SCHEMA), list_of(shards, name))
    remove_many(list(files.values()))
