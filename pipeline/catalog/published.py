"""Numbers of clips in the published lists, to compare a user's list with.

The lists of different mirrors and years differ in length, so a difference gives a note and never an error.
"""

# Name of the data set (with the split number, if there are several splits) -> split -> number of clips.
#
# kinetics400       lists on the CVDF mirror, https://github.com/cvdfoundation/kinetics-dataset
# kinetics600, 700  Carreira et al., "A Short Note on the Kinetics-700 Human Action Dataset", arXiv:1907.06987, Table 1:
#                   training clips in total, 50 per class for validation and (700) 100 per class for test
# kinetics700_2020  https://docs.voxel51.com/dataset_zoo, "original split stats"
# activitynet       http://activity-net.org/download.html: segments of 10,024 and 4,926 videos; 5,044 videos for test
# ucf101            counted in the lists: Soomro et al., CRCV-TR-12-01, "Three Train/Test Splits"
# hmdb51            Kuehne et al., "HMDB: A Large Video Database for Human Motion Recognition", ICCV 2011, section 2:
#                   70 and 30 clips of each class in each of three splits
PUBLISHED: dict[str, dict[str, int]] = {
    "kinetics400": {"train": 246_534, "val": 19_906, "test": 39_805},
    "kinetics600": {"train": 392_622, "val": 30_000},
    "kinetics700": {"train": 545_317, "val": 35_000, "test": 70_000},
    "kinetics700_2020": {"train": 542_352, "val": 34_125, "test": 67_433},
    "activitynet": {"train": 15_410, "val": 7_654, "test": 5_044},
    "ucf101 split 1": {"train": 9_537, "test": 3_783},
    "ucf101 split 2": {"train": 9_586, "test": 3_734},
    "ucf101 split 3": {"train": 9_624, "test": 3_696},
    **{f"hmdb51 split {number}": {"train": 51 * 70, "test": 51 * 30} for number in (1, 2, 3)},
}


def count_notes(name: str, listed: dict[str, int]) -> list[str]:
    """Return a sentence for each split whose list is not as long as the published one.

    Args:
        name: A name in `PUBLISHED`; any other name gives no sentences.
        listed: Number of lines in the list of each split, faulty lines included.
    """
    known = PUBLISHED.get(name, {})
    return [
        f"{name} {split}: expected {known[split]:,} published, list has {count:,}"
        for split, count in listed.items()
        if split in known and known[split] != count
    ]
