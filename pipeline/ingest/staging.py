"""The staging protocol, by which an ingest that is killed loses no finished clip and counts none twice.

`_staging/` of a shard set holds, until the manifest is written:

    SPLIT-00000/DIGEST.parquet        a good clip of the shard SPLIT-00000; the name is a digest of its id
    SPLIT-00000/DIGEST.failed         a clip that failed, also a Parquet file of one row; a good one overrides it
    SPLIT-00000/DIGEST.RANK.parquet   a good candidate for a clip from archives; the first of these names is the clip
    SPLIT-00000.clips                 the list of a finished shard's clips
    DIGEST.read                       a mark: every archive of one place has been read, so its candidates are final

A clip is done when its file, or the list of its shard, exists. A clip that the catalog says cannot be used has no file:
it is done with its shard. Every file is written under another name and then renamed, so a file with its final name is
complete. The folder of a shard is emptied after the shard's list is written. One listing of `_staging/` at the
beginning of a run tells what is done; after that, only the task that works at a shard looks into its folder.
"""

import hashlib
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from pipeline.ingest.nodes import UNSEEN
from pipeline.ingest.run_errors import stopped
from pipeline.masking import masked
from pipeline.shards.row_groups import write_row
from pipeline.shards.schema import SHARD_SCHEMA
from pipeline.storage import exists, list_below

STAGING = "_staging"
_GOOD, _FAILED, _READ, _LIST = ".parquet", ".failed", ".read", ".clips"

Row = dict[str, Any]


class Staged(NamedTuple):
    """What the staging folder holds.

    Attributes:
        finished: names of the finished shards.
        files: for each shard of which clips are staged, the names of their files.
        marks: names of the marks of places whose archives have been read.
    """

    finished: set[str]
    files: dict[str, list[str]]
    marks: set[str]


def part_name(clip_id: str, rank: str | None = None, failed: bool = False) -> str:
    """Return the file name of a staged clip. It is a digest, so that no clip id can act as a path.

    Args:
        clip_id: id of the clip.
        rank: rank of a candidate from archives (`pipeline.ingest.candidates`); None for a clip that has no candidates.
        failed: whether the clip failed.
    """
    return _digest(clip_id) + (f".{rank}" if rank else "") + (_FAILED if failed else _GOOD)


def folder_of(shards: str, name: str) -> str:
    """Return the folder of the staged clips of a shard."""
    return f"{shards}/{STAGING}/{name}"


def read_mark(where: str) -> str:
    """Return the name of the file that says that all archives of a place have been read."""
    return _digest(where) + _READ


def list_staging(shards: str) -> Staged:
    """List the staging folder of a set."""
    found = Staged(set(), {}, set())
    for entry in list_below(f"{shards}/{STAGING}"):
        folder, _, name = entry.name.rpartition("/")
        if not entry.size and not name.endswith(_READ):  # a machine that lost its power may leave such a file
            continue
        if folder and name.endswith((_GOOD, _FAILED)):
            found.files.setdefault(folder, []).append(name)
        elif not folder and name.endswith(_LIST):
            found.finished.add(name.removesuffix(_LIST))
        elif not folder and name.endswith(_READ):
            found.marks.add(name)
    return found


def list_shard(shards: str, name: str) -> dict[str, str]:
    """Return the files of the staged clips of a shard, as `by_clip` does."""
    names = (entry.name for entry in list_below(folder_of(shards, name)) if entry.size)
    return by_clip(name for name in names if name.endswith((_GOOD, _FAILED)))


def by_clip(files: Iterable[str]) -> dict[str, str]:
    """Return the file of each staged clip, by the `part_name` of its id: of several candidates, the first good one."""
    worst_first = sorted(files, key=lambda name: (is_failure(name), name), reverse=True)
    return {name.partition(".")[0] + _GOOD: name for name in worst_first}


def is_failure(file: str) -> bool:
    """Return whether a staged file is that of a clip that failed."""
    return file.endswith(_FAILED)


def rank_in(file: str) -> str | None:
    """Return the rank in the name of a staged file; None if the clip has no candidates."""
    return file.removesuffix(_GOOD).partition(".")[2] or None if file.endswith(_GOOD) else None


def list_of(shards: str, name: str) -> str:
    """Return the path of the list of a finished shard's clips; the list exists until the manifest is written."""
    return f"{shards}/{STAGING}/{name}{_LIST}"


def finished(shards: str, name: str) -> bool:
    """Return whether a shard is finished: its list of clips, which is written after the shard itself, exists."""
    return exists(list_of(shards, name))


def provisional(row: Row) -> bool:
    """Return whether a failure may not be the last word, so that the driver decides and no worker stages it.

    A clip from archives may have a better candidate. A file that the driver has listed may be seen on another node.
    """
    return row["status"] == "failed" and bool(row.get("rank") or (row.get("listed") and row["error_class"] in UNSEEN))


def stored_columns(row: Row) -> Row:
    """Return the columns of a row as they are stored: the status filled in, and addresses without their secrets."""
    stored = {field.name: row.get(field.name) for field in SHARD_SCHEMA}
    stored["status"] = stored["status"] or "ok"
    return stored | masked({name: stored[name] for name in ("source", "error_message")})


def make_store(folder: str) -> Callable[[Row], Row]:
    """Return the stage that writes each row, good or failed, to its own file, so that the clip survives any crash.

    A provisional failure is not written, and neither is a row without a clip id, which reports a broken archive.
    """

    def store(row: Row) -> Row:
        stored = stored_columns(row)
        stop, open_ = None, provisional({**row, "status": stored["status"]})
        if stored["clip_id"] is not None and not open_:
            file = f"{folder}/{part_name(row['clip_id'], row.get('rank'), stored['status'] == 'failed')}"
            stop = stopped(lambda: write_row(stored, SHARD_SCHEMA, file))
        names = ("clip_id", "source", "status", "error_class", "error_message", "num_frames", "num_flow")
        seconds = {f"{name}_s": float(row.get(f"{name}_s") or 0) for name in ("fetch", "decode", "flow", "encode")}
        facts = {name: row.get(name) for name in ("rank", "node", "fetched")}
        return {**{name: stored[name] for name in names}, **facts, **seconds, "provisional": open_, "stopped": stop}

    return store


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]
