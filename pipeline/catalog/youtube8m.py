"""YouTube-8M: windows of unlabelled video, as T3D learns from 500,000 of them.

Abu-El-Haija et al., "YouTube-8M: A Large-Scale Video Classification Benchmark", arXiv:1609.08675;
https://research.google.com/youtube8m/download.html. What is published is TFRecords of features, of which we use::

    frame-level   SequenceExample   id, labels; feature lists rgb and audio with one step a second, at most 300
    video-level   Example           id, labels; no length (all videos have 120 to 500 s)
    segments      SequenceExample   id, labels, segment_start_times, segment_end_times, segment_labels, segment_scores

`id` is a pseudo id (`pipeline.catalog.youtube8m_ids`). Labels are topics of whole videos found by machines, several a
video, and not actions: `read_videos` gives them, the catalog's rows have none.

**Windows.** Only segments have times, so the rule by which a clip is cut is ours. `seeded`: of each video one window of
10 s (as long as Kinetics clips), its start a function of seed, id and length alone: see `seeded_window`. `segments`:
every window that the segment table rates, of 5 s. The times stand in `clip_id`, the rule in `catalog_notes`.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pyarrow as pa

from pipeline.catalog.files import VideoFile, by_stem, video_files
from pipeline.catalog.rows import YOUTUBE, CatalogError, Clip, catalog_table, check_name, clip_id, nearest, shown
from pipeline.catalog.tf_example import parse
from pipeline.catalog.tfrecord import read_records
from pipeline.catalog.youtube8m_ids import resolve_ids
from pipeline.catalog.youtube8m_lookup import PSEUDO_ID, Lookup

WINDOW_S = 10
SHORTEST_VIDEO_S = 120  # of all videos of the data set: the length taken where a record states none
WINDOWS = ("seeded", "segments")
_FEATURES = ("id", "labels", "segment_start_times", "segment_end_times")


class Video(NamedTuple):
    """What a record says of its video."""

    id: str
    labels: tuple[int, ...]  # numbers in vocabulary.csv
    frames: int | None  # feature frames, one a second; None in video-level records
    segments: tuple[tuple[int, int], ...]  # start and end of rated segments in seconds, each once, in order


class Found(NamedTuple):
    """A record of a file: its video, or what is wrong with it."""

    offset: int  # bytes before the record
    video: Video | None
    problem: str | None = None


def read_videos(path: str | os.PathLike[str]) -> Iterator[Found]:
    """Yield the videos of a TFRecord file of any of the three kinds, damaged records with their problem.

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
    """Draw the window of a video: whole seconds, every start equally likely; all of a video that is shorter.

    The start is the SHA-256 of `youtube8m/SEED/ID`, read as a number, modulo the number of possible starts: the same
    on every machine and whatever else is in the catalog.

    Args:
        seed: Of the whole catalog.
        pseudo_id: Id of the video.
        seconds: Length of the video, as far as it is known.

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
        records: Of each split a TFRecord file, or a folder of them (`*.tfrecord`).
        cache: File that keeps the YouTube ids found; see `resolve_ids`.
        videos: Folder of whole videos, named by pseudo id or by YouTube id; None for YouTube alone.
        windows: The rule, described above.
        seed: Of the rule `seeded`.
        limit: At most so many clips of each split, taken evenly over its records, before any id is looked up.
        lookup: How ids are looked up.
        dataset: Name of the data set, the first part of every `clip_id`.

    Returns:
        One row a window, without a label, in the order of splits, files and records. `source` is a local path or
        `https://www.youtube.com/watch?v=ID`. What cannot be used is there with its error: `BadRow` (a damaged record,
        named by file and byte), `DuplicateClip` (met before: the first is kept), `VideoGone` and `LookupFailed` (see
        `resolve_ids`).

    Raises:
        CatalogError: a file or folder is missing, or holds no TFRecord or (rule `segments`) no segment.
    """
    check_name("dataset", dataset)
    if windows not in WINDOWS:
        raise CatalogError(f"windows {windows!r}: no such rule; {nearest(windows, WINDOWS)}")
    if not records:
        raise CatalogError("youtube8m: no records; give files of each split, such as {'train': 'train'}")
    if limit is not None and limit < 1:
        raise CatalogError(f"limit {limit}: give at least 1, or None for all")
    clips: list[tuple[Clip, str | None]] = []  # with the pseudo id of those that can be used
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
    files = sorted(file for file in path.glob("*.tfrecord") if not file.name.startswith("."))
    if not files:
        raise CatalogError(f"{path}: no *.tfrecord in it; give the folder of the downloaded records")
    return files


def _clips(
    file: Path, dataset: str, split: str, windows: str, seed: int, first_seen: dict[str, str]
) -> Iterator[tuple[Clip, str | None]]:
    """The windows of a file. `first_seen` maps the ids so far to where they were, and grows."""
    for found in read_videos(file):
        where = f"{file}: byte {found.offset}"
        # Of a record without a usable clip of its own, as `line_id` of lists: `~` keeps it apart.
        name = clip_id(f"{dataset}.~{split}", f"{file.name} {found.offset}")
        if found.video is None:
            yield Clip(name, split, error_class="BadRow", error_message=f"{where}: {found.problem}"), None
            continue
        video = found.video
        length = SHORTEST_VIDEO_S if video.frames is None else video.frames
        for start, end in video.segments if windows == "segments" else [seeded_window(seed, video.id, length)]:
            clip = Clip(clip_id(dataset, video.id, start, end), split, start_s=float(start), end_s=float(end))
            key = clip.clip_id if windows == "segments" else video.id  # by any other length its window were another
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
    """Set the source of every clip, or its error."""
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
    """The video of a record.

    Raises:
        ValueError: saying what is not as published.
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
