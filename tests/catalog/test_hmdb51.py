"""HMDB-51: split files as published, and every way in which they can be wrong."""

import pytest

from pipeline.catalog import CATALOG_SCHEMA, CatalogError, catalog_classes, catalog_notes, read_catalog

WAVE = "50_FIRST_DATES_wave_f_cm_np1_fr_med_36.avi 1 \n#122_wave(2)_u_nm_np1_fr_goo_0.avi 2 \nunused.avi 0 \n"
BRUSH = "April_09_brush_hair_u_nm_np1_ba_goo_0.avi 2 \nshared.avi 1 \n"


@pytest.fixture
def videos(tmp_path):
    folder = tmp_path / "videos"
    folder.mkdir()
    return folder


def read(tmp_path, number=1, **files):
    folder = tmp_path / "testTrainMulti_7030_splits"
    folder.mkdir(exist_ok=True)
    (folder / "split_readme.txt").write_text("not a split")
    for name, text in {"wave": WAVE, "brush_hair": BRUSH, **files}.items():
        (folder / f"{name}_test_split1.txt").write_text(text)
    return read_catalog("hmdb51", videos=tmp_path / "videos", splits=folder, split_number=number)


def test_train_comes_before_test_and_labels_are_alphabetical(tmp_path, videos):
    table = read(tmp_path)
    assert table.schema == CATALOG_SCHEMA
    assert [(row["split"], row["label"], row["label_id"]) for row in table.to_pylist()] == [
        ("train", "brush_hair", 0),
        ("train", "wave", 1),
        ("test", "brush_hair", 0),
        ("test", "wave", 1),
    ]
    assert catalog_notes(table) == [
        "hmdb51 split 1 train: expected 3,570 published, list has 2",
        "hmdb51 split 1 test: expected 1,530 published, list has 2",
    ]


def test_equal_names_in_two_classes_are_two_videos(tmp_path, videos):
    paths = [videos / label / "shared.avi" for label in ("brush_hair", "wave")]
    for path in paths:
        path.parent.mkdir()
        path.touch()
    rows = read(tmp_path, wave=WAVE + "shared.avi 1\n").to_pylist()
    assert [row["source"] for row in rows if row["error_class"] is None] == [str(path) for path in paths]
    assert len({row["clip_id"] for row in rows}) == 5


def test_names_with_odd_characters_are_found_and_their_ids_are_safe(tmp_path, videos):
    (videos / "wave").mkdir()
    there = videos / "wave" / "#122_wave(2)_u_nm_np1_fr_goo_0.avi"
    there.touch()
    row = read(tmp_path).to_pylist()[3]
    assert row["source"] == str(there)
    assert row["clip_id"].startswith("hmdb51.wave-122_wave-2-_u_nm_np1_fr_goo_0~")


def test_files_of_macos_beside_lists_and_videos_are_no_lists_and_no_videos(tmp_path, videos):
    expected = read(tmp_path)
    folder = tmp_path / "testTrainMulti_7030_splits"
    for name in ("._wave_test_split1.txt", "._brush_hair_test_split1.txt", ".DS_Store"):
        (folder / name).write_bytes(b"\x00\x05\x16\x07\x00\x02\xff")
    (videos / "wave").mkdir()
    (videos / "wave" / "._50_FIRST_DATES_wave_f_cm_np1_fr_med_36.avi").touch()
    assert read(tmp_path).equals(expected)


def test_a_disk_with_decomposed_names_has_the_videos_of_a_list_with_composed_ones(tmp_path, videos):
    there = videos / "danse\u0301" / "cafe\u0301.avi"
    there.parent.mkdir()
    there.touch()
    rows = read(tmp_path, dansé="caf\u00e9.avi 1\n").to_pylist()
    assert [(row["label"], row["source"]) for row in rows if row["error_class"] is None] == [("dans\u00e9", str(there))]


def test_a_missing_video_is_a_row_with_its_error(tmp_path, videos):
    row = read(tmp_path).to_pylist()[0]
    assert row["error_class"] == "FileNotFound"
    assert row["error_message"] == (
        f"{tmp_path}/testTrainMulti_7030_splits/brush_hair_test_split1.txt:2: no video 'brush_hair/shared' below "
        f"{videos}; extract it there"
    )


def test_all_51_classes_of_the_published_size_need_no_note(tmp_path, videos):
    lines = [f"{i}.avi {1 if i < 70 else 2 if i < 100 else 0} \n" for i in range(110)]
    files = {f"class_{number:02d}": "".join(lines) for number in range(49)}
    table = read(tmp_path, wave="".join(lines), brush_hair="".join(lines), **files)
    assert table["split"].to_pylist() == ["train"] * 3570 + ["test"] * 1530
    assert catalog_notes(table) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.avi 3\n", "wave_test_split1.txt:1: 'a.avi 3'; expected 'NAME.avi 0', 1 or 2"),
        ("a.avi\n", "wave_test_split1.txt:1: 'a.avi'; expected 'NAME.avi 0', 1 or 2"),
        ("b.avi 1\n../../a.avi 1\n", "wave_test_split1.txt:2: '../../a.avi 1'; expected 'NAME.avi 0', 1 or 2"),
        ("a.avi 1\na.avi 2\n", "wave_test_split1.txt:2: 'a' is already listed at "),
        ("", "wave_test_split1.txt: empty; expected a split file of HMDB-51"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_with_its_place(tmp_path, videos, text, message):
    with pytest.raises(CatalogError) as caught:
        read(tmp_path, wave=text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_without_the_split_is_refused(tmp_path, videos):
    with pytest.raises(CatalogError, match=r"splits: no file CLASS_test_split2\.txt in it; give the folder"):
        read(tmp_path, number=2)
    with pytest.raises(CatalogError, match=r"split_number 0: there are three splits"):
        read(tmp_path, number=0)
    with pytest.raises(CatalogError, match=r"/nowhere: cannot be listed \(No such file or directory\)"):
        read_catalog("hmdb51", videos=videos, splits="/nowhere")


def test_a_video_that_a_split_leaves_out_is_on_the_sides_of_the_others(tmp_path, videos):
    folder = tmp_path / "all"
    folder.mkdir()
    for number, sides in ((1, "120"), (2, "210"), (3, "102")):
        lines = [f"{name}.avi {side}\n" for name, side in zip("abc", sides, strict=True)]
        (folder / f"wave_test_split{number}.txt").write_text("".join(lines))
    table = read_catalog("hmdb51", videos=videos, splits=folder, split_number="all")
    assert table["split"].to_pylist() == ["train1_test2_train3", "test1_train2", "test3"]
    assert catalog_classes(table) == ["wave"]
