"""Reader of files of groups: videos of one group show the same source, and a split keeps them on one side.

A file of groups is a CSV or TSV with a header and one line per video. Its columns are found by their names: `file` (a
path below the folder of videos, or a file name that occurs only once), `group` (or a name that ends in `group`, such as
`source_group`), and for cross-validation any column whose name begins with `fold`. Other columns are ignored::

    file               source_group   fold5
    fight/fi001.mp4    yt00           1
    fight/fi002.mp4    yt00           1
"""

import csv
import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.catalog.files import same_name
from pipeline.catalog.rows import CatalogError, shown
from pipeline.catalog.split_files import read_lines


@dataclass(frozen=True)
class Groups:
    """The groups of the videos in a folder.

    Attributes:
        of: group of each video, by its path below the folder.
        folds: for each fold column, the value of each video by its path.
        digest: digest of files and groups, which does not depend on the order of the lines.
    """

    of: Mapping[str, str]
    folds: Mapping[str, Mapping[str, str]]
    digest: str


def read_groups(path: str, videos: Sequence[str]) -> Groups:
    """Read a file of groups.

    Args:
        path: path of the file.
        videos: paths of the videos below their folder, with `/` as separator.

    Raises:
        CatalogError: the file is not a file of groups, names a video that does not exist, or leaves one out.
    """
    lines = list(read_lines(Path(path), "CSV or TSV with columns file and group"))
    where, header = lines[0]
    delimiter = max("\t,;", key=header.count)
    names = [cell.strip().lower() for cell in next(csv.reader([header], delimiter=delimiter))]
    file_at = _column(where, names, [n for n in ("file", "path", "video", "clip", "filename") if n in names], "file")
    grouped = ["group"] if "group" in names else [name for name in names if name.endswith("group")]
    group_at = _column(where, names, grouped, "group")
    places = _places(videos)
    of: dict[str, str] = {}
    folds: dict[str, dict[str, str]] = {name: {} for name in names if name.startswith("fold")}
    strange: list[str] = []
    for where, line in lines[1:]:
        cells = [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter))]
        if len(cells) != len(names) or not cells[file_at] or not cells[group_at]:
            raise CatalogError(f"{where}: {shown(line)}; expected a cell for each of {', '.join(names)}, none empty")
        video = places.get(same_name(cells[file_at].replace("\\", "/").removeprefix("./")))
        if video is None:
            strange.append(f"{where}: {shown(cells[file_at], most=200)} is not among the videos")
        elif of.setdefault(video, cells[group_at]) != cells[group_at]:
            raise CatalogError(f"{where}: {shown(video)} is in group {of[video]} and in group {cells[group_at]}")
        else:
            for name, values in folds.items():
                values[video] = cells[names.index(name)]
    if strange:
        more = f", nor are {len(strange) - 1} more" if len(strange) > 1 else ""
        raise CatalogError(f"{strange[0]}{more}; correct the names, or remove the lines")
    if missing := [video for video in videos if video not in of]:
        raise CatalogError(
            f"{path}: {len(missing)} of {len(videos)} videos have no line, such as {shown(missing[0], most=200)}; "
            "add a line with a group for each"
        )
    text = "\n".join(sorted(f"{video}\t{group}" for video, group in of.items()))
    return Groups(of, folds, hashlib.sha256(text.encode()).hexdigest()[:16])


def with_copies(of: Mapping[str, str], paths: Mapping[str, str]) -> dict[str, str]:
    """Merge the groups of videos that have the same content, since copies on two sides of a split would be a leak.

    Args:
        of: group of each video.
        paths: path of each video.
    """
    leads: dict[str, str] = {}

    def leader(group: str) -> str:
        while (above := leads.get(group, group)) != group:
            group = above
        return group

    for same in _copies(paths):
        first, *others = sorted({leader(of[video]) for video in same})
        leads |= dict.fromkeys(others, first)
    return {video: leader(group) for video, group in of.items()}


def _copies(paths: Mapping[str, str]) -> Iterable[list[str]]:
    """Yield lists of videos with the same bytes; only files whose size occurs more than once are read."""
    sizes: defaultdict[int, list[str]] = defaultdict(list)
    for video, path in paths.items():
        sizes[os.stat(path).st_size].append(video)  # noqa: PTH116 -- faster than Path, for a million files
    for size, videos in sizes.items():
        digests: defaultdict[str, list[str]] = defaultdict(list)
        for video in videos if size and len(videos) > 1 else ():
            with Path(paths[video]).open("rb") as file:
                digests[hashlib.file_digest(file, "sha256").hexdigest()].append(video)
        yield from (same for same in digests.values() if len(same) > 1)


def _places(videos: Sequence[str]) -> dict[str, str]:
    """Map every valid name of a video to its path below the folder: the path itself, or a file name that is unique."""
    names = Counter(video.rpartition("/")[2] for video in videos)
    alone = {video.rpartition("/")[2]: video for video in videos if names[video.rpartition("/")[2]] == 1}
    return {same_name(name): video for name, video in [*alone.items(), *((video, video) for video in videos)]}


def _column(where: str, names: list[str], found: list[str], wanted: str) -> int:
    if len(found) != 1:
        raise CatalogError(
            f"{where}: expected one column {wanted!r}, found {shown(', '.join(found)) if found else 'none'} among "
            f"{shown(', '.join(names), most=200)}"
        )
    return names.index(found[0])
