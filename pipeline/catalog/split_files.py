"""Code shared by UCF-101 and HMDB-51, whose splits are folders of small text files that list the videos of each side.

The files are read strictly: a faulty line raises an error, since results on a split that was read with mistakes cannot
be compared with published ones. A missing video only gives a row with an error.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import pyarrow as pa

from pipeline.catalog.files import by_stem, same_name, video_files
from pipeline.catalog.published import count_notes
from pipeline.catalog.rows import CatalogError, Clip, catalog_table, check_name, clip_id, shown

SPLIT_NUMBERS = (1, 2, 3)
SplitNumber = Literal[1, 2, 3, "all"]


class Listed(NamedTuple):
    """A video that a line of a split file lists."""

    where: str  # FILE:LINE, for messages
    split: str  # train or test; after `joined`, such as train1_train2_test3
    label: str
    name: str  # file name without folders and extension
    source_id: str  # unique in the data set; the part of the clip_id after the data set


def split_numbers(wanted: SplitNumber) -> tuple[int, ...]:
    """Return the numbers of the published splits that are wanted: one, or all three.

    Raises:
        CatalogError: `wanted` is not 1, 2, 3 or all.
    """
    if wanted == "all":
        return SPLIT_NUMBERS
    if wanted not in SPLIT_NUMBERS:
        raise CatalogError(f"split_number {wanted}: there are three splits; choose 1, 2, 3 or all")
    return (wanted,)


def read_lines(path: Path, form: str) -> Iterator[tuple[str, str]]:
    """Yield (`FILE:LINE`, stripped line) for every line that is not blank.

    Args:
        path: The file, with Unix or Windows line ends.
        form: Description of the expected contents, for error messages.

    Raises:
        CatalogError: the file is missing, empty or not UTF-8.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except OSError as error:
        raise CatalogError(f"{path}: cannot be read ({error.strerror}); expected {form}") from None
    except UnicodeDecodeError:
        raise CatalogError(f"{path}: not a text file; expected {form}") from None
    found = [(f"{path}:{number}", line.strip()) for number, line in enumerate(lines, start=1) if line.strip()]
    if not found:
        raise CatalogError(f"{path}: empty; expected {form}")
    yield from found


def stem_of(name: str) -> str:
    """Remove the extension from a listed file name, since extracted copies are often re-encoded under another one."""
    return os.path.splitext(name)[0]  # noqa: PTH122 -- the name stays a name and never becomes a path


def split_table(
    dataset: str,
    lists: Mapping[int, Sequence[Listed]],
    classes: Sequence[str],
    videos: str | os.PathLike[str],
    notes: Sequence[str] = (),
) -> pa.Table:
    """Find the videos of one split, or of all, and make their catalog.

    Args:
        dataset: Name of the data set, the first part of every `clip_id`.
        lists: The videos of each split by its number. If there are several, a video has one row, whose split names
            its side in each of them, such as `train1_train2_test3`.
        classes: All labels in the order of their numbers.
        videos: Folder that holds `CLASS/NAME.avi` at any depth, or `NAME.avi` outside the class folders.
        notes: Further notes for the catalog.

    Raises:
        CatalogError: a video is listed twice in a split, or is of two classes, or `videos` is not a folder.
    """
    check_name("dataset", dataset)
    for listed in lists.values():
        _check_listed_once(listed)
    listed = _joined(lists) if len(lists) > 1 else [entry for entries in lists.values() for entry in entries]
    files = list(video_files(videos))
    in_class_folder = by_stem(files, folders=1)
    known = {same_name(label) for label in classes}
    elsewhere = by_stem(file for file in files if same_name(Path(file.path).parent.name) not in known)
    clips = []
    for entry in listed:
        clip = Clip(clip_id(dataset, entry.source_id), entry.split, entry.label)
        name = same_name(f"{entry.label}/{entry.name}")
        video = in_class_folder.get(name) or elsewhere.get(same_name(entry.name))
        if video is not None and video.problem is None:
            clip.source = video.path
        else:
            clip.error_class = "FileNotFound"
            clip.error_message = f"{entry.where}: " + (
                f"{shown(video.path, most=400)}: {video.problem}"
                if video is not None
                else f"no video {shown(f'{entry.label}/{entry.name}', most=200)} below {Path(videos)}; extract it there"
            )
        clips.append(clip)
    counted = []
    for number, entries in lists.items():
        counts = {side: sum(entry.split == side for entry in entries) for side in ("train", "test")}
        counted += count_notes(f"{dataset} split {number}", counts)
    return catalog_table(dataset, clips, classes, [*counted, *notes])


def _check_listed_once(listed: Sequence[Listed]) -> None:
    first: dict[str, Listed] = {}
    for entry in listed:
        before = first.setdefault(entry.source_id, entry)
        if before is not entry:
            raise CatalogError(
                f"{entry.where}: {shown(entry.name)} is already listed at {before.where}, on the {before.split} side; "
                f"a video is listed once, so remove one of the two lines"
            )


def _joined(lists: Mapping[int, Sequence[Listed]]) -> list[Listed]:
    """Return each video of any split once, in the order in which they are listed first."""
    found: dict[str, list[Listed]] = {}
    for number, entries in lists.items():
        for entry in entries:
            found.setdefault(entry.source_id, []).append(entry._replace(split=f"{entry.split}{number}"))
    for first, *others in found.values():
        for other in others:
            if other.label != first.label:
                raise CatalogError(
                    f"{other.where}: {shown(other.name)} is of class {shown(other.label)}, and of {shown(first.label)} "
                    f"at {first.where}; use the lists as published"
                )
    return [entries[0]._replace(split="_".join(entry.split for entry in entries)) for entries in found.values()]
