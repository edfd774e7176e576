"""Verification that a shard set is what its manifest says; all problems are reported together.

    the set        the digest, counts, labels and bytes in the manifest match the table of clips
    the files      every shard exists and can be read, its columns are those of this version, and there is no other file
    the clips      each is at the place that the table gives and nowhere else, and its row there equals the table's
    the streams    their bytes match their digests, and decode to the stated number and size of frames

A shard is checked in one piece of work, one clip at a time, with the rows of its own clips. Threads of this process do
it for small sets, since hashing and decoding release Python's lock. For large ones the caller gives tasks on a cluster.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.progress import Progress
from pipeline.shards.codec import FLOW_FORMATS, VIDEO_FORMATS, CodecError, measure
from pipeline.shards.manifest import CLIPS, MANIFEST, differences, read_catalog, read_manifest
from pipeline.shards.places import misplaced
from pipeline.shards.row_groups import Offsets, offsets_in
from pipeline.shards.schema import SCALARS, SHARD_SCHEMA, clips_columns
from pipeline.shards.tables import UNREADABLE, ShardError, column_names, line, one_clip, open_table
from pipeline.storage import list_entries

LARGE = 64
"""Shards of a set that is worth a cluster: with 64 clips a shard, some 35 core-minutes of decoding."""

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


class Task(NamedTuple):
    """A shard to check, with the rows of the clips that the table of clips has in it and no others."""

    shards: str
    name: str
    listed: pa.Table
    decode: bool
    groups: tuple[int, ...] | None = None
    """The row groups to check; None for all, and for the file itself."""


@dataclass(frozen=True)
class Checked:
    """What was found in a shard."""

    name: str
    clips: int | None
    """Number of listed clips that are in it; None if the file cannot be read at all."""
    problems: list[Problem]
    missing: Sequence[str] = ()
    """Listed clips that are not in it."""
    more: Mapping[str, int] = field(default_factory=dict)
    """How often a clip is in it, of those that are there more than once."""
    strangers: Sequence[tuple[int, str | None]] = ()
    """Row groups of other clips, and their ids."""


Each = Callable[[Callable[[Task], Checked], Iterable[Task], Callable[[Task, str], Checked]], Iterator[Checked]]
"""Calls a function on each item, anywhere and in any order. The last argument makes the result of an item whose
process died, from the item and the kind of death."""


def verify(
    shards: str, decode: bool = True, write: Callable[[str], object] | None = None, spread: Each | None = None
) -> Verification:
    """Compare every file, clip and stream of a shard set with its manifest.

    Args:
        shards: folder or URI of the set.
        decode: whether to decode every stream too; if False, only digests are compared.
        write: function that takes the lines of progress; if None, they go to the console.
        spread: checks the shards of a set of at least `LARGE`, such as `pipeline.spread.spread`; threads of this
            process check those of any other set, and of all sets if None.

    Raises:
        ShardError: the set is not complete or has another format, or its manifest or table of clips cannot be read.
    """
    manifest, clips = read_manifest(shards), read_catalog(shards)
    there = set(list_entries(shards))
    every = _times(clips["clip_id"])
    good = _readable(clips, bool(every))
    due = {item["values"]: item["counts"] for item in pc.value_counts(good["shard"]).to_pylist()}
    problems = [
        *_lacking(CLIPS, column_names(f"{shards}/{CLIPS}"), clips_columns(manifest["format_version"])),
        *(Problem(MANIFEST, what) for what in differences(manifest, clips)),
        *(Problem(clip, f"{count} times in {CLIPS}") for clip, count in every.items()),
        *(Problem(name, f"missing; {due[name]} clips should be in it") for name in due.keys() - there),
        *(Problem(name, "no file of this set") for name in there - due.keys() if not name.startswith(("_", "."))),
    ]
    del clips
    present = due.keys() & there
    each = spread if spread and len(present) >= LARGE else _in_threads
    progress = Progress("verify", len(good), write=write)
    results: dict[str, Checked] = {}
    for found in each(check_shard, _tasks(shards, good, present, decode), _died):
        results[found.name] = found
        problems += found.problems
        progress.advance(due[found.name], f"{len(problems)} problems" if problems else "")

    astray = {name: found.strangers for name, found in results.items() if found.strangers}
    homes = _homes(good, astray)
    astray = {name: rows for name, rows in astray.items() if any(clip in homes for _, clip in rows)}
    progress = Progress("verify shards with clips of others", len(astray), write=write)
    for found in each(check_shard, _second_tasks(shards, good, astray, homes, decode), _died):
        problems += found.problems
        progress.advance()
    return _settled(results, homes, problems)


def _settled(
    results: Mapping[str, Checked], homes: Mapping[str | None, "_Home"], problems: list[Problem]
) -> Verification:
    """Add what only all shards together say: which clips are nowhere, and which are in several places."""
    problems = list(problems)
    count = sum(found.clips or 0 for found in results.values())
    missing = {clip: name for name, found in results.items() for clip in found.missing}
    times = {clip: number for found in results.values() for clip, number in found.more.items()}
    elsewhere: Counter[str] = Counter()
    for name, found in results.items():
        for group, clip in found.strangers:
            if clip is not None and clip in homes:
                elsewhere[clip] += 1
            else:
                problems.append(Problem(name, f"row group {group} holds {clip}, no clip of this set"))
    for clip, number in elsewhere.items():
        home = results.get(homes[clip].shard)
        at_home = 0 if clip in missing or home is None or home.clips is None else times.get(clip, 1)
        times[clip] = at_home + number
        count += at_home == 0
        missing.pop(clip, None)
    problems += [Problem(clip, f"{number} times in the shards") for clip, number in times.items() if number > 1]
    problems += [Problem(clip, f"not in {name}") for clip, name in missing.items()]
    return Verification(count, sorted(problems))


def _times(ids: pa.ChunkedArray) -> dict[str, int]:
    """Return the number of rows of each clip that has more than one."""
    counts = pc.value_counts(ids)
    return {item["values"]: item["counts"] for item in counts.filter(pc.greater(counts.field("counts"), 1)).to_pylist()}


def _readable(clips: pa.Table, repeated: bool) -> pa.Table:
    """Return the clips that should be in the shards; of the rows of a repeated clip, the last one."""
    good = clips.filter(pc.field("status") == "ok")
    if repeated:
        rows = pa.table({"clip_id": good["clip_id"], "row": np.arange(len(good))})
        good = good.take(rows.group_by("clip_id").aggregate([("row", "max")])["row_max"])
    return good.set_column(good.schema.get_field_index("shard"), "shard", good["shard"].fill_null("None"))


def _tasks(shards: str, good: pa.Table, present: Collection[str], decode: bool) -> Iterator[Task]:
    """Yield a task for each shard that is there; the rows of a shard are copied when its task is asked for."""
    order = pc.sort_indices(good["shard"])
    start = 0
    for item in sorted(pc.value_counts(good["shard"]).to_pylist(), key=lambda item: item["values"]):
        rows = order.slice(start, item["counts"])
        start += item["counts"]
        if item["values"] in present:
            yield Task(shards, item["values"], good.take(rows), decode)


class _Home(NamedTuple):
    """Where the table of clips has a clip: the row in the table, and the shard."""

    row: int
    shard: str


def _homes(good: pa.Table, astray: Mapping[str, Sequence[tuple[int, str | None]]]) -> dict[str | None, _Home]:
    """Return where clips belong that were met in a shard of others; those of no shard are left out."""
    strangers = pa.array({clip for rows in astray.values() for _, clip in rows if clip is not None}, pa.string())
    rows = np.flatnonzero(pc.is_in(good["clip_id"], strangers)) if len(strangers) else np.empty(0, np.int64)
    there = good.select(["clip_id", "shard"]).take(rows).to_pylist()
    return {item["clip_id"]: _Home(int(row), item["shard"]) for row, item in zip(rows, there, strict=True)}


def _second_tasks(
    shards: str,
    good: pa.Table,
    astray: Mapping[str, Sequence[tuple[int, str | None]]],
    homes: Mapping[str | None, _Home],
    decode: bool,
) -> Iterator[Task]:
    """Yield a task for each shard that has clips of other shards, with the rows of these clips."""
    for name, rows in astray.items():
        groups = tuple(group for group, clip in rows if clip in homes)
        listed = good.take(sorted({homes[clip].row for _, clip in rows if clip in homes}))
        yield Task(shards, name, listed, decode, groups)


def _in_threads(
    function: Callable[[Task], Checked],
    tasks: Iterable[Task],
    lost: Callable[[Task, str], Checked],  # noqa: ARG001 - threads do not die alone
) -> Iterator[Checked]:
    """Call a function on tasks in a thread for each core, with two tasks for each in memory."""
    cores = os.cpu_count() or 1
    rest, running = iter(tasks), set[Future[Checked]]()
    with ThreadPoolExecutor(cores) as pool:
        while running := running | {pool.submit(function, task) for task in islice(rest, 2 * cores - len(running))}:
            ended, running = wait(running, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in ended)


def _died(task: Task, how: str) -> Checked:
    """Return the result of a shard whose checking ended every process that tried it."""
    return Checked(task.name, None, [Problem(task.name, f"not checked: each process that read it died ({how})")])


def _lacking(name: str, found: Sequence[str], expected: Sequence[str]) -> Iterator[Problem]:
    """Yield the problem that a file lacks columns; one with unknown columns or other types is not opened at all."""
    faults = [f"no column {column}" for column in expected if column not in found]
    if list(found) != list(expected):
        yield Problem(name, f"schema: {', '.join(faults) or 'columns in another order'}")


def check_shard(task: Task) -> Checked:
    """Compare a shard with the rows of its clips, one clip at a time."""
    places = {clip: place for place, clip in enumerate(task.listed["clip_id"].to_pylist())}
    found: Counter[str] = Counter()
    problems: list[Problem] = []
    strangers: list[tuple[int, str | None]] = []
    try:
        with open_table(f"{task.shards}/{task.name}", SHARD_SCHEMA, pre_buffer=True) as file:
            if task.groups is None:
                problems += _lacking(task.name, file.schema_arrow.names, SHARD_SCHEMA.names)
            offsets = _offsets(task, problems)
            for group in range(file.num_row_groups) if task.groups is None else task.groups:
                try:
                    row = one_clip(file, group)
                except UNREADABLE as error:
                    problems.append(Problem(task.name, f"row group {group} does not read: {line(error)}"))
                    continue
                clip: Any = row.get("clip_id")
                if clip not in places:
                    strangers.append((group, clip))
                    continue
                found[clip] += 1
                listed = task.listed.slice(places[clip], 1).to_pylist()[0]
                faults = list(_clip(row, listed, task.name, group, task.decode))
                problems += [Problem(clip, what) for what in faults or misplaced(listed, offsets.get(group, {}))]
    except ShardError as error:
        return Checked(task.name, None, [Problem(task.name, str(error).removeprefix(f"{task.shards}/{task.name}: "))])
    missing = [clip for clip in places if clip not in found]
    more = {clip: number for clip, number in found.items() if number > 1}
    return Checked(task.name, len(found), problems, missing, more, strangers)


def _offsets(task: Task, problems: list[Problem]) -> dict[int, Offsets]:
    """Return where the streams of each row group are; if that does not read, it is a problem of the shard."""
    try:
        return dict(enumerate(offsets_in(f"{task.shards}/{task.name}")))
    except UNREADABLE as error:
        problems.append(Problem(task.name, f"where its streams begin does not read: {line(error)}"))
        return {}


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
