"""Reader of Kinetics-400, -600, -700 and -700-2020, and of any other data set whose lists have the same format.

The annotations are the published CSVs (Kay et al., "The Kinetics Human Action Video Dataset", 2017)::

    label,youtube_id,time_start,time_end,split,is_cc      Kinetics-400: train, validate
    label,youtube_id,time_start,time_end,split            Kinetics-600, -700 and -700-2020
    youtube_id,time_start,time_end,split                  test lists, most of which have no labels

Columns are found by their names, in any order. Other columns are ignored, and an empty label means no label.

The videos lie at any depth below one folder, with one of two kinds of names::

    videos/
    ├── 0wR5jVB-WPk_000417_000427.mp4                     trimmed: the usual name, times in whole seconds
    ├── val/abseiling/3caPS4FHFF8_000036_000046.mkv       trimmed, in class folders
    └── untrimmed/3caPS4FHFF8.webm                        the whole video as downloaded

A trimmed file has been cut at its times already, so `start_s` and `end_s` of its row are null (decode all of it), and
only `clip_id` has the times. The row of a whole video has the annotated times, so that ingest trims the video. If both
files exist, the trimmed one is used.

A video that is not in a local folder only gets a source here; ingest looks for it when it fetches it::

    archives of the split      archives:WHERE#0wR5jVB-WPk_000417_000427      the .tar.gz files of the public mirror
    an address for `videos`    s3://bucket/k400/0wR5jVB-WPk_000417_000427.mp4
    neither                    https://www.youtube.com/watch?v=0wR5jVB-WPk, with the annotated times
"""

import csv
import math
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from pipeline.catalog.files import VideoFile, by_stem, video_files
from pipeline.catalog.published import count_notes
from pipeline.catalog.rows import (
    ARCHIVES,
    YOUTUBE,
    CatalogError,
    Clip,
    catalog_table,
    check_name,
    clip_id,
    line_id,
    shown,
)

REQUIRED_COLUMNS = ("youtube_id", "time_start", "time_end")
OPTIONAL_COLUMNS = ("label", "split", "is_cc")

_YOUTUBE_ID = re.compile(r"[A-Za-z0-9_-]{11}", re.ASCII)

# float() alone would also accept "1_0", "nan", "inf" and digits of other scripts.
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?")


class _List(NamedTuple):
    """The values that all lines of a list share."""

    dataset: str
    split: str
    path: Path
    videos: str | None  # a folder, or the address of one
    archives: str | None


class _Line(NamedTuple):
    """One line of a list: its number in the file, and its cells or the problem with it."""

    number: int
    youtube_id: str
    start: str
    end: str
    label: str | None
    problem: str | None


def kinetics(
    annotations: Mapping[str, str | os.PathLike[str]],
    videos: str | os.PathLike[str] | None = None,
    dataset: str = "kinetics400",
    archives: Mapping[str, str] | None = None,
) -> pa.Table:
    """Read Kinetics CSVs and find their videos.

    Args:
        annotations: CSV of each split: `{"train": "train.csv", "val": "validate.csv"}`. These names are used as splits
            even if the file has a `split` column.
        videos: Folder of the videos, shown in the module's docstring, or the address of one.
        dataset: Name of the data set, the first part of every `clip_id`.
        archives: For each split, the archives that ingest searches for videos that no folder has: an archive, a folder,
            a prefix of an object store, or a list of archives.

    Returns:
        One row for every line of the lists, in their order. A faulty line gives a row with its error:
        `BadRow` (wrong number of columns, no id, not UTF-8), `BadTimes` (not a number, negative, end not after
        start), `DuplicateClip` (listed before, in this split or in another one; the first is kept, because a clip
        in two splits is a leak), `FileNotFound`. `catalog_notes` mentions a list that is shorter or longer than the
        published one (`pipeline.catalog.published`).

    Raises:
        CatalogError: a file or folder is missing, or a file is not a Kinetics CSV or lists nothing.
    """
    check_name("dataset", dataset)
    if not annotations:
        raise CatalogError("kinetics: no annotations; give a CSV for each split, such as {'train': 'train.csv'}")
    lists, counts = [], {}
    for split, path in annotations.items():  # open every list before the search for videos, which may take minutes
        check_name("split", split)
        rows, columns = _open(Path(path))
        counts[split] = sum(1 for row in rows if row.strip())
        if not counts[split]:
            raise CatalogError(f"{path}: no clip below the header; give the whole list of split {split!r}")
        folder, where = None if videos is None else os.fspath(videos), (archives or {}).get(split)
        lists.append((_List(dataset, split, Path(path), folder, where), rows, columns))
    found = by_stem(video_files(videos)) if videos is not None and "://" not in os.fspath(videos) else {}
    first_seen: dict[str, tuple[_List, int]] = {}
    clips = (_clip(of, line, found, first_seen) for of, rows, columns in lists for line in _lines(rows, columns))
    return catalog_table(dataset, clips, notes=count_notes(dataset, counts))


