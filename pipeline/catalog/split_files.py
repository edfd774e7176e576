"""What UCF-101 and HMDB-51 have in common: a folder of small text files that say on which side of a split a video is.

The files were made by hand and are read to the letter: a line that cannot be right stops everything, since a split
read almost right gives numbers that compare with nobody's. A video that is missing is a row with its error.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from pipeline.catalog.files import by_stem, video_files
from pipeline.catalog.published import count_notes
from pipeline.catalog.rows import CatalogError, Clip, catalog_table, check_name, clip_id, shown

SPLIT_NUMBERS = (1, 2, 3)


class Listed(NamedTuple):
    """A video as a line of a split file has it."""

    where: str  # FILE:LINE, for messages
    split: str  # train or test
    label: str
    name: str  # of the file, without folders and extension
    source_id: str  # what is unique in the data set: the first part of its clip_id after the data set


def check_split_number(number: int) -> None:
    """Refuse a split that was never published.

    Raises:
        CatalogError: naming those that were.
    """
    if number not in SPLIT_NUMBERS:
        raise CatalogError(f"split_number {number}: there are three splits; choose 1, 2 or 3")


def read_lines(path: Path, form: str) -> Iterator[tuple[str, str]]:
    """Every line with something on it, stripped, after its place as `FILE:LINE`.

    Args:
        path: The file; Unix or Windows ends of lines.
        form: What such a file holds, for the error where it cannot be read.

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
    """A file's name as listed, without its extension, whatever it is: extracted copies are often re-encoded."""
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
        classes: Every label, in the order of its number.
        videos: Folder that holds `CLASS/NAME.avi` at any depth, or `NAME.avi` outside every class folder.
        notes: What else is to be said of the catalog.

    Raises:
        CatalogError: a video is listed twice, or `videos` is no folder.
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
    elsewhere = by_stem(file for file in files if Path(file.path).parent.name not in classes)
    clips = []
    for entry in listed:
        clip = Clip(clip_id(dataset, entry.source_id), entry.split, entry.label)
        video = in_class_folder.get(f"{entry.label}/{entry.name}") or elsewhere.get(entry.name)
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
