"""Verification that a shard set is what its manifest says; all problems are reported together.

    the set        the digest, counts, labels and bytes in the manifest match the table of clips
    the files      every shard exists and can be read, its columns are those of this version, and there is no other file
    the clips      each is at the place that the table gives and nowhere else, and its row there equals the table's
    the streams    their bytes match their digests, and decode to the stated number and size of frames

Threads read several shards at the same time, one clip at a time each: hashing and decoding release Python's lock.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyarrow as pa

from pipeline.progress import Progress
from pipeline.shards.codec import FLOW_FORMATS, VIDEO_FORMATS, CodecError, measure
from pipeline.shards.manifest import CLIPS, MANIFEST, differences, read_catalog, read_manifest
from pipeline.shards.places import misplaced
from pipeline.shards.row_groups import offsets_in
from pipeline.shards.schema import SCALARS, SHARD_SCHEMA, clips_columns
from pipeline.shards.tables import UNREADABLE, ShardError, column_names, line, one_clip, open_table
from pipeline.storage import list_entries

_FRAMES = {"video": "num_frames", "flow": "num_flow"}


class Problem(NamedTuple):
    """One problem: a clip's id or a file's name, and what is wrong with it."""

    where: str
    what: str


@dataclass(frozen=True)
class Verification:
    """The result of verifying a whole shard set."""

    clips: int
    """Number of clips that were found and compared; without problems, this is every clip that the set should hold."""
    problems: list[Problem]
    """The problems, sorted; empty if there are none."""


def verify(shards: str, decode: bool = True, write: Callable[[str], object] | None = None) -> Verification:
    """Compare every file, clip and stream of a shard set with its manifest.

    Args:
        shards: folder or URI of the set.
        decode: whether to decode every stream too; if False, only digests are compared.
        write: function that takes the lines of progress; if None, they go to the console.

    Raises:
        ShardError: the set is not complete or has another format, or its manifest or table of clips cannot be read.
    """
    manifest, clips = read_manifest(shards), read_catalog(shards)
    ids, states, names = (clips[name].to_pylist() for name in ("clip_id", "status", "shard"))
    rows = {ids[row]: row for row, state in enumerate(states) if state == "ok"}
    due, there = Counter(str(names[row]) for row in rows.values()), set(list_entries(shards))
    problems = [
        *_lacking(CLIPS, column_names(f"{shards}/{CLIPS}"), clips_columns(manifest["format_version"])),
        *(Problem(MANIFEST, what) for what in differences(manifest, clips)),
        *(Problem(clip, f"{count} times in {CLIPS}") for clip, count in Counter(ids).items() if count > 1),
        *(Problem(name, f"missing; {due[name]} clips should be in it") for name in due.keys() - there),
        *(Problem(name, "no file of this set") for name in there - due.keys() if not name.startswith(("_", "."))),
    ]

    seen: Counter[str] = Counter()
    gone = due.keys() - there
    progress = Progress("verify", len(rows), write=write)
    present = sorted(due.keys() & there)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = pool.map(lambda name: _shard(shards, name, clips, rows, decode), present)
        for name, (found, faults) in zip(present, results, strict=True):
            seen.update(found or {})
            problems += faults
            if found is None:
                gone.add(name)
            progress.advance(due[name], f"{len(problems)} problems" if problems else "")
    problems += [Problem(clip, f"{count} times in the shards") for clip, count in seen.items() if count > 1]
    problems += [
        Problem(clip, f"not in {names[row]}")
        for clip, row in rows.items()
        if clip not in seen and str(names[row]) not in gone
    ]
    return Verification(len(seen), sorted(problems))


def _lacking(name: str, found: Sequence[str], expected: Sequence[str]) -> Iterator[Problem]:
    """Yield the problem that a file lacks columns; one with unknown columns or other types is not opened at all."""
    faults = [f"no column {column}" for column in expected if column not in found]
    if list(found) != list(expected):
        yield Problem(name, f"schema: {', '.join(faults) or 'columns in another order'}")


def _shard(
    shards: str, name: str, clips: pa.Table, rows: dict[str, int], decode: bool
) -> tuple[list[str] | None, list[Problem]]:
    """Return the clips in a shard (None if the file cannot be read at all), and the problems of the file and clips."""
    found: list[str] = []
    problems: list[Problem] = []
    try:
        with open_table(f"{shards}/{name}", SHARD_SCHEMA, pre_buffer=True) as file:
            problems += _lacking(name, file.schema_arrow.names, SHARD_SCHEMA.names)
            offsets = offsets_in(f"{shards}/{name}")
            for group in range(file.num_row_groups):
                try:
                    row = one_clip(file, group)
                except UNREADABLE as error:
                    problems.append(Problem(name, f"row group {group} does not read: {line(error)}"))
                    continue
                clip = row.get("clip_id")
                if clip not in rows:
                    problems.append(Problem(name, f"row group {group} holds {clip}, no clip of this set"))
                    continue
                found.append(clip)
                listed = clips.slice(rows[clip], 1).to_pylist()[0]
                problems += [Problem(clip, what) for what in _clip(row, listed, name, group, decode)]
                problems += [Problem(clip, what) for what in misplaced(row, listed, offsets[group])]
    except (ShardError, *UNREADABLE) as error:
        return None, [Problem(name, str(error).removeprefix(f"{shards}/{name}: "))]
    return found, problems


def _clip(row: dict[str, Any], listed: dict[str, Any], shard: str, group: int, decode: bool) -> Iterator[str]:
    """Yield the problems of one clip in a shard."""
    if (listed["shard"], listed["row_group"]) != (shard, group):
        yield f"in {shard}, row group {group}, not in {listed['shard']}, row group {listed['row_group']}"
    other = [field.name for field in SCALARS if repr(row.get(field.name)) != repr(listed[field.name])]  # NaN equals NaN
    if other:
        yield f"{shard} and {CLIPS} differ in {', '.join(other)}"
    for stream, frames in _FRAMES.items():
        content, digest = row.get(stream), listed[f"{stream}_sha256"]
        if content is None and digest is None and stream != "video":
            continue
        if content is None or hashlib.sha256(content).hexdigest() != digest:
            yield f"{stream} in {shard} is {'missing' if content is None else 'not what the manifest says'}"
            continue
        if decode:
            yield from _decodes(stream, content, listed[frames], listed["height"], listed["width"])


def _decodes(stream: str, content: bytes, frames: int, height: int, width: int) -> Iterator[str]:
    try:
        found = measure(content, FLOW_FORMATS if stream == "flow" else VIDEO_FORMATS)
    except CodecError as error:
        yield f"{stream}: {line(error)}"
        return
    stated = (frames, height * 2 if stream == "flow" and height else height, width)
    if found != stated:
        yield "{}: {} frames of {} x {}, stated are {} of {} x {}".format(stream, *found, *stated)
