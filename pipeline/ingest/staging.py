"""The staging protocol, by which an ingest that is killed loses no finished clip and counts none twice.

`_staging/` of a shard set holds, until the manifest is written:

    DIGEST.parquet      one clip, good or failed; its name is a digest of the clip's id
    SPLIT-00000.clips   the list of a finished shard's clips

A clip is done when its file, or the list of its shard, exists. Every file is written under another name and then
renamed, so a file with its final name is complete. The files of a shard's clips are removed after its list is written.
"""

import hashlib
from collections.abc import Callable
from typing import Any

from pipeline.ingest.run_errors import stopped
from pipeline.shards.row_groups import write_row
from pipeline.shards.schema import SHARD_SCHEMA
from pipeline.storage import exists

STAGING = "_staging"


def part_name(clip_id: str) -> str:
    """Return the file name of a staged clip. It is a digest, so that no clip id can act as a path."""
    return f"{hashlib.sha256(clip_id.encode()).hexdigest()[:32]}.parquet"


def list_of(shards: str, name: str) -> str:
    """Return the path of the list of a finished shard's clips; the list exists until the manifest is written."""
    return f"{shards}/{STAGING}/{name}.clips"


def finished(shards: str, name: str) -> bool:
    """Return whether a shard is finished: its list of clips, which is written after the shard itself, exists."""
    return exists(list_of(shards, name))


def make_store(folder: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Return the stage that writes each row, good or failed, to its own file, so that the clip survives any crash.

    A row without a clip id reports a broken archive and is not written.
    """

    def store(row: dict[str, Any]) -> dict[str, Any]:
        stored = {field.name: row.get(field.name) for field in SHARD_SCHEMA}
        stored["status"] = stored["status"] or "ok"
        stop = None
        if stored["clip_id"] is not None:
            file = f"{folder}/{part_name(row['clip_id'])}"
            stop = stopped(lambda: write_row(stored, SHARD_SCHEMA, file))
        names = ("clip_id", "status", "error_class", "error_message", "num_frames", "num_flow")
        seconds = {f"{name}_s": float(row.get(f"{name}_s") or 0) for name in ("fetch", "decode", "flow", "encode")}
        return {**{name: stored[name] for name in names}, "fetched": row.get("fetched"), "stopped": stop, **seconds}

    return store
