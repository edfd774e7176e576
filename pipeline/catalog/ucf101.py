"""Reader of UCF-101: 13,320 videos of 101 actions, with three published splits into `train` and `test`.

Soomro et al., "UCF101: A Dataset of 101 Human Actions Classes From Videos in The Wild", CRCV-TR-12-01, 2012;
https://www.crcv.ucf.edu/data/UCF101.php. The splits come as `UCF101TrainTestSplits-RecognitionTask.zip`::

    ucfTrainTestlist/
    ├── classInd.txt         1 ApplyEyeMakeup                                  numbers from 1, in order
    ├── trainlist01.txt      ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1     and 02, 03
    └── testlist01.txt       ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi       and 02, 03

A label is the class's name as `classInd.txt` spells it. `label_id` is its number there minus 1, which is the number
that published networks use.

The videos of a class form 25 groups (`g01` to `g25`). The videos of a group are cut from the same longer video, so they
show the same place and people. In the published splits every group is on one side. A list that divides a group has a
leak and is refused.
"""

import os
import re
from pathlib import Path

import pyarrow as pa

from pipeline.catalog.rows import CatalogError, nearest, shown
from pipeline.catalog.split_files import Listed, SplitNumber, read_lines, split_numbers, split_table, stem_of

_CLASS = re.compile(r"([1-9][0-9]*)\s+([A-Za-z0-9_-]+)", re.ASCII)
_VIDEO = re.compile(r"([^/\s]+)/(v_[^/\s]+_(g[0-9]+)_c[0-9]+\.[A-Za-z0-9]+)(?:\s+([0-9]+))?", re.ASCII)


def ucf101(
    videos: str | os.PathLike[str],
    splits: str | os.PathLike[str],
    split_number: SplitNumber = 1,
    dataset: str = "ucf101",
) -> pa.Table:
    """Read one of the three splits, or all of them, and find their videos.

    Args:
        videos: Folder of the extracted archive, with `CLASS/v_CLASS_gXX_cYY.avi`, or with all videos in one folder;
            other video extensions are also found.
        splits: The folder `ucfTrainTestlist`, shown in the module's docstring.
        split_number: 1, 2, 3 or all.
        dataset: Name of the data set, the first part of every `clip_id`.

    Returns:
        One row per video, `train` before `test`, in the order of the lists. A missing video has the error
        `FileNotFound`. Of all three splits, `split` names the side in each, such as `train1_train2_test3`.

    Raises:
        CatalogError: a file or folder is missing; a line is wrong, names a class that `classInd.txt` does not have,
            or a video that was listed before; a group is on both sides. For a line, the message names file and line.
    """
    numbers, folder = split_numbers(split_number), Path(splits)
    classes = _read_classes(folder / "classInd.txt")
    lists, notes = {}, []
    for number in numbers:
        train = _read_list(folder / f"trainlist{number:02d}.txt", "train", classes)
        test = _read_list(folder / f"testlist{number:02d}.txt", "test", classes)
        lists[number] = [*train, *test]
        groups = _check_groups(lists[number])
        notes.append(f"{dataset} split {number}: each of its {groups:,} groups is on one side, as published")
    return split_table(dataset, lists, classes, videos, notes)


def _read_classes(path: Path) -> list[str]:
    form = "classInd.txt of UCF-101, lines such as '1 ApplyEyeMakeup'"
    classes: list[str] = []
    for where, line in read_lines(path, form):
        match = _CLASS.fullmatch(line)
        if match is None or int(match[1]) != len(classes) + 1 or match[2] in classes:
            raise CatalogError(f"{where}: {shown(line)}; expected '{len(classes) + 1} NAME', NAME not listed before")
        classes.append(match[2])
    return classes


def _read_list(path: Path, split: str, classes: list[str]) -> list[Listed]:
    numbered = split == "train"
    form = "CLASS/v_CLASS_gXX_cYY.avi" + (" NUMBER" if numbered else "")
    listed = []
    for where, line in read_lines(path, f"{path.name} of UCF-101, lines such as '{form}'"):
        match = _VIDEO.fullmatch(line)
        if match is None or (numbered and match[4] is None):
            raise CatalogError(f"{where}: {shown(line, most=120)}; expected '{form}'")
        label, file_name, _, number = match.groups()
        if label not in classes:
            raise CatalogError(f"{where}: class {shown(label)} is not in classInd.txt; {nearest(label, classes)}")
        if number is not None and int(number) != classes.index(label) + 1:
            raise CatalogError(f"{where}: number {number} for {label}; classInd.txt says {classes.index(label) + 1}")
        listed.append(Listed(where, split, label, stem_of(file_name), stem_of(file_name)))
    return listed


def _check_groups(listed: list[Listed]) -> int:
    """Check that each group is on one side, and return the number of groups of all classes."""
    first: dict[tuple[str, str], Listed] = {}
    for entry in listed:
        group = entry.name.split("_")[-2]
        before = first.setdefault((entry.label, group), entry)
        if before.split != entry.split:
            raise CatalogError(
                f"{entry.where}: group {group} of {entry.label} is in {entry.split} here and in {before.split} at "
                f"{before.where}; its videos show the same scene, so keep all of it on one side"
            )
    return len(first)
