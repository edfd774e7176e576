"""Reader of ActivityNet 1.3: untrimmed videos of 200 actions, with the segments in which each action happens.

Caba Heilbron et al., "ActivityNet: A Large-Scale Video Benchmark for Human Activity Understanding", CVPR 2015;
http://activity-net.org. One file, `activity_net.v1-3.min.json`, holds the videos of all three subsets::

    {"version": "VERSION 1.3",
     "taxonomy": [{"nodeName": "Archery", "nodeId": 2, "parentName": "...", "parentId": 7}, ...],
     "database": {"sJFgo9H6zNo": {"subset": "training", "duration": 139.23, "url": "https://www.youtube.com/...",
                                  "annotations": [{"segment": [0.5, 103.2], "label": "Archery"}, ...]}, ...}}

A clip is one segment: the parts of a video outside its segments are no clips. The videos of the subset `testing` have
no segments, since its labels are hidden: each is one clip, without a label. `video_of` returns the video of a clip, so
that scores can be averaged by video.

A video is a local file `v_sJFgo9H6zNo.mp4` or `sJFgo9H6zNo.mp4`, with any video extension and at any depth below one
folder, an object `v_sJFgo9H6zNo.mp4` below an address, or else a video of YouTube.
"""

import json
import math
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.catalog.files import VideoFile, by_stem, video_files
from pipeline.catalog.published import count_notes
from pipeline.catalog.rows import YOUTUBE, CatalogError, Clip, catalog_table, check_name, clip_id, line_id, shown

SPLITS = {"training": "train", "validation": "val", "testing": "test"}
"""The names of the subsets, and those of the splits that they become."""

_ID = re.compile(r"[A-Za-z0-9_-]{11}", re.ASCII)
_WHAT = "activity_net.v1-3.min.json of ActivityNet"


def activitynet(
    annotations: str | os.PathLike[str],
    videos: str | os.PathLike[str] | None = None,
    dataset: str = "activitynet",
) -> pa.Table:
    """Read the file of ActivityNet and find its videos.

    Args:
        annotations: The JSON file, shown in the module's docstring.
        videos: Folder of the videos, or the address of one; None to take them from YouTube.
        dataset: Name of the data set, the first part of every `clip_id`.

    Returns:
        One row for each segment, and one for each video without labels, in the order of the file. The classes are the
        leaves of the taxonomy, numbered alphabetically. A segment that ends after its video is cut at the video's end;
        a note counts these. A faulty entry gives a row with its error: `BadRow` (no id of a video, an unknown subset or
        class, something else than the format has), `BadTimes`, `DuplicateClip` (the same segment again; the first is
        kept), `FileNotFound`.

    Raises:
        CatalogError: the file or folder is missing, or the file is of another format or lists nothing.
    """
    check_name("dataset", dataset)
    path = Path(annotations)
    database, classes = _read(path)
    local = videos is not None and "://" not in os.fspath(videos)
    found = by_stem(video_files(videos)) if videos is not None and local else {}
    reader = _Reader(dataset, path, None if videos is None else os.fspath(videos), found, classes)
    clips = [
        clip for number, (key, entry) in enumerate(database.items(), 1) for clip in reader.clips(number, key, entry)
    ]
    notes = count_notes(dataset, dict(Counter(clip.split for clip in clips)))
    if reader.cut:
        notes.append(f"{dataset}: {reader.cut:,} segments end after their videos, and are cut there")
    return catalog_table(dataset, clips, classes or None, notes)


def video_of(name: str) -> str:
    """Return the id of the video that a clip of ActivityNet shows, from the clip's id."""
    return name.split(".", 2)[1]


