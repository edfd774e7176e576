"""Reader of YouTube-8M: windows of unlabelled videos; T3D is trained on 500,000 of them.

Abu-El-Haija et al., "YouTube-8M: A Large-Scale Video Classification Benchmark", arXiv:1609.08675;
https://research.google.com/youtube8m/download.html. The data set is published as TFRecords of features in three kinds::

    frame-level   SequenceExample   id, labels; feature lists rgb and audio with one step a second, at most 300
    video-level   Example           id, labels; no length (all videos have 120 to 500 s)
    segments      SequenceExample   id, labels, segment_start_times, segment_end_times, segment_labels, segment_scores

`id` is a pseudo id (`pipeline.catalog.youtube8m_ids`). Labels are machine-generated topics of whole videos, several per
video, and not actions. `read_videos` returns them, but the rows of the catalog have no labels.

**Windows.** Only segments have times, so the rules for cutting clips are ours. `seeded`: one window of 10 s per video
(the length of Kinetics clips), whose start depends only on seed, id and length; see `seeded_window`. `segments`: every
rated window of the segment records, each of 5 s. `clip_id` has the times, and `catalog_notes` the rule.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pyarrow as pa

from pipeline.catalog.files import VideoFile, by_stem, is_litter, video_files
from pipeline.catalog.rows import YOUTUBE, CatalogError, Clip, catalog_table, check_name, clip_id, nearest, shown
from pipeline.catalog.tf_example import parse
from pipeline.catalog.tfrecord import read_records
from pipeline.catalog.youtube8m_ids import resolve_ids
from pipeline.catalog.youtube8m_lookup import PSEUDO_ID, Lookup

WINDOW_S = 10
SHORTEST_VIDEO_S = 120  # shortest video of the data set; used as the length if a record states none
WINDOWS = ("seeded", "segments")
_FEATURES = ("id", "labels", "segment_start_times", "segment_end_times")


class Video(NamedTuple):
    """A video as its record describes it."""

    id: str
    labels: tuple[int, ...]  # numbers in vocabulary.csv
    frames: int | None  # number of feature frames, one per second; None in video-level records
    segments: tuple[tuple[int, int], ...]  # start and end of each rated segment in seconds, in order, without repeats


class Found(NamedTuple):
    """A record of a file: its video, or the problem with it."""

    offset: int  # bytes in the file before the record
    video: Video | None
    problem: str | None = None


def read_videos(path: str | os.PathLike[str]) -> Iterator[Found]:
    """Yield the records of a TFRecord file of any of the three kinds; damaged records have a problem and no video.

    Raises:
        CatalogError: the file cannot be read at all.
    """
    for record in read_records(path):
        if record.data is None:
            yield Found(record.offset, None, record.problem)
            continue
        try:
            yield Found(record.offset, _video(record.data))
        except ValueError as error:
            yield Found(record.offset, None, str(error))


def seeded_window(seed: int, pseudo_id: str, seconds: int) -> tuple[int, int]:
    """Draw the window of a video in whole seconds, each start with equal probability; a shorter video is taken whole.

    The start is the SHA-256 of `youtube8m/SEED/ID`, read as a number, modulo the number of possible starts. So it is
    the same on every machine, and does not depend on the rest of the catalog.

    Args:
        seed: Seed of the whole catalog.
        pseudo_id: Id of the video.
        seconds: Known length of the video in seconds.

    Returns:
        Start and end in seconds.
    """
    number = int.from_bytes(hashlib.sha256(f"youtube8m/{seed}/{pseudo_id}".encode()).digest())
    start = number % max(seconds - WINDOW_S + 1, 1)
    return start, min(start + WINDOW_S, seconds)


def youtube8m(
    records: Mapping[str, str | os.PathLike[str]],
    cache: str | os.PathLike[str],
    videos: str | os.PathLike[str] | None = None,
    windows: Literal["seeded", "segments"] = "seeded",
    seed: int = 0,
    limit: int | None = None,
    lookup: Lookup | None = None,
    dataset: str = "youtube8m",
) -> pa.Table:
    """Read TFRecords, draw windows, and find their videos: below a folder, or else on YouTube.

    Args:
        records: For each split, a TFRecord file or a folder of them (`*.tfrecord`).
        cache: File that keeps the YouTube ids found; see `resolve_ids`.
        videos: Folder of whole videos, named by pseudo id or by YouTube id; None to use YouTube alone.
        windows: The rule for windows, described in the module's docstring.
        seed: Seed of the rule `seeded`.
        limit: Largest number of clips per split, taken evenly over its records before any id is looked up.
        lookup: Settings of the id lookup.
        dataset: Name of the data set, the first part of every `clip_id`.

    Returns:
        One row per window, without a label, in the order of splits, files and records. `source` is a local path or
        `https://www.youtube.com/watch?v=ID`. A row that cannot be used has an error: `BadRow` (a damaged record; the
        message names file and byte), `DuplicateClip` (found before; the first is kept), `VideoGone` or `LookupFailed`
        (see `resolve_ids`).

    Raises:
        CatalogError: a file or folder is missing, or has no record or (rule `segments`) no segment.
    """
    check_name("dataset", dataset)
    if windows not in WINDOWS:
        raise CatalogError(f"windows {windows!r}: no such rule; {nearest(windows, WINDOWS)}")
    if not records:
        raise CatalogError("youtube8m: no records; give files of each split, such as {'train': 'train'}")
    if limit is not None and limit < 1:
        raise CatalogError(f"limit {limit}: give at least 1, or None for all")
    clips: list[tuple[Clip, str | None]] = []  # with the pseudo id; None if the clip cannot be used
    first_seen: dict[str, str] = {}
    for split, path in records.items():
        check_name("split", split)
        found = [
            clip for file in _files(Path(path)) for clip in _clips(file, dataset, split, windows, seed, first_seen)
        ]
        if not found:
            what = "rated segment" if windows == "segments" else "record"
            raise CatalogError(f"{path}: no {what} in the files of split {split!r}; give the records as downloaded")
        clips += _evenly(found, limit)
    _find(clips, videos, cache, lookup)
    rule = {
        "seeded": f"one window of {WINDOW_S} s a video, by seeded_window with seed {seed}",
        "segments": "the windows of the segment table",
    }
    return catalog_table(dataset, [clip for clip, _ in clips], notes=[f"{dataset}: {rule[windows]}"])


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    files = sorted(file for file in path.glob("*.tfrecord") if not is_litter(file.name))
    if not files:
        raise CatalogError(f"{path}: no *.tfrecord in it; give the folder of the downloaded records")
    return files


def _clips(
    file: Path, dataset: str, split: str, windows: str, seed: int, first_seen: dict[str, str]
) -> Iterator[tuple[Clip, str | None]]:
    """Yield the windows of a file, and add their ids to `first_seen`, which maps each id to the place of its record."""
    for found in read_videos(file):
        where = f"{file}: byte {found.offset}"
        # The name of a record without a usable clip; `~` makes it differ from a `clip_id`, as in `line_id`.
        name = clip_id(f"{dataset}.~{split}", f"{file.name} {found.offset}")
        if found.video is None:
            yield Clip(name, split, error_class="BadRow", error_message=f"{where}: {found.problem}"), None
            continue
        video = found.video
        length = SHORTEST_VIDEO_S if video.frames is None else video.frames
        for start, end in video.segments if windows == "segments" else [seeded_window(seed, video.id, length)]:
            clip = Clip(clip_id(dataset, video.id, start, end), split, start_s=float(start), end_s=float(end))
            key = clip.clip_id if windows == "segments" else video.id  # another length would give another window
            before = first_seen.setdefault(key, where)
            if before == where:
                yield clip, video.id
                continue
            message = f"{where}: {key} is already at {before}; remove one of the two"
            yield Clip(f"{name}.{start}-{end}", split, error_class="DuplicateClip", error_message=message), None


def _find(
    clips: list[tuple[Clip, str | None]],
    videos: str | os.PathLike[str] | None,
    cache: str | os.PathLike[str],
    lookup: Lookup | None,
) -> None:
    """Set the source or the error of every clip."""
    local: dict[str, VideoFile] = by_stem(video_files(videos)) if videos is not None else {}
    usable = {name: file.path for name, file in local.items() if file.problem is None}
    wanted = [(clip, name) for clip, name in clips if name is not None]
    answers = resolve_ids((name for _, name in wanted if name not in usable), cache, lookup)
    for clip, name in wanted:
        if name in usable:
            clip.source = usable[name]
            continue
        youtube_id, clip.error_class, clip.error_message = answers[name]
        if youtube_id is not None:
            clip.source = usable.get(youtube_id, YOUTUBE + youtube_id)


def _video(data: bytes) -> Video:
    """Read the video of a record.

    Raises:
        ValueError: the record does not have the published format; the message says why.
    """
    features, steps = parse(data, _FEATURES)
    ids = features.get("id", [])
    if len(ids) != 1 or not isinstance(ids[0], bytes):
        raise ValueError(f"{len(ids)} values in its feature 'id'; a record of YouTube-8M has one")
    name = ids[0].decode(errors="backslashreplace")
    if not PSEUDO_ID.fullmatch(name):
        raise ValueError(f"id {shown(name)} is none of YouTube-8M; expected four letters, digits, '-' or '_'")
    lengths = sorted(set(steps.values()))
    if len(lengths) > 1 or lengths == [0]:
        raise ValueError(f"{name}: feature lists of {' and '.join(map(str, lengths))} steps; all must have as many")
    starts, ends = _integers(features, "segment_start_times"), _integers(features, "segment_end_times")
    if len(starts) != len(ends) or any(not 0 <= start < end for start, end in zip(starts, ends, strict=False)):
        raise ValueError(f"{name}: its segments make no times; each needs a start from 0 on and a later end")
    segments = tuple(dict.fromkeys(zip(starts, ends, strict=True)))
    return Video(name, _integers(features, "labels"), lengths[0] if lengths else None, segments)


def _integers(features: dict[str, list[Any]], name: str) -> tuple[int, ...]:
    values = features.get(name, [])
    if not all(isinstance(value, int) for value in values):
        raise ValueError(f"its feature {name!r} holds something other than integers")
    return tuple(values)


def _evenly(clips: list[tuple[Clip, str | None]], limit: int | None) -> list[tuple[Clip, str | None]]:
    if limit is None or len(clips) <= limit:
        return clips
    return [clips[place * len(clips) // limit] for place in range(limit)]
