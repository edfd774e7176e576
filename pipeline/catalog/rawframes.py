"""Reader of mmaction2's rawframes: a folder of JPEGs for each video, and a list of folders for each split.

    rawframes/abseiling/0wR5jVB-WPk/img_00001.jpg img_00002.jpg ...
    kinetics_train_list.txt          abseiling/0wR5jVB-WPk 250 0        folder, number of frames, class

A line may have another column before the class, the first frame's number, as lists of parts of a video have. A file
of class names, one a line, names the numbers. The source of a clip is `frames:FPS:FIRST:COUNT:FOLDER`.
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from pipeline.catalog.rows import CatalogError, Clip, catalog_table, check_name, clip_id, line_id, shown

FRAMES = "frames:"
"""How the source of a clip begins whose frames are JPEGs in a folder."""

_NUMBER = re.compile(r"[0-9]{1,9}", re.ASCII)


def rawframes(
    root: str | os.PathLike[str],
    annotations: Mapping[str, str | os.PathLike[str]],
    fps: int = 25,
    dataset: str = "rawframes",
) -> pa.Table:
    """Read the lists of rawframes.

    Args:
        root: the folder that the paths in the lists start from.
        annotations: the list of each split; `classes`, if given, is the file of class names.
        fps: frames per second at which the JPEGs were extracted.
        dataset: name of the data set, the first part of every `clip_id`.

    Returns:
        One row for each line. A faulty line is a row with its error: `BadRow`, `DuplicateClip`, or `FileNotFound` if
        there is no such folder.

    Raises:
        CatalogError: a list or the folder is missing, or a list has no line.
    """
    check_name("dataset", dataset)
    top = os.path.realpath(root)
    if not Path(top).is_dir():
        raise CatalogError(f"{root}: no such folder of rawframes")
    names = [line for _, line in _lines(Path(annotations["classes"]))] if "classes" in annotations else []
    clips: list[Clip] = []
    seen: set[str] = set()
    for split, path in annotations.items():
        if split != "classes":
            check_name("split", split)
            clips += [_clip(dataset, split, Path(path), number, line, top, fps, names, seen)
                      for number, line in _lines(Path(path))]  # fmt: skip
    if not clips:
        raise CatalogError("catalog.annotations: no list; give one of each split, as --catalog.annotations.train FILE")
    numbers = {clip.label for clip in clips if clip.label is not None}
    classes = names or sorted(numbers, key=int)
    return catalog_table(dataset, clips, list(dict.fromkeys(classes)))


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the number and the text of each line that is not empty.

    Raises:
        CatalogError: the file cannot be read.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig", errors="replace")
    except OSError as error:
        raise CatalogError(f"{path}: cannot be read ({error.strerror}); give the list of this split") from error
    yield from ((number, line.strip()) for number, line in enumerate(text.split("\n"), start=1) if line.strip())


def _clip(
    dataset: str,
    split: str,
    path: Path,
    number: int,
    line: str,
    top: str,
    fps: int,
    names: Sequence[str],
    seen: set[str],
) -> Clip:
    def bad(kind: str, problem: str, name: str = line_id(dataset, split, number), label: str | None = None) -> Clip:
        return Clip(name, split, label, error_class=kind, error_message=f"{path}:{number}: {problem}")

    words = line.rsplit(maxsplit=3 if len(line.split()) > 3 and _NUMBER.fullmatch(line.split()[-3]) else 2)
    folder, *figures = words
    if len(figures) < 2 or not all(_NUMBER.fullmatch(figure) for figure in figures) or "\ufffd" in line:
        return bad("BadRow", f"{shown(line)} is not FOLDER FRAMES CLASS; correct or remove the line")
    first, count, place = (int(figure) for figure in (figures if len(figures) == 3 else ["1", *figures]))
    if names and place >= len(names):
        return bad("BadRow", f"class {place} of {len(names)}; correct the line or the file of classes")
    if not count:
        return bad("BadRow", f"{shown(folder)} has no frame; remove the line")
    label = names[place] if names else str(place)
    name = clip_id(dataset, folder if first == 1 else f"{folder}@{first}")
    if name in seen:
        return bad("DuplicateClip", f"{shown(folder)} is already listed; remove one of the two lines", label=label)
    seen.add(name)
    where = os.path.realpath(os.path.join(top, folder))  # noqa: PTH118 - a name with .. is refused below
    if not (where + os.sep).startswith(os.path.join(top, "")) or not Path(where).is_dir():  # noqa: PTH118
        return bad("FileNotFound", f"no folder {shown(folder, most=200)} in {top}", name, label)
    return Clip(name, split, label, f"{FRAMES}{fps}:{first}:{count}:{where}")
