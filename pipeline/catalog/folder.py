"""Reader of a user's own data set, with one folder for each class.

The names of the folders are the labels, which are numbered from 0 in sorted order. Files may lie at any depth below
their class, with any video extension. The data set may have splits, whose folders must have these names::

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

from pipeline.catalog.files import VideoFile, left_out, video_files
from pipeline.catalog.rows import CatalogError, Clip, catalog_table, check_name, clip_id, shown

SPLITS = ("train", "val", "test")


def folder(root: str | os.PathLike[str], split: str = "train", dataset: str = "folder") -> pa.Table:
    """Read a class-per-folder data set; the module's docstring shows its layout.

    Args:
        root: The folder of classes, or of `train`, `val` and `test` folders of classes.
        split: The split of all clips if `root` has none of those three folders.
        dataset: Name of the data set, the first part of every `clip_id`.

    Returns:
        One row per file, in the order of splits (train, val, test), then of paths. A file that cannot be used has the
        error `BadRow`: a video in no class folder, a path that is not UTF-8, a link that leaves `root`.

    Raises:
        CatalogError: `root` is missing or holds no video, or has split folders beside other folders.
    """
    check_name("dataset", dataset)
    check_name("split", split)
    top = Path(os.path.abspath(root))  # noqa: PTH100 -- absolute, but links in the user's path are kept
    if not top.is_dir():
        raise CatalogError(f"{top}: no such folder; give the folder that holds a folder for each class")
    folders = sorted(p.name for p in top.iterdir() if p.is_dir() and not p.name.startswith("."))
    splits = [name for name in SPLITS if name in folders]
    if splits and len(splits) < len(folders):
        others = [name for name in folders if name not in splits]
        raise CatalogError(
            f"{top}: has the split {splits[0]!r} beside {others[0]!r}; keep only {', '.join(SPLITS)} there, or classes"
        )
    unlisted: Counter[str] = Counter()
    clips = [_clip(dataset, split, splits, top, found) for found in video_files(top, unlisted)]
    if not clips:
        raise CatalogError(f"{top}: no video in it; expected CLASS/VIDEO.mp4 or train/CLASS/VIDEO.mp4")
    order = {name: place for place, name in enumerate(SPLITS)}
    return catalog_table(dataset, sorted(clips, key=lambda clip: order.get(clip.split, -1)), notes=left_out(unlisted))


def _clip(dataset: str, split: str, splits: list[str], top: Path, found: VideoFile) -> Clip:
    inside = Path(found.path).relative_to(top)
    parts = inside.parts
    if splits and parts[0] in splits:
        split, parts = parts[0], parts[1:]
    problem = found.problem
    if problem is None and (len(parts) < 2 or (splits and len(parts) == len(inside.parts))):
        problem = "lies in no class folder; move it into the folder of its class"
    name = clip_id(dataset, inside.as_posix())
    if problem is not None:
        message = f"{shown(found.path, most=400)}: {problem}"
        return Clip(name, split, error_class="BadRow", error_message=message)
    return Clip(name, split, parts[0], found.path)
