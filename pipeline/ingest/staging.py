"""The staging protocol, by which an ingest that is killed loses no finished clip and counts none twice.

`_staging/` of a shard set holds, until the manifest is written:

    DIGEST.parquet        one clip, good or failed; its name is a digest of the clip's id
    DIGEST.RANK.parquet   a good candidate for a clip from archives; the first of these names is the clip
    DIGEST.read           a mark: every archive of one place has been read, so its candidates are final
    SPLIT-00000.clips     the list of a finished shard's clips

A clip is done when its file, or the list of its shard, exists. Every file is written under another name and then
renamed, so a file with its final name is complete. The files of a shard's clips are removed after its list is written.
"""

import hashlib
from collections.abc import Callable, Iterable
from typing import Any

from pipeline.ingest.candidates import archives_of, is_archived
from pipeline.ingest.nodes import UNSEEN
from pipeline.ingest.run_errors import stopped
from pipeline.masking import masked
from pipeline.shards.row_groups import write_row
from pipeline.shards.schema import SHARD_SCHEMA
from pipeline.storage import exists, list_files

STAGING = "_staging"
_PART, _READ = ".parquet", ".read"


def part_name(clip_id: str, rank: str | None = None) -> str:
    """Return the file name of a staged clip. It is a digest, so that no clip id can act as a path.

    Args:
        clip_id: id of the clip.
        rank: rank of a candidate from archives (`pipeline.ingest.candidates`); None for a clip that has no candidates.
    """
    return _digest(clip_id) + (f".{rank}" if rank else "") + _PART


def read_mark(where: str) -> str:
    """Return the name of the file that says that all archives of a place have been read."""
    return _digest(where) + _READ


def staged(shards: str) -> dict[str, str]:
    """Return the file of every staged clip, by the `part_name` of its id: of several candidates, the first."""
    found: dict[str, str] = {}
    for name in reversed(list_files(f"{shards}/{STAGING}")):
        if name.endswith(_PART):
            found[name.partition(".")[0] + _PART] = name
    return found


def unstaged(shards: str, rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of the clips that are not done, each with the column `rank`.

    It is the rank of the staged candidate, if the clip's archives have not all been read: then a better candidate may
    come. Otherwise it is None.
    """
    there, read = staged(shards), set(marks(shards))
    left = []
    for row in rows:
        part = there.get(part_name(row["clip_id"]))
        rank = (part or "").removesuffix(_PART).partition(".")[2] or None
        if part is None or (rank and is_archived(row) and read_mark(archives_of(row)[0]) not in read):
            left.append({**row, "rank": rank})
    return left


def marks(shards: str) -> list[str]:
    """Return the names of all marks of places whose archives have been read."""
    return [name for name in list_files(f"{shards}/{STAGING}") if name.endswith(_READ)]


def list_of(shards: str, name: str) -> str:
    """Return the path of the list of a finished shard's clips; the list exists until the manifest is written."""
    return f"{shards}/{STAGING}/{name}.clips"


def finished(shards: str, name: str) -> bool:
    """Return whether a shard is finished: its list of clips, which is written after the shard itself, exists."""
    return exists(list_of(shards, name))


def provisional(row: dict[str, Any]) -> bool:
    """Return whether a failure may not be the last word, so that the driver decides and no worker stages it.

    A clip from archives may have a better candidate. A file that the driver has listed may be seen on another node.
    """
    return row["status"] == "failed" and bool(row.get("rank") or (row.get("listed") and row["error_class"] in UNSEEN))


def make_store(folder: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Return the stage that writes each row, good or failed, to its own file, so that the clip survives any crash.

    A provisional failure is not written, and neither is a row without a clip id, which reports a broken archive.
    Addresses are written without their secrets.
    """

    def store(row: dict[str, Any]) -> dict[str, Any]:
        stored = {field.name: row.get(field.name) for field in SHARD_SCHEMA}
        stored["status"] = stored["status"] or "ok"
        stored |= masked({name: stored[name] for name in ("source", "error_message")})
        stop, open_ = None, provisional({**row, "status": stored["status"]})
        if stored["clip_id"] is not None and not open_:
            file = f"{folder}/{part_name(row['clip_id'], row.get('rank'))}"
            stop = stopped(lambda: write_row(stored, SHARD_SCHEMA, file))
        names = ("clip_id", "source", "status", "error_class", "error_message", "num_frames", "num_flow")
        seconds = {f"{name}_s": float(row.get(f"{name}_s") or 0) for name in ("fetch", "decode", "flow", "encode")}
        facts = {name: row.get(name) for name in ("rank", "node", "fetched")}
        return {**{name: stored[name] for name in names}, **facts, **seconds, "provisional": open_, "stopped": stop}

    return store


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]
