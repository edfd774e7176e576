"""Reader of a user's own data set, with one folder for each class.

The names of the folders are the labels, which are numbered from 0 in sorted order. Files may lie at any depth below
their class, with any video extension. The data set may have splits, whose folders have these names, or those of
`SPELLED` if all folders are splits::

    root/
    ├── train/
    │   ├── pouring/    0001.mp4  0002.mkv
    │   └── stirring/   a/0001.avi
    ├── val/
    │   └── pouring/    0007.mp4
    └── test/           ...

or no splits. Then all clips get the split `split`, and `pipeline.catalog.drawn_split` draws the others from it::

    root/
    ├── pouring/        0001.mp4  0002.mkv
    └── stirring/       0001.avi
"""

import os
from collections import Counter
from pathlib import Path

import pyarrow as pa

from pipeline.catalog.files import VideoFile, is_litter, left_out, video_files
from pipeline.catalog.rows import CatalogError, Clip, catalog_table, check_name, clip_id, shown

SPLITS = ("train", "val", "test")
SPELLED = {
    **{name: name for name in SPLITS},
    "training": "train",
    "valid": "val",
    "validate": "val",
    "validation": "val",
    "testing": "test",
}
"""Split of each name, in lower case, that a folder of a split may have."""
SHOWN = 5  # largest number of empty class folders that a note names


def folder(root: str | os.PathLike[str], split: str = "train", dataset: str = "folder") -> pa.Table:
    """Read a class-per-folder data set; the module's docstring shows its layout.

    Args:
        root: The folder of classes, or of `train`, `val` and `test` folders of classes.
        split: The split of all clips if `root` has none of those three folders.
        dataset: Name of the data set, the first part of every `clip_id`.

    Returns:
        One row per file, in the order of splits (train, val, test), then of paths. A file that cannot be used has the
        error `BadRow`: a video in no class folder, a path that is not UTF-8, a link that leaves `root`.
        `catalog_notes` names the class folders that hold no video.

    Raises:
        CatalogError: `root` is missing or holds no video that can be used, or has split folders beside other folders.
    """
    check_name("dataset", dataset)
    check_name("split", split)
    top = Path(os.path.abspath(root))  # noqa: PTH100 -- absolute, but links in the user's path are kept
    if not top.is_dir():
        raise CatalogError(f"{top}: no such folder; give the folder that holds a folder for each class")
    splits, others = _splits(top), Counter[str]()
    clips = [_clip(dataset, split, splits, top, found) for found in video_files(top, others)]
    if not clips:
        raise CatalogError(f"{top}: no video in it; expected CLASS/VIDEO.mp4 or train/CLASS/VIDEO.mp4")
    if all(clip.error_class for clip in clips):
        raise CatalogError(f"{top}: none of its {len(clips)} videos can be used; {clips[0].error_message}")
    order = {name: place for place, name in enumerate(SPLITS)}
    ordered = sorted(clips, key=lambda clip: order.get(clip.split, -1))
    return catalog_table(dataset, ordered, notes=[*_empty(top, splits, clips), *left_out(others)])


def _splits(top: Path) -> dict[str, str]:
    """Return the split of each folder of a split, by the folder's name; empty if the folders are classes.

    Raises:
        CatalogError: there are folders of splits and others.
    """
    folders = _folders(top)
    spelled = {name: SPELLED[name.lower()] for name in folders if name.lower() in SPELLED}
    if len(spelled) == len(folders) and ("train" in spelled.values() or set(folders) & set(SPLITS)):
        return spelled
    if exact := [name for name in SPLITS if name in folders]:
        other = next(name for name in folders if name not in SPLITS)
        raise CatalogError(
            f"{top}: has the split {exact[0]!r} beside {other!r}; keep only {', '.join(SPLITS)} there, or classes"
        )
    return {}


def _folders(top: Path) -> list[str]:
    try:
        return sorted(p.name for p in top.iterdir() if p.is_dir() and not is_litter(p.name))
    except OSError as error:
        raise CatalogError(f"{top}: cannot be listed ({error.strerror}); check its permissions") from error


def _empty(top: Path, splits: dict[str, str], clips: list[Clip]) -> list[str]:
    """Return a note on the class folders without a video, if there are any."""
    places = {Path(clip.source).relative_to(top).parts[: 2 if splits else 1] for clip in clips if clip.source}
    classes = [(split, name) for split in splits for name in _folders(top / split)] if splits else [
        (name,) for name in _folders(top)
    ]  # fmt: skip
    empty = ["/".join(place) for place in classes if place not in places]
    if not empty:
        return []
    named = ", ".join(map(shown, empty[:SHOWN])) + (f" and {len(empty) - SHOWN} more" if len(empty) > SHOWN else "")
    return [f"no usable video in {len(empty)} of {len(classes)} class folders: {named}"]


def _clip(dataset: str, split: str, splits: dict[str, str], top: Path, found: VideoFile) -> Clip:
    inside = Path(found.path).relative_to(top)
    parts = inside.parts
    if splits and parts[0] in splits:
        split, parts = splits[parts[0]], parts[1:]
    problem = found.problem
    if problem is None and (len(parts) < 2 or (splits and len(parts) == len(inside.parts))):
        problem = "lies in no class folder; move it into the folder of its class"
    name = clip_id(dataset, inside.as_posix())
    if problem is not None:
        message = f"{shown(found.path, most=400)}: {problem}"
        return Clip(name, split, error_class="BadRow", error_message=message)
    return Clip(name, split, parts[0], found.path)