def _clip(of: _List, line: _Line, found: Mapping[str, VideoFile], first_seen: dict[str, tuple[_List, int]]) -> Clip:
    """Turn a line into a row, and add its id to `first_seen`, which maps each id to the list and line that has it."""
    where = f"{of.path}:{line.number}"

    def bad(error_class: str, message: str, name: str = line_id(of.dataset, of.split, line.number)) -> Clip:
        return Clip(name, of.split, line.label, error_class=error_class, error_message=f"{where}: {message}")

    if line.problem is not None:
        return bad("BadRow", line.problem)
    start_s, end_s, problem = _times(line.start, line.end)
    if problem is not None:
        return bad("BadTimes", f"{problem} for {shown(line.youtube_id)}; correct the times or remove the line")
    name = clip_id(of.dataset, line.youtube_id, start_s, end_s)
    if name in first_seen:
        before, number = first_seen[name]
        return bad("DuplicateClip", f"{name} is already listed at {before.path}:{number}; remove one of the two lines")
    first_seen[name] = of, line.number

    # Ids come from outside, so they are looked up among the names of the files found, and never joined to a path.
    trimmed = f"{line.youtube_id}_{int(start_s):06d}_{int(end_s):06d}"
    whole_seconds = start_s == int(start_s) and end_s == int(end_s)
    unusable = None
    for known_as, cut in ((trimmed if whole_seconds else "", (None, None)), (line.youtube_id, (start_s, end_s))):
        video = found.get(known_as)
        if video is not None and video.problem is None:
            return Clip(name, of.split, line.label, video.path, *cut)
        unusable = unusable or video
    if unusable is not None:
        return bad("FileNotFound", f"{shown(unusable.path, most=400)}: {unusable.problem}", name)
    if of.archives is not None or of.videos is None or "://" in of.videos:
        if not _YOUTUBE_ID.fullmatch(line.youtube_id):
            return bad("BadRow", f"{shown(line.youtube_id)} is no YouTube id; correct or remove the line", name)
        if not whole_seconds and (of.archives is not None or of.videos is not None):
            says = f"{start_s:g} to {end_s:g} s: trimmed files are named by whole seconds; correct or remove the line"
            return bad("BadTimes", says, name)
        if of.archives is not None:
            return Clip(name, of.split, line.label, f"{ARCHIVES}{of.archives}#{trimmed}")
        if of.videos is not None:
            return Clip(name, of.split, line.label, f"{of.videos.rstrip('/')}/{trimmed}.mp4")
        return Clip(name, of.split, line.label, YOUTUBE + line.youtube_id, start_s, end_s)
    either = f"{shown(trimmed)} or {shown(line.youtube_id)}"
    return bad("FileNotFound", f"no video named {either} below {of.videos}; fetch it or remove the line", name)


def _times(start: str, end: str) -> tuple[float, float, str | None]:
    """Convert two cells to seconds; also return the problem with them, or None."""
    values = []
    for column, cell in (("time_start", start), ("time_end", end)):
        value = float(cell) if _NUMBER.fullmatch(cell) else math.nan
        if not math.isfinite(value):
            return math.nan, math.nan, f"{column} {shown(cell)} is not a number of seconds"
        if value < 0:
            return math.nan, math.nan, f"{column} {cell} is negative"
        values.append(value)
    if values[1] <= values[0]:
        return math.nan, math.nan, f"time_end {end} is not after time_start {start}"
    return values[0], values[1], None


def _open(path: Path) -> tuple[list[str], list[str]]:
    """Return the lines of a list below its header, and the names of its columns."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CatalogError(f"{path}: cannot be read ({error.strerror}); give the CSV of this split") from error
    # A line that is not UTF-8 stays in place, marked by U+FFFD, which no real list contains. str.splitlines() would
    # also break lines at characters that may occur in a label.
    text = data.decode("utf-8-sig", errors="replace").replace("\r\n", "\n").replace("\r", "\n")
    header, *rows = text.rstrip("\n").split("\n")
    columns = [cell.strip() for cell in _cells(header)]
    missing = [name for name in REQUIRED_COLUMNS if name not in columns]
    if missing:
        raise CatalogError(
            f"{path}:1: not a Kinetics CSV: no column {', '.join(missing)}; found {shown(', '.join(columns))}, "
            f"expected {', '.join(REQUIRED_COLUMNS)} and perhaps {', '.join(OPTIONAL_COLUMNS)}"
        )
    return rows, columns


def _lines(rows: list[str], columns: list[str]) -> Iterator[_Line]:
    """Parse a list line by line, without quoted newlines, so that a stray quote costs one clip and not all below it."""
    id_at, start_at, end_at = (columns.index(name) for name in REQUIRED_COLUMNS)
    label_at = columns.index("label") if "label" in columns else None
    for number, line in enumerate(rows, start=2):
        if not line.strip():
            continue
        cells = _cells(line)
        problem = None
        if len(cells) != len(columns):
            problem = f"{len(cells)} columns where the header has {len(columns)}; correct or remove the line"
        elif "\ufffd" in line:
            problem = "the line is not UTF-8; save the file as UTF-8"
        elif not cells[id_at].strip():
            problem = "no youtube_id; correct or remove the line"
        if problem is not None:
            yield _Line(number, "", "", "", None, problem)
            continue
        label = cells[label_at].strip() if label_at is not None else ""
        yield _Line(number, cells[id_at].strip(), cells[start_at].strip(), cells[end_at].strip(), label or None, None)


def _cells(text: str) -> list[str]:
    try:
        return next(csv.reader([text], strict=True))
    except csv.Error:
        return [text]  # an unclosed quote; as one cell, the line is reported for its number of columns
