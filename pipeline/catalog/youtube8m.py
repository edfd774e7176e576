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

import base64
import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa

from pipeline.catalog.files import VideoFile, by_stem, is_litter, video_files
from pipeline.catalog.rows import (
    YOUTUBE,
    CatalogError,
    Clip,
    catalog_table,
    check_name,
    clip_id,
    nearest,
    shown,
    with_sources,
)
from pipeline.catalog.tf_example import parse
from pipeline.catalog.tfrecord import count_records, read_records
from pipeline.catalog.youtube8m_ids import Answer, known_ids, resolve_ids
from pipeline.catalog.youtube8m_lookup import PSEUDO_ID, Lookup

WINDOW_S = 10
SHORTEST_VIDEO_S = 120  # shortest video of the data set; used as the length if a record states none
WINDOWS = ("seeded", "segments")
_OFFSET_BITS = 40  # of the place of a record: a number of a file, then bytes within it
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
    plan: bool = False,
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
        plan: Whether the catalog is for a plan alone. Then no id is looked up, and a video whose id `cache` does not
            have counts as one on YouTube, with its pseudo id in the address; a note says how many there are.

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
    for split in records:
        check_name("split", split)
    firsts = _Firsts()
    clips = (
        clip
        for split, path in records.items()
        for clip in _limited(_files(Path(path)), path, dataset, split, windows, seed, limit, firsts)
    )
    table = catalog_table(dataset, clips)
    answers, notes = _answers(table["source"].unique().drop_null().to_pylist(), videos, cache, lookup, plan, dataset)
    rule = {
        "seeded": f"one window of {WINDOW_S} s a video, by seeded_window with seed {seed}",
        "segments": "the windows of the segment table",
    }
    return with_sources(table, answers, [f"{dataset}: {rule[windows]}", *notes])


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    files = sorted(file for file in path.glob("*.tfrecord") if not is_litter(file.name))
    if not files:
        raise CatalogError(f"{path}: no *.tfrecord in it; give the folder of the downloaded records")
    return files


class _Firsts:
    """Where each video or window was first met: a number for each of the 2^24 pseudo ids, so that memory is flat."""

    def __init__(self) -> None:
        self.files: list[Path] = []
        self._videos = np.zeros(1 << 24, np.uint64)  # the place of the record and 1; 0 where there is none
        self._windows: dict[str, int] = {}  # rated windows are few

    def before(self, video: str, window: str | None, offset: int) -> str | None:
        """Return the place of an earlier record of a video, or of one of its windows; if there is none, note this one.

        Args:
            video: pseudo id of the video.
            window: id of the clip, if the windows of a video count one by one.
            offset: place of the record in the last of `files`, in bytes.
        """
        place = (len(self.files) - 1 << _OFFSET_BITS | offset) + 1
        if window is not None:
            first = self._windows.setdefault(window, place)
        else:
            number = int.from_bytes(base64.urlsafe_b64decode(video))
            first = int(self._videos[number])
            self._videos[number] = first = first or place
        return None if first == place else self._text(first - 1)

    def _text(self, place: int) -> str:
        return f"{self.files[place >> _OFFSET_BITS]}: byte {place & (1 << _OFFSET_BITS) - 1}"


def _limited(
    files: list[Path],
    path: str | os.PathLike[str],
    dataset: str,
    split: str,
    windows: str,
    seed: int,
    limit: int | None,
    firsts: _Firsts,
) -> Iterator[Clip]:
    """Yield the clips of a split that the limit leaves, taken evenly; the clips are counted before the first is made.

    Raises:
        CatalogError: there is no record or no segment.
    """
    count = 0 if limit is None else sum(_count(file, windows) for file in files)
    met = taken = 0
    for file in files:
        firsts.files.append(file)
        for clip in _clips(file, dataset, split, windows, seed, firsts):
            if limit is None or count <= limit or met == taken * count // limit:
                yield clip
                taken += 1
            met += 1
    if not met:
        what = "rated segment" if windows == "segments" else "record"
        raise CatalogError(f"{path}: no {what} in the files of split {split!r}; give the records as downloaded")


def _count(file: Path, windows: str) -> int:
    """Return the number of clips that `_clips` yields for a file: one for each record, or for each rated segment."""
    if windows != "segments":
        return count_records(file)
    return sum(1 if found.video is None else len(found.video.segments) for found in read_videos(file))


def _clips(file: Path, dataset: str, split: str, windows: str, seed: int, firsts: _Firsts) -> Iterator[Clip]:
    """Yield the windows of a file, each with the pseudo id of its video as its source if it can be used."""
    for found in read_videos(file):
        where = f"{file}: byte {found.offset}"
        # The name of a record without a usable clip; `~` makes it differ from a `clip_id`, as in `line_id`.
        name = f"{file.name} {found.offset}"
        if found.video is None:
            message = f"{where}: {found.problem}"
            yield Clip(clip_id(f"{dataset}.~{split}", name), split, error_class="BadRow", error_message=message)
            continue
        video = found.video
        length = SHORTEST_VIDEO_S if video.frames is None else video.frames
        for start, end in video.segments if windows == "segments" else [seeded_window(seed, video.id, length)]:
            clip = Clip(clip_id(dataset, video.id, start, end), split, None, video.id, float(start), float(end))
            window = clip.clip_id if windows == "segments" else None  # another length would give another window
            before = firsts.before(video.id, window, found.offset)
            if before is None:
                yield clip
                continue
            message = f"{where}: {window or video.id} is already at {before}; remove one of the two"
            again = f"{clip_id(f'{dataset}.~{split}', name)}.{start}-{end}"
            yield Clip(again, split, error_class="DuplicateClip", error_message=message)


def _answers(
    names: list[str],
    videos: str | os.PathLike[str] | None,
    cache: str | os.PathLike[str],
    lookup: Lookup | None,
    plan: bool,
    dataset: str,
) -> tuple[dict[str, tuple[str | None, str | None, str | None]], list[str]]:
    """Return source, error class and error message of each pseudo id, and notes for the catalog."""
    local: dict[str, VideoFile] = by_stem(video_files(videos)) if videos is not None else {}
    usable = {name: file.path for name, file in local.items() if file.problem is None}
    asked = [name for name in names if name not in usable]
    found = known_ids(asked, cache) if plan else resolve_ids(asked, cache, lookup)
    notes = []
    if unknown := len(asked) - len(found):
        rate = (lookup or Lookup()).per_second
        notes = [
            f"{dataset}: {unknown:,} of {len(names):,} videos count as being on YouTube, since their ids are not known "
            f"yet and a plan asks for none; the job asks, {rate:g} a second: {unknown / rate / 3600:,.1f} hours"
        ]
    answers: dict[str, tuple[str | None, str | None, str | None]] = {}
    for name in names:
        known = found.get(name, Answer(name))  # in a plan, an id that is not known stands for YouTube's own
        if name in usable or known.youtube_id is not None:
            address = usable.get(name) or usable.get(known.youtube_id or "") or YOUTUBE + str(known.youtube_id)
            answers[name] = address, None, None
        else:
            answers[name] = None, known.error_class, known.message
    return answers, notes


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
