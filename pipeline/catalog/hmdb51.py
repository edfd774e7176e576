"""Reader of HMDB-51: 6,766 videos of 51 actions, with three published splits into `train` and `test`.

Kuehne et al., "HMDB: A Large Video Database for Human Motion Recognition", ICCV 2011;
https://serre-lab.clps.brown.edu/resource/hmdb-a-large-human-motion-database/. The splits come as
`test_train_splits.rar`, with one file per class and split, and one line per video::

    testTrainMulti_7030_splits/
    ├── brush_hair_test_split1.txt      April_09_brush_hair_u_nm_np1_ba_goo_0.avi 1
    ├── ...                             1: train (70 per class), 2: test (30 per class), 0: in neither
    └── wave_test_split3.txt

A label is the class as it is spelled in the names of the split files (`brush_hair`). Labels are numbered from 0 in
alphabetical order. Two classes may have the same file name, so a video is identified by class and name together.
"""

import os
from pathlib import Path

import pyarrow as pa

from pipeline.catalog.files import is_litter
from pipeline.catalog.rows import CatalogError, shown
from pipeline.catalog.split_files import Listed, SplitNumber, read_lines, split_numbers, split_table, stem_of

_SIDES = {"0": None, "1": "train", "2": "test"}


def hmdb51(
    videos: str | os.PathLike[str],
    splits: str | os.PathLike[str],
    split_number: SplitNumber = 1,
    dataset: str = "hmdb51",
) -> pa.Table:
    """Read one of the three splits, or all of them, and find their videos.

    Args:
        videos: Folder of the extracted archives, with `CLASS/NAME.avi`; other video extensions are also found.
        splits: The folder `testTrainMulti_7030_splits`, shown in the module's docstring.
        split_number: 1, 2, 3 or all.
        dataset: Name of the data set, the first part of every `clip_id`.

    Returns:
        One row per video of the split, `train` before `test`, in the order of classes and lines. A missing video has
        the error `FileNotFound`. Of all three splits, `split` names the side in each of those that have the video, such
        as `train1_test3`.

    Raises:
        CatalogError: a folder or the files of the split are missing, or a line is wrong or names a video that was
            listed before; for a line, the message names file and line.
    """
    lists, classes = {}, set[str]()
    for number in split_numbers(split_number):
        labels = _read_classes(splits, number)
        listed = [entry for label in labels for entry in _read_list(Path(splits) / f"{label}{_ending(number)}", label)]
        lists[number] = sorted(listed, key=lambda entry: entry.split, reverse=True)  # train first; the sort is stable
        classes |= set(labels)
    return split_table(dataset, lists, sorted(classes), videos)


def _ending(number: int) -> str:
    return f"_test_split{number}.txt"


def _read_classes(splits: str | os.PathLike[str], number: int) -> list[str]:
    ending = _ending(number)
    try:
        files = [name for name in os.listdir(splits) if name.endswith(ending) and not is_litter(name)]  # noqa: PTH208
    except OSError as error:
        raise CatalogError(f"{splits}: cannot be listed ({error.strerror}); give the folder of CLASS{ending}") from None
    classes = sorted(name.removesuffix(ending) for name in files)
    if not classes:
        raise CatalogError(f"{splits}: no file CLASS{ending} in it; give the folder of the extracted split files")
    return classes


def _read_list(path: Path, label: str) -> list[Listed]:
    form = "'NAME.avi 0', 1 or 2"
    listed = []
    for where, line in read_lines(path, f"a split file of HMDB-51, lines such as {form}"):
        name, _, side = line.rpartition(" ")
        name = name.strip()
        if side not in _SIDES or not name or "/" in name:
            raise CatalogError(f"{where}: {shown(line, most=120)}; expected {form}")
        split = _SIDES[side]
        if split is not None:
            listed.append(Listed(where, split, label, stem_of(name), f"{label}/{stem_of(name)}"))
    return listed
