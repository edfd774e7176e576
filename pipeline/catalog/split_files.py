"""Code shared by UCF-101 and HMDB-51, whose splits are folders of small text files that list the videos of each side.

The files are read strictly: a faulty line raises an error, since results on a split that was read with mistakes cannot
be compared with published ones. A missing video only gives a row with an error.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from pipeline.catalog.files import by_stem, same_name, video_files
from pipeline.catalog.published import count_notes
from pipeline.catalog.rows import CatalogError, Clip, catalog_table, check_name, clip_id, shown

SPLIT_NUMBERS = (1, 2, 3)


class Listed(NamedTuple):
    """A video that a line of a split file lists."""

    where: str  # FILE:LINE, for messages
    split: str  # train or test
    label: str
    name: str  # file name without folders and extension
    source_id: str  # unique in the data set; the part of the clip_id after the data set


def check_split_number(number: int) -> None:
    """Check that a split was published.

    Raises:
        CatalogError: the number is not 1, 2 or 3.
    """
    if number not in SPLIT_NUMBERS:
        raise CatalogError(f"split_number {number}: there are three splits; choose 1, 2 or 3")


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
    split_number: int,
    listed: Sequence[Listed],
    classes: Sequence[str],
    videos: str | os.PathLike[str],
    notes: Sequence[str] = (),
) -> pa.Table:
    """Find the videos of a split and make its catalog.

    Args:
        dataset: Name of the data set, the first part of every `clip_id`.
        split_number: 1, 2 or 3.
        listed: The videos of the split.
        classes: All labels in the order of their numbers.
        videos: Folder that holds `CLASS/NAME.avi` at any depth, or `NAME.avi` outside the class folders.
        notes: Further notes for the catalog.

    Raises:
        CatalogError: a video is listed twice, or `videos` is not a folder.
    """
    check_name("dataset", dataset)
    first: dict[str, Listed] = {}
    for entry in listed:
        before = first.setdefault(entry.source_id, entry)
        if before is not entry:
            raise CatalogError(
                f"{entry.where}: {shown(entry.name)} is already listed at {before.where}, on the {before.split} side; "
                f"a video is listed once, so remove one of the two lines"
            )
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
    counts = {side: sum(entry.split == side for entry in listed) for side in ("train", "test")}
    counted = count_notes(f"{dataset} split {split_number}", counts)
    return catalog_table(dataset, clips, classes, [*counted, *notes])