class _Reader:
    """Turns the entries of one file into clips.

    Attributes:
        cut: number of segments so far that end after their videos.
    """

    def __init__(
        self, dataset: str, path: Path, videos: str | None, found: Mapping[str, VideoFile], classes: list[str]
    ) -> None:
        self.dataset, self.path, self.videos, self.found, self.classes = dataset, path, videos, found, set(classes)
        self.seen: set[str] = set()
        self.cut = 0

    def clips(self, number: int, key: str, entry: Any) -> Iterator[Clip]:
        """Yield the clips of one video, the `number`-th entry of the file."""
        subset = entry.get("subset") if isinstance(entry, dict) else None
        split, problem = SPLITS.get(str(subset), "train"), None
        if not _ID.fullmatch(key):
            problem = f"{shown(key)} is no id of a video"
        elif str(subset) not in SPLITS:
            problem = f"subset {shown(str(subset))} of {key} is none of {', '.join(SPLITS)}"
        segments = entry.get("annotations") if isinstance(entry, dict) else None
        if problem is None and (not isinstance(segments, list) or (not segments and split != "test")):
            problem = f"{key} has no list of segments"
        if problem is not None or not isinstance(segments, list):
            yield self._bad(line_id(self.dataset, split, number), split, None, "BadRow", problem or "")
            return
        if not segments:
            yield self._found(clip_id(self.dataset, key), split, None, key, None, None)
        for place, each in enumerate(segments):
            yield self._segment(f"{line_id(self.dataset, split, number)}-{place}", split, key, entry, each)

    def _segment(self, spare: str, split: str, key: str, entry: Mapping[str, Any], segment: Any) -> Clip:
        """Return the clip of one segment; `spare` is the id of a row without a usable clip."""
        label = segment.get("label") if isinstance(segment, dict) else None
        if not isinstance(label, str) or (self.classes and label not in self.classes):
            what = f"label {shown(str(label))} of {key} is no class of the taxonomy"
            return self._bad(spare, split, None, "BadRow", what)
        start, end = _times(segment.get("segment"))
        duration = entry.get("duration")
        if isinstance(duration, (int, float)) and start < duration < end:
            end, self.cut = float(duration), self.cut + 1
        if not 0 <= start < end < math.inf:
            what = f"segment {shown(str(segment.get('segment')))} of {key} is no pair of rising times in seconds"
            return self._bad(spare, split, label, "BadTimes", what)
        name = clip_id(self.dataset, key, start, end)
        if name in self.seen:
            return self._bad(spare, split, label, "DuplicateClip", f"{name} is listed before; remove one of them")
        self.seen.add(name)
        return self._found(name, split, label, key, start, end)

    def _found(
        self, name: str, split: str, label: str | None, key: str, start: float | None, end: float | None
    ) -> Clip:
        """Return a clip with the source of its video."""
        if self.videos is None:
            return Clip(name, split, label, YOUTUBE + key, start, end)
        if "://" in self.videos:
            return Clip(name, split, label, f"{self.videos.rstrip('/')}/v_{key}.mp4", start, end)
        there = [self.found[stem] for stem in (f"v_{key}", key) if stem in self.found]
        for video in there:
            if video.problem is None:
                return Clip(name, split, label, video.path, start, end)
        what = there[0].problem if there else f"no video named 'v_{key}' or '{key}' below {self.videos}; fetch it"
        return self._bad(name, split, label, "FileNotFound", str(what))

    def _bad(self, name: str, split: str, label: str | None, error_class: str, message: str) -> Clip:
        return Clip(name, split, label, error_class=error_class, error_message=f"{self.path}: {message}")


def _times(segment: Any) -> tuple[float, float]:
    """Return start and end of a segment in seconds; NaN if these are no two numbers."""
    numbers = isinstance(segment, list) and len(segment) == 2
    if not numbers or any(isinstance(each, bool) or not isinstance(each, (int, float)) for each in segment):
        return math.nan, math.nan
    return float(segment[0]), float(segment[1])


def _read(path: Path) -> tuple[dict[str, Any], list[str]]:
    """Return the entries of a file by video, and the classes: the sorted leaves of its taxonomy, if it has one."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise CatalogError(f"{path}: cannot be read ({error.strerror}); give {_WHAT}") from error
    except (ValueError, RecursionError) as error:
        raise CatalogError(f"{path}: not JSON ({str(error)[:80]}); give {_WHAT}") from error
    database = content.get("database") if isinstance(content, dict) else None
    if not isinstance(database, dict) or not database:
        raise CatalogError(f"{path}: has no 'database' of videos; give {_WHAT}")
    taxonomy = content.get("taxonomy") or []
    if not isinstance(taxonomy, list) or not all(isinstance(node, dict) for node in taxonomy):
        raise CatalogError(f"{path}: its 'taxonomy' is no list of nodes; give {_WHAT}")
    parents = {node.get("parentId") for node in taxonomy}
    return database, sorted({str(node.get("nodeName")) for node in taxonomy if node.get("nodeId") not in parents})
