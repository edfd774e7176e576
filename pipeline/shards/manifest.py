"""The manifest of a shard set: the clips it should hold and does hold, the failures with reasons, and a digest."""

import hashlib
import shlex
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.shards.schema import CLIPS_SCHEMA, FORMAT_VERSION
from pipeline.shards.tables import read_table, write_table
from pipeline.storage import exists, read_json, write_json

MANIFEST = "_manifest.json"
CLIPS = "_clips.parquet"
_NEEDED = ("clip_id", "dataset", "split", "status")
_COUNTED = ["status", "error_class", "label", "num_frames"]


class ShardError(ValueError):
    """A shard set is missing, incomplete or not readable; the message is one line, written for the user."""


def digest(clips: pa.Table) -> str:
    """Return the digest that identifies a data set version: its clips, labels and bytes, whatever their order."""
    columns = ["clip_id", "split", "label", "status", "error_class", "video_sha256", "flow_sha256"]
    rows = sorted(tuple(repr(row[name]) for name in columns) for row in clips.select(columns).to_pylist())
    return hashlib.sha256("\n".join("\t".join(row) for row in rows).encode()).hexdigest()[:16]


def summarise(
    clips: pa.Table,
    plan: dict[str, Any],
    rate: dict[str, Any] | None = None,
    notes: Sequence[str] = (),
    classes: Sequence[str] = (),
) -> dict[str, Any]:
    """Make the manifest of a finished set from its table of clips.

    Args:
        clips: one row per clip of the catalog (`CLIPS_SCHEMA`).
        plan: the plan of the ingest: settings and catalog that determine the set.
        rate: the throughput of the run that finished the set: clips, seconds, and the time of each stage.
        notes: notes of the catalog, such as how its lists differ from the published counts.
        classes: all classes of the catalog in the order of their numbers; the clips may have only some of them. If
            empty, the classes of the clips are used.
    """
    splits: dict[str, Any] = {}
    for split in sorted(set(clips["split"].to_pylist())):
        rows = clips.filter(pc.field("split") == split).select(_COUNTED).to_pylist()
        good = [row for row in rows if row["status"] == "ok"]
        failed = Counter(str(row["error_class"]) for row in rows if row["status"] != "ok")
        labels: dict[str, dict[str, int]] = defaultdict(lambda: {"expected": 0, "present": 0})
        for row in rows:
            labels[str(row["label"])]["expected"] += 1
            labels[str(row["label"])]["present"] += row["status"] == "ok"
        splits[split] = {
            "expected": len(rows),
            "present": len(good),
            "failed": dict(sorted(failed.items())),
            "frames": sum(row["num_frames"] or 0 for row in good),
            "labels": dict(sorted(labels.items())),
        }
    named = {(row["label_id"], row["label"]) for row in clips.select(["label_id", "label"]).to_pylist()}
    names = {i: name for i, name in named if i is not None}
    return {
        "format_version": FORMAT_VERSION,
        "digest": digest(clips),
        "dataset": clips["dataset"][0].as_py() if len(clips) else None,
        "labels": list(classes) or [names.get(i, unnamed(i)) for i in range(max(names, default=-1) + 1)],
        "splits": splits,
        "bytes": {
            "video": pc.sum(clips["video_bytes"]).as_py() or 0,
            "flow": pc.sum(clips["flow_bytes"]).as_py() or 0,
        },
        "duplicates": _duplicates(clips),
        "notes": list(notes),
        "rate": rate or {},
        "plan": plan,
    }


def unnamed(number: int) -> str:
    """Return a placeholder name for a class whose number no clip has."""
    return f"class {number}"


def _duplicates(clips: pa.Table) -> dict[str, Any]:
    """Find groups of clips with the same packets, whatever their names, within one split and across splits."""
    groups: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    columns = ["clip_id", "split", "packets_sha256"]
    for row in clips.filter(pc.field("status") == "ok").select(columns).to_pylist():
        if row["packets_sha256"] is not None:
            groups[row["packets_sha256"]].append(row)
    same = [members for _, members in sorted(groups.items()) if len(members) > 1]
    across = [members for members in same if len({row["split"] for row in members}) > 1]
    within = [members for members in same if members not in across]
    return {
        name: {"groups": len(found), "examples": [[row["clip_id"] for row in members] for members in found[:10]]}
        for name, found in (("within_splits", within), ("across_splits", across))
    }


def write_manifest(shards: str, clips: pa.Table, manifest: dict[str, Any]) -> None:
    """Complete a shard set: write its table of clips, then the manifest, without which the set is not readable."""
    write_table(clips, f"{shards}/{CLIPS}")
    write_json(f"{shards}/{MANIFEST}", manifest)


def read_manifest(shards: str) -> dict[str, Any]:
    """Read the manifest of a complete shard set.

    Raises:
        ShardError: there is no manifest, it cannot be parsed, or it has another format version.
    """
    if not exists(f"{shards}/{MANIFEST}"):
        state = "ingest has not finished there" if exists(f"{shards}/_plan.json") else "no shard set there"
        raise ShardError(
            f"{shards}: {state} (no {MANIFEST}); run the command ingest with --ingest.shards {shlex.quote(shards)}"
        )
    try:
        manifest = dict(read_json(f"{shards}/{MANIFEST}"))
    except (ValueError, TypeError) as error:
        raise ShardError(f"{shards}/{MANIFEST}: does not read ({error}); copy it again, or ingest again") from error
    if manifest.get("format_version") != FORMAT_VERSION:
        raise ShardError(
            f"{shards}: format {manifest.get('format_version')}, this version reads {FORMAT_VERSION}; ingest it again"
        )
    return manifest


def read_catalog(shards: str) -> pa.Table:
    """Read the table of all clips of a complete shard set, failed clips included.

    Columns of `CLIPS_SCHEMA` that the file lacks are added as nulls.

    Raises:
        ShardError: the set is not complete, or its table of clips cannot be read or has wrong columns.
    """
    read_manifest(shards)
    try:
        clips = read_table(f"{shards}/{CLIPS}")
        clips.validate(full=True)
        names = clips.column_names
    except (pa.ArrowException, OSError, ValueError) as error:
        what = " ".join(str(error).split())
        raise ShardError(f"{shards}/{CLIPS}: does not read ({what}); copy it again, or ingest again") from error
    for field in CLIPS_SCHEMA:
        if field.name not in names:
            clips = clips.append_column(field, pa.nulls(len(clips), field.type))
        lacking = field.name in _NEEDED and clips[field.name].null_count
        if lacking or clips.schema.field(field.name).type != field.type:
            raise ShardError(f"{shards}/{CLIPS}: {field.name} is not a {field.type} in every row; ingest again")
    return clips


def read_clips(shards: str, split: str | None = None, status: str = "ok") -> pa.Table:
    """Read the clips of a complete shard set, scalar columns only, in the order of their ids.

    Args:
        shards: folder or URI of the set.
        split: split to read; None for all.
        status: "ok" or "failed".

    Raises:
        ShardError: the set is not complete, or it has no such split.
    """
    manifest = read_manifest(shards)
    if split is not None and split not in manifest["splits"]:
        raise ShardError(f"{shards}: no split {split!r}; it has {', '.join(manifest['splits'])}")
    clips = read_table(f"{shards}/{CLIPS}")
    keep = pc.field("status") == status
    return clips.filter(keep if split is None else keep & (pc.field("split") == split)).sort_by("clip_id")
