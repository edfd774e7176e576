"""The manifest of a shard set: the clips it should hold and does hold, the failures with reasons, and a digest."""

import shlex
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.shards.digest import digest, digest_of_format_2
from pipeline.shards.limits import check_clips, check_manifest, check_readable
from pipeline.shards.schema import CLIPS_SCHEMA, FORMAT_VERSION
from pipeline.shards.tables import ShardError, line, read_table, write_table
from pipeline.storage import exists, read_json, write_json

MANIFEST = "_manifest.json"
CLIPS = "_clips.parquet"
RENEWED = "the set is of format 2"
_COUNTED = ["status", "error_class", "label", "num_frames"]


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
    names = list(classes) or labels_of(clips)
    return {
        "format_version": FORMAT_VERSION,
        "digest": digest(clips, names),
        "dataset": clips["dataset"][0].as_py() if len(clips) else None,
        "labels": names,
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


def labels_of(clips: pa.Table, known: Sequence[str] = ()) -> list[str]:
    """Return the names of the classes in the order of their numbers.

    Args:
        clips: one row per clip; if two of them give one number two names, the last in the alphabet is taken.
        known: names of classes that no clip has, at their numbers; without one, the class has a placeholder.
    """
    pairs = clips.group_by(["label_id", "label"]).aggregate([]).drop_null().sort_by("label").to_pylist()
    names = {row["label_id"]: row["label"] for row in pairs}
    count = max(max(names, default=-1) + 1, len(known))
    return [names.get(i, known[i] if i < len(known) else unnamed(i)) for i in range(count)]


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

    Sets of formats 2 and 3 are read too. The manifest of format 2 is compared with its table of clips, and gets the
    digest that the same set would have today. A note in it says so.

    Raises:
        ShardError: there is no manifest, it cannot be parsed, it has another format version, or values in it have
            other types than ingest writes.
    """
    manifest = _load(shards)
    check_manifest(f"{shards}/{MANIFEST}", manifest)
    return _renewed(shards, manifest) if manifest["format_version"] == 2 else manifest


def read_catalog(shards: str) -> pa.Table:
    """Read the table of all clips of a complete shard set, failed clips included.

    Columns of `CLIPS_SCHEMA` that the file lacks are added as nulls.

    Raises:
        ShardError: the set is not complete; or its table of clips cannot be read, has unknown columns or other types,
            or has values that no ingest writes.
    """
    _load(shards)
    uri = f"{shards}/{CLIPS}"
    clips = read_list(uri)
    check_clips(uri, clips)
    return clips


def read_list(uri: str) -> pa.Table:
    """Read a table of clips; columns of `CLIPS_SCHEMA` that the file lacks are added as nulls.

    Raises:
        ShardError: the file cannot be read, or has unknown columns or other types.
    """
    clips = read_table(uri, CLIPS_SCHEMA)
    for field in CLIPS_SCHEMA:
        if field.name not in clips.column_names:
            clips = clips.append_column(field, pa.nulls(len(clips), field.type))
    return clips.select(CLIPS_SCHEMA.names)


def read_clips(shards: str, split: str | None = None, status: str = "ok") -> pa.Table:
    """Read the clips of a complete shard set, scalar columns only, in the order of their ids.

    Args:
        shards: folder or URI of the set.
        split: split to read; None for all.
        status: "ok" or "failed".

    Raises:
        ShardError: the set is not complete, it has no such split, or its table of clips is refused (`read_catalog`).
    """
    if split is not None and split not in (splits := read_manifest(shards)["splits"]):
        raise ShardError(f"{shards}: no split {split!r}; it has {', '.join(splits)}")
    keep = pc.field("status") == status
    return (
        read_catalog(shards).filter(keep if split is None else keep & (pc.field("split") == split)).sort_by("clip_id")
    )


def read_verified(shards: str) -> tuple[dict[str, Any], pa.Table]:
    """Read the manifest and the table of all clips, and check that the manifest is of this table.

    Raises:
        ShardError: they cannot be read, or they differ; the message names the first difference.
    """
    manifest, clips = read_manifest(shards), read_catalog(shards)
    check_readable(f"{shards}/{CLIPS}", clips)
    if found := next(differences(manifest, clips), None):
        raise ShardError(f"{shards}: {MANIFEST} is not that of {CLIPS}: {found}; copy the set again, or ingest again")
    return manifest, clips


def differences(manifest: Mapping[str, Any], clips: pa.Table) -> Iterator[str]:
    """Yield the differences between a manifest and the one that its table of clips gives, and what contradicts itself.

    Args:
        manifest: the manifest that `read_manifest` returns.
        clips: the table that `read_catalog` returns.
    """
    given = summarise(clips, {}, classes=labels_of(clips, manifest["labels"]))
    for name in ("labels", "digest", "dataset", "splits", "bytes"):
        yield from _differences(name, manifest[name], given[name])
    half = pc.sum(pc.xor(clips["label"].is_null(), clips["label_id"].is_null())).as_py()
    if half:
        yield f"{half} clips have a label without a number or a number without a label in {CLIPS}"
    pairs = clips.group_by(["label_id", "label"]).aggregate([]).drop_null()
    for one, other in (("label_id", "label"), ("label", "label_id")):
        for value, count in Counter(pairs[one].to_pylist()).items():
            if count > 1:
                yield f"{one} {_short(value)} has {count} values of {other} in {CLIPS}"


def _differences(path: str, said: Any, given: Any) -> Iterator[str]:
    if isinstance(said, dict) and isinstance(given, dict):
        for key in sorted({*said, *given}):
            yield from _differences(f"{path}.{key}", said.get(key), given.get(key))
    elif said != given:
        yield f"{path} is {_short(said)}, {CLIPS} gives {_short(given)}"


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _load(shards: str) -> dict[str, Any]:
    """Read a manifest of a format that this version reads."""
    if not exists(f"{shards}/{MANIFEST}"):
        state = "ingest has not finished there" if exists(f"{shards}/_plan.json") else "no shard set there"
        raise ShardError(
            f"{shards}: {state} (no {MANIFEST}); run the command ingest with --ingest.shards {shlex.quote(shards)}"
        )
    try:
        manifest = dict(read_json(f"{shards}/{MANIFEST}"))
    except (ValueError, TypeError, RecursionError, OSError) as error:
        raise ShardError(
            f"{shards}/{MANIFEST}: does not read ({line(error)}); copy it again, or ingest again"
        ) from error
    if manifest.get("format_version") not in (2, 3, FORMAT_VERSION):
        raise ShardError(
            f"{shards}: format {line(manifest.get('format_version'))}, this version reads {FORMAT_VERSION}; "
            "ingest it again"
        )
    return manifest


def _renewed(shards: str, manifest: dict[str, Any]) -> dict[str, Any]:
    """Return the manifest of a set of format 2 as that of format 3, after comparing it by its own rule."""
    clips = read_catalog(shards)
    labels, given = labels_of(clips, manifest["labels"]), digest_of_format_2(clips)
    if manifest["digest"] != given or manifest["labels"] != labels:
        what = "digest" if manifest["digest"] != given else "labels"
        raise ShardError(f"{shards}: {MANIFEST} is not that of {CLIPS}: {what} differs; copy the set again")
    now = digest(clips, labels)
    note = f"{RENEWED}, whose digest {given} did not cover sizes and numbers of classes; it is now {now}"
    return {**manifest, "format_version": 3, "digest": now, "notes": [*manifest.get("notes", []), note]}
