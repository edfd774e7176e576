"""UCF-101: the published lists, and every way in which they can be wrong."""

import os
from pathlib import Path

import pytest

from pipeline.catalog import CATALOG_SCHEMA, CatalogError, catalog_notes, read_catalog

ANNOTATIONS = Path(os.environ.get("ANNOTATIONS_DIR") or Path(__file__).parents[3] / "shared" / "annotations")
needs_annotations = pytest.mark.skipif(
    not ANNOTATIONS.is_dir(), reason=f"no published annotations at {ANNOTATIONS}; set ANNOTATIONS_DIR"
)
CLASSES = "1 Hammering\n2 HammerThrow\n3 Archery\n"  # not in the order of sorted(), as in the published list
TRAIN = "Hammering/v_Hammering_g08_c01.avi 1\nArchery/v_Archery_g09_c02.avi 3\n"
TEST = "HammerThrow/v_HammerThrow_g01_c01.avi\nArchery/v_Archery_g01_c01.avi\n"


@pytest.fixture
def videos(tmp_path):
    folder = tmp_path / "videos"
    folder.mkdir()
    return folder


def read(tmp_path, classes=CLASSES, train=TRAIN, test=TEST, number=1, **options):
    folder = tmp_path / "ucfTrainTestlist"
    folder.mkdir(exist_ok=True)
    for name, text in (("classInd", classes), ("trainlist01", train), ("testlist01", test)):
        (folder / f"{name}.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
    options = {"videos": tmp_path / "videos", "splits": folder, "split_number": number, **options}
    return read_catalog("ucf101", **options)


@pytest.fixture
def published(tmp_path):
    """The published files under their published names."""
    folder = tmp_path / "published"
    folder.mkdir()
    for name in ("classInd.txt", "trainlist01.txt", "testlist01.txt"):
        (folder / name).symlink_to(ANNOTATIONS / f"ucf101_{name}")
    return folder


@needs_annotations
def test_the_published_split_is_read_whole(videos, published):
    (videos / "HandstandPushups").mkdir()
    there = videos / "HandstandPushups" / "v_HandStandPushups_g08_c03.avi"  # so spelt in folder and file
    there.touch()
    table = read_catalog("ucf101", videos=videos, splits=published)
    assert table.schema == CATALOG_SCHEMA
    assert table["split"].to_pylist() == ["train"] * 9537 + ["test"] * 3783
    assert len(set(table["clip_id"].to_pylist())) == 13320
    numbers = dict(zip(table["label"].to_pylist(), table["label_id"].to_pylist(), strict=True))
    published_numbers = [line.split() for line in (published / "classInd.txt").read_text().splitlines()]
    assert numbers == {name: int(number) - 1 for number, name in published_numbers}
    (good,) = [row for row in table.to_pylist() if row["error_class"] is None]
    assert good == {
        "clip_id": "ucf101.v_HandStandPushups_g08_c03",
        "dataset": "ucf101",
        "split": "train",
        "label": "HandstandPushups",
        "label_id": 36,
        "source": str(there),
        "start_s": None,
        "end_s": None,
        "error_class": None,
        "error_message": None,
    }
    assert table["error_class"].to_pylist().count("FileNotFound") == 13319
    assert catalog_notes(table) == ["ucf101 split 1: each of its 2,525 groups is on one side, as published"]


def test_labels_are_numbered_as_the_class_index_says(tmp_path, videos):
    rows = read(tmp_path).to_pylist()
    assert [(row["split"], row["label"], row["label_id"]) for row in rows] == [
        ("train", "Hammering", 0),
        ("train", "Archery", 2),
        ("test", "HammerThrow", 1),
        ("test", "Archery", 2),
    ]


@pytest.mark.parametrize("name", ["Archery/{}.avi", "UCF-101/Archery/{}.MP4", "{}.webm", "flat/{}.avi"])
def test_a_video_is_found_in_its_class_folder_or_flat(tmp_path, videos, name):
    path = videos / name.format("v_Archery_g01_c01")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    assert [row["source"] for row in read(tmp_path).to_pylist()] == [None, None, None, str(path)]


def test_a_missing_video_is_a_row_with_its_error(tmp_path, videos):
    (videos / "Hammering").mkdir()
    (videos / "Hammering" / "v_Archery_g01_c01.avi").touch()  # another class's folder: not this video
    row = read(tmp_path).to_pylist()[3]
    assert (row["error_class"], row["source"]) == ("FileNotFound", None)
    assert row["error_message"] == (
        f"{tmp_path}/ucfTrainTestlist/testlist01.txt:2: no video 'Archery/v_Archery_g01_c01' below {videos}; "
        "extract it there"
    )


def test_a_list_of_another_length_is_said(tmp_path, videos):
    assert catalog_notes(read(tmp_path)) == [
        "ucf101 split 1 train: expected 9,537 published, list has 2",
        "ucf101 split 1 test: expected 3,783 published, list has 2",
        "ucf101 split 1: each of its 4 groups is on one side, as published",
    ]


def test_windows_ends_of_lines_and_blank_lines_are_read(tmp_path, videos):
    table = read(tmp_path, classes="\ufeff" + CLASSES.replace("\n", "\r\n"), train=TRAIN.replace("\n", " \r\n\r\n"))
    assert table.num_rows == 4


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"classes": "1 A\n3 B\n"}, "classInd.txt:2: '3 B'; expected '2 NAME', NAME not listed before"),
        ({"classes": "1 A\n2 A\n"}, "classInd.txt:2: '2 A'; expected '2 NAME', NAME not listed before"),
        ({"classes": "1 ../A\n"}, "classInd.txt:1: '1 ../A'; expected '1 NAME', NAME not listed before"),
        ({"classes": ""}, "classInd.txt: empty; expected classInd.txt of UCF-101, lines such as '1 ApplyEyeMakeup'"),
        ({"classes": b"\xff\xfe1 A"}, "classInd.txt: not a text file; expected classInd.txt of UCF-101"),
        ({"train": TRAIN + "x\n"}, "trainlist01.txt:3: 'x'; expected 'CLASS/v_CLASS_gXX_cYY.avi NUMBER'"),
        ({"train": TEST}, "trainlist01.txt:1: 'HammerThrow/v_HammerThrow_g01_c01.avi'; expected"),
        ({"train": "../v_A_g01_c01.avi 1\n"}, "trainlist01.txt:1: class '..' is not in classInd.txt; choose one of"),
        ({"train": "a/b/v_A_g01_c01.avi 1\n"}, "trainlist01.txt:1: 'a/b/v_A_g01_c01.avi 1'; expected 'CLASS/v_CLASS"),
        (
            {"train": TRAIN.replace("Archery/", "Archry/")},
            "class 'Archry' is not in classInd.txt; did you mean 'Arch",
        ),
        ({"train": TRAIN.replace(" 3", " 4")}, "trainlist01.txt:2: number 4 for Archery; classInd.txt says 3"),
        ({"train": TRAIN + TRAIN}, "trainlist01.txt:3: 'v_Hammering_g08_c01' is already listed at {f}/trainlist01.txt"),
        (
            {"test": TEST + "Archery/v_Archery_g09_c07.avi\n"},
            "testlist01.txt:3: group g09 of Archery is in test here",
        ),
        ({"test": "\n"}, "testlist01.txt: empty; expected testlist01.txt of UCF-101"),
        ({"number": 2}, "trainlist02.txt: cannot be read (No such file or directory); expected trainlist02.txt of"),
        ({"number": 4}, "split_number 4: there are three splits; choose 1, 2, 3 or all"),
        ({"videos": "/nowhere/at/all"}, "/nowhere/at/all: no such folder of videos"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_with_its_place(tmp_path, videos, changed, message):
    with pytest.raises(CatalogError) as caught:
        read(tmp_path, **changed)
    assert message.format(f=tmp_path / "ucfTrainTestlist") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_all_three_splits_are_one_list_of_each_video_and_its_sides(tmp_path, videos):
    folder = tmp_path / "ucfTrainTestlist"
    folder.mkdir()
    (folder / "classInd.txt").write_text("1 Archery\n")
    for number in (1, 2, 3):
        for name, groups in (("train", {1, 2, 3, 4} - {number}), ("test", {number})):
            ends = " 1" if name == "train" else ""
            lines = [f"Archery/v_Archery_g{group:02d}_c01.avi{ends}\n" for group in sorted(groups)]
            (folder / f"{name}list{number:02d}.txt").write_text("".join(lines))
    (videos / "v_Archery_g02_c01.avi").touch()
    table = read_catalog("ucf101", videos=videos, splits=folder, split_number="all")
    sides = dict(zip(table["clip_id"].to_pylist(), table["split"].to_pylist(), strict=True))
    assert sides == {
        "ucf101.v_Archery_g01_c01": "test1_train2_train3",
        "ucf101.v_Archery_g02_c01": "train1_test2_train3",
        "ucf101.v_Archery_g03_c01": "train1_train2_test3",
        "ucf101.v_Archery_g04_c01": "train1_train2_train3",
    }
    assert [row["clip_id"][-7:] for row in table.to_pylist() if row["error_class"] is None] == ["g02_c01"]
    assert sum("each of its 4 groups is on one side" in note for note in catalog_notes(table)) == 3

    (folder / "testlist03.txt").write_text("Archery/v_Archery_g03_c01.avi\nArchery/v_Archery_g03_c01.avi\n")
    with pytest.raises(CatalogError, match=r"testlist03\.txt:2: .* is already listed at .*testlist03\.txt:1"):
        read_catalog("ucf101", videos=videos, splits=folder, split_number="all")
