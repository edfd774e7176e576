"""HMDB-51: 6,766 videos of 51 actions, in three published splits into `train` and `test`.

Kuehne et al., "HMDB: A Large Video Database for Human Motion Recognition", ICCV 2011;
https://serre-lab.clps.brown.edu/resource/hmdb-a-large-human-motion-database/. The splits come as
`test_train_splits.rar`, one file a class and split, one line a video::

    testTrainMulti_7030_splits/
    ├── brush_hair_test_split1.txt      April_09_brush_hair_u_nm_np1_ba_goo_0.avi 1
    ├── ...                             1: train (70 a class), 2: test (30 a class), 0: in neither
    └── wave_test_split3.txt

A label is the class as the file names spell it (`brush_hair`), and labels are numbered from 0 in alphabetical order.
The same file name may stand in two classes, so a video is known by class and name together.
"""

import os
from pathlib import Path

import pyarrow as pa

from pipeline.catalog.rows import CatalogError, shown
from pipeline.catalog.split_files import Listed, check_split_number, read_lines, split_table, stem_of

_SIDES = {"0": None, "1": "train", "2": "test"}


def hmdb51(
    videos: str | os.PathLike[str],
    splits: str | os.PathLike[str],
    split_number: int = 1,
    dataset: str = "hmdb51",
) -> pa.Table:
    """Read one of the three splits and find its videos.

    Args:
        videos: Folder of the extracted archives: `CLASS/NAME.avi`; any video extension will do.
        splits: The folder `testTrainMulti_7030_splits`, drawn in the module's docstring.
        split_number: 1, 2 or 3.
        dataset: Name of the data set, the first part of every `clip_id`.

    Returns:
        One row a video, `train` before `test`, in the order of classes and lines; videos in neither have none. A
        video that is not there has the error `FileNotFound`.

    Raises:
        CatalogError: a folder or the files of the split are missing, or a line is wrong or names a video that was
            listed before. Always with file and line.
    """
    check_split_number(split_number)
    ending = f"_test_split{split_number}.txt"
    try:
        classes = sorted(name.removesuffix(ending) for name in os.listdir(splits) if name.endswith(ending))  # noqa: PTH208
    except OSError as error:
        raise CatalogError(f"{splits}: cannot be listed ({error.strerror}); give the folder of CLASS{ending}") from None
    if not classes:
        raise CatalogError(f"{splits}: no file CLASS{ending} in it; give the folder of the extracted split files")
    listed = [entry for label in classes for entry in _read_list(Path(splits) / f"{label}{ending}", label)]
    listed.sort(key=lambda entry: entry.split, reverse=True)  # train before test; the sort keeps the order within
    return split_table(dataset, split_number, listed, classes, videos)


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
