"""The manifest of a shard set: the clips it should hold and does hold, the failures with reasons, and a digest."""

import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.shards.digest import DECISIVE, digest, digest_of_format_2
from pipeline.shards.limits import BOUNDS, check_clips, check_manifest, check_readable
from pipeline.shards.schema import CLIPS_SCHEMA, FORMAT_VERSION
from pipeline.shards.splits import divided, in_split, splits_of
from pipeline.shards.tables import ShardError, line, read_table, write_table
from pipeline.storage import exists, read_json, write_json

MANIFEST = "_manifest.json"
CLIPS = "_clips.parquet"
RENEWED = "the set is of format 2"
_VERIFIED = tuple(dict.fromkeys([*DECISIVE, *BOUNDS, "shard"]))
_EXAMPLES = 10  # groups of equal clips that the manifest names


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
    names = list(classes) or labels_of(clips)
    return {
        "format_version": FORMAT_VERSION,
        "digest": digest(clips, names),
        "dataset": clips["dataset"][0].as_py() if len(clips) else None,
        "labels": names,
        "splits": _splits(clips),
        "bytes": {
            "video": pc.sum(clips["video_bytes"]).as_py() or 0,
            "flow": pc.sum(clips["flow_bytes"]).as_py() or 0,
        },
        "duplicates": _duplicates(clips) if "packets_sha256" in clips.column_names else {},
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


def _splits(clips: pa.Table) -> dict[str, Any]:
    """Count the clips of each split, of each of its classes and of each class of errors."""
    table = pa.table(
        {
            "split": clips["split"],
            "label": clips["label"].fill_null("None"),
            "error_class": clips["error_class"].fill_null("None"),
            "num_frames": clips["num_frames"],
            "ok": pc.equal(clips["status"], "ok"),
        }
    )
    splits: dict[str, Any] = {
        split: {"expected": 0, "present": 0, "failed": {}, "frames": 0, "labels": {}}
        for split in sorted(clips["split"].unique().to_pylist())
    }
    classes = table.group_by(["split", "label"]).aggregate([("ok", "count"), ("ok", "sum")])
    for row in classes.sort_by("label").to_pylist():
        counts = splits[row["split"]]
        counts["labels"][row["label"]] = {"expected": row["ok_count"], "present": row["ok_sum"]}
        counts["expected"] += row["ok_count"]
        counts["present"] += row["ok_sum"]
    failed = table.filter(pc.invert(table["ok"])).group_by(["split", "error_class"]).aggregate([("ok", "count")])
    for row in failed.sort_by("error_class").to_pylist():
        splits[row["split"]]["failed"][row["error_class"]] = row["ok_count"]
    for row in table.filter(table["ok"]).group_by("split").aggregate([("num_frames", "sum")]).to_pylist():
        splits[row["split"]]["frames"] = row["num_frames_sum"] or 0
    return splits


def _duplicates(clips: pa.Table) -> dict[str, Any]:
    """Find groups of clips with the same packets, whatever their names, within one split and across splits."""
    good = clips.filter((pc.field("status") == "ok") & pc.field("packets_sha256").is_valid())
    good = good.select(["clip_id", "split", "packets_sha256"])
    groups = good.group_by("packets_sha256").aggregate([("clip_id", "count"), ("split", "distinct")])
    same = groups.filter(pc.field("clip_id_count") > 1).sort_by("packets_sha256")
    across = pa.array([divided(parts) for parts in same["split_distinct"].to_pylist()], pa.bool_())
    return {
        name: {"groups": len(found), "examples": _members(good, found["packets_sha256"].slice(0, _EXAMPLES))}
        for name, found in (("within_splits", same.filter(pc.invert(across))), ("across_splits", same.filter(across)))
    }


def _members(clips: pa.Table, packets: pa.ChunkedArray) -> list[list[str]]:
    """Return the ids of the clips that have each of a few digests of packets."""
    members: dict[str, list[str]] = {name: [] for name in packets.to_pylist()}
    for row in clips.filter(pc.is_in(clips["packets_sha256"], packets)).to_pylist():
        members[row["packets_sha256"]].append(row["clip_id"])
    return list(members.values())


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


def read_catalog(shards: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Read the table of all clips of a complete shard set, failed clips included.

    Columns of `CLIPS_SCHEMA` that the file lacks are added as nulls.

    Args:
        shards: folder or URI of the set.
        columns: names of the columns to read, without the others; None for all.

    Raises:
        ShardError: the set is not complete; or its table of clips cannot be read, has unknown columns or other types,
            or has values that no ingest writes.
    """
    _load(shards)
    uri = f"{shards}/{CLIPS}"
    clips = read_list(uri, columns)
    check_clips(uri, clips)
    return clips


def read_list(uri: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a table of clips, or some of its columns; those that the file lacks are added as nulls.

    Raises:
        ShardError: the file cannot be read, or has unknown columns or other types.
    """
    names, clips = columns or CLIPS_SCHEMA.names, read_table(uri, CLIPS_SCHEMA, columns)
    for name in names:
        if name not in clips.column_names:
            field = CLIPS_SCHEMA.field(name)
            clips = clips.append_column(field, pa.nulls(len(clips), field.type))
    return clips.select(names)


def read_clips(shards: str, split: str | None = None, status: str = "ok") -> pa.Table:
    """Read the clips of a complete shard set, scalar columns only, in the order of their ids.

    Args:
        shards: folder or URI of the set.
        split: split to read; None for all.
        status: "ok" or "failed".

    Raises:
        ShardError: the set is not complete, it has no such split, or its table of clips is refused (`read_catalog`).
    """
    if split is not None and split not in (splits := splits_of(read_manifest(shards)["splits"])):
        raise ShardError(f"{shards}: no split {split!r}; it has {', '.join(splits)}")
    clips = read_catalog(shards).filter(pc.field("status") == status)
    return (clips if split is None else clips.filter(in_split(clips["split"], split))).sort_by("clip_id")


def read_verified(shards: str) -> tuple[dict[str, Any], pa.Table]:
    """Read the manifest and the decisive columns of the table of all clips, and check that one is of the other.

    The columns are those of the digest, the counts, and the places of the clips.

    Raises:
        ShardError: they cannot be read, or they differ; the message names the first difference.
    """
    manifest, clips = read_manifest(shards), read_catalog(shards, _VERIFIED)
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
