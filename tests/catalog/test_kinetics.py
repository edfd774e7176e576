"""Kinetics lists: the published ones, and every way in which a line can be wrong."""

import os
from pathlib import Path

import pytest

from pipeline.catalog import CATALOG_SCHEMA, CatalogError, catalog_notes, read_catalog

HEADER = "label,youtube_id,time_start,time_end,split,is_cc\n"
ANNOTATIONS = Path(os.environ.get("ANNOTATIONS_DIR") or Path(__file__).parents[3] / "shared" / "annotations")
needs_annotations = pytest.mark.skipif(
    not ANNOTATIONS.is_dir(), reason=f"no published annotations at {ANNOTATIONS}; set ANNOTATIONS_DIR"
)


@pytest.fixture
def videos(tmp_path):
    folder = tmp_path / "videos"
    folder.mkdir()
    return folder


def touch(path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return str(path)


def rows_of(tmp_path, videos, text, header=HEADER):
    """The catalog rows of one list given as text or bytes."""
    path = tmp_path / "val.csv"
    path.write_bytes(header.encode() + (text if isinstance(text, bytes) else text.encode()))
    table = read_catalog("kinetics", annotations={"val": path}, videos=videos)
    assert table.schema == CATALOG_SCHEMA
    assert len(set(table["clip_id"].to_pylist())) == table.num_rows
    return table.to_pylist()


# The published lists.


@needs_annotations
def test_kinetics400_val_is_read_whole(videos):
    path = ANNOTATIONS / "kinetics400_val.csv"
    there = touch(videos / "abseiling" / "3caPS4FHFF8_000036_000046.mp4")
    table = read_catalog("kinetics", annotations={"val": path}, videos=videos)
    assert table.schema == CATALOG_SCHEMA
    assert table.num_rows == 19906
    assert len(set(table["clip_id"].to_pylist())) == 19906
    classes = sorted(set(table["label"].to_pylist()))
    assert len(classes) == 400
    assert {(r["label"], r["label_id"]) for r in table.select(["label", "label_id"]).to_pylist()} == {
        (label, number) for number, label in enumerate(classes)
    }
    assert table.slice(1, 1).to_pylist() == [
        {
            "clip_id": "kinetics400.3caPS4FHFF8.36-46",
            "dataset": "kinetics400",
            "split": "val",
            "label": "abseiling",
            "label_id": 0,
            "source": there,
            "start_s": None,  # the file is trimmed already
            "end_s": None,
            "error_class": None,
            "error_message": None,
        }
    ]
    assert table["error_class"].to_pylist().count("FileNotFound") == 19905  # reported, none lost, none raised


@needs_annotations
def test_kinetics400_test_list_has_no_labels(videos):
    path = ANNOTATIONS / "kinetics400_test_head.csv"
    there = touch(videos / "--6bJUbfpnQ_000017_000027.mkv")  # ids may begin with dashes
    table = read_catalog("kinetics", annotations={"test": path}, videos=videos)
    assert table.num_rows == table["label"].null_count == table["label_id"].null_count == 2000
    assert table["source"][0].as_py() == there


@needs_annotations
def test_kinetics600_list_has_no_is_cc(videos):
    path = ANNOTATIONS / "kinetics600_val_head.csv"
    table = read_catalog("kinetics", annotations={"val": path}, videos=videos, dataset="kinetics600")
    assert table.num_rows == 5000
    assert table["clip_id"][0].as_py() == "kinetics600.yq_M1PMw2hY.38-48"
    assert len(set(table["label"].to_pylist())) == 100


@needs_annotations
def test_labels_are_numbered_over_all_splits(videos):
    lists = {"val": ANNOTATIONS / "kinetics400_val.csv", "test": ANNOTATIONS / "kinetics400_test_head.csv"}
    table = read_catalog("kinetics", annotations=lists, videos=videos)
    assert table["split"].to_pylist() == ["val"] * 19906 + ["test"] * 2000
    assert table["label_id"].null_count == 2000


@needs_annotations
def test_a_list_of_another_length_than_the_published_one_is_said(videos):
    lists = {"val": ANNOTATIONS / "kinetics400_val.csv", "test": ANNOTATIONS / "kinetics400_test_head.csv"}
    table = read_catalog("kinetics", annotations=lists, videos=videos)
    assert catalog_notes(table) == ["kinetics400 test: expected 39,805 published, list has 2,000"]
    head = {"val": ANNOTATIONS / "kinetics600_val_head.csv"}
    table = read_catalog("kinetics", annotations=head, videos=videos, dataset="kinetics600")
    assert catalog_notes(table) == ["kinetics600 val: expected 30,000 published, list has 5,000"]
    assert catalog_notes(read_catalog("kinetics", annotations=head, videos=videos, dataset="mine")) == []


@pytest.mark.parametrize(
    "header",
    [
        "label,youtube_id,time_start,time_end,split,is_cc\n",  # 400: train, validate
        "label,youtube_id,time_start,time_end,split\n",  # 600, 700, 700-2020, and test lists published later
        "youtube_id,time_start,time_end,split\n",  # test lists
    ],
)
@pytest.mark.parametrize("dataset", ["kinetics400", "kinetics600", "kinetics700", "kinetics700_2020"])
def test_every_edition_is_read_under_every_header(tmp_path, videos, dataset, header):
    cells = {
        "label": "jump",
        "youtube_id": "-0bQ2k3cXyZ",
        "time_start": "1",
        "time_end": "11",
        "split": "x",
        "is_cc": "0",
    }
    line = ",".join(cells[name] for name in header.strip().split(","))
    (tmp_path / "list.csv").write_text(header + line + "\n")
    table = read_catalog("kinetics", annotations={"val": tmp_path / "list.csv"}, videos=videos, dataset=dataset)
    (row,) = table.to_pylist()
    assert row["clip_id"] == f"{dataset}.-0bQ2k3cXyZ.1-11"
    assert row["label"] == ("jump" if "label" in header else None)
    assert catalog_notes(table)[0].endswith("published, list has 1")


# Finding files.


@pytest.mark.parametrize("name", ["{}.mp4", "{}.MKV", "{}.webm", "sports/high jump/{}.avi", "a/b/c/d/{}.ts", "{}.gif"])
def test_a_trimmed_file_is_found_anywhere_and_taken_whole(tmp_path, videos, name):
    there = touch(videos / name.format("0wR5jVB-WPk_000417_000427"))
    (row,) = rows_of(tmp_path, videos, "high jump,0wR5jVB-WPk,417,427,val,0\n")
    assert (row["source"], row["start_s"], row["end_s"], row["error_class"]) == (there, None, None, None)


def test_a_whole_download_keeps_the_times_for_ingest_to_trim(tmp_path, videos):
    there = touch(videos / "0wR5jVB-WPk.webm")
    (row,) = rows_of(tmp_path, videos, "high jump,0wR5jVB-WPk,417,427,val,0\n")
    assert (row["source"], row["start_s"], row["end_s"]) == (there, 417.0, 427.0)


def test_the_trimmed_file_is_preferred_and_ties_go_to_the_first_path(tmp_path, videos):
    touch(videos / "a" / "x.mp4")
    touch(videos / "z" / "x_000001_000002.mp4")
    first = touch(videos / "b" / "x_000001_000002.mp4")
    (row,) = rows_of(tmp_path, videos, "jump,x,1,2,val,0\n")
    assert row["source"] == first


def test_one_video_gives_several_clips_and_fractions_are_kept(tmp_path, videos):
    touch(videos / "x.mp4")
    touch(videos / "x_000000_000002.mp4")  # of 0 to 2 s, so not of 0.5 to 2 s
    rows = rows_of(tmp_path, videos, "jump,x,0.5,2,val,0\njump,x,2,3.25,val,0\n")
    assert [(r["start_s"], r["end_s"]) for r in rows] == [(0.5, 2.0), (2.0, 3.25)]
    assert [r["clip_id"] for r in rows] == ["kinetics400.x.0.5-2", "kinetics400.x.2-3.25"]


def test_a_fraction_of_a_second_names_no_trimmed_file_of_an_address_or_an_archive(tmp_path):
    text = "jump,abcdefghijk,0.5,2,val,0\njump,abcdefghijk,2,4,val,0\n"
    fraction, whole = rows_of(tmp_path, "s3://bucket/clips", text)
    assert fraction["error_class"] == "BadTimes"
    assert "val.csv:2: 0.5 to 2 s: trimmed files are named by whole seconds" in fraction["error_message"]
    assert whole["source"] == "s3://bucket/clips/abcdefghijk_000002_000004.mp4"


def test_other_files_are_no_videos(tmp_path, videos):
    for name in ("x.txt", "x.mp4.part", ".x.mp4", "._x.mp4", ".hidden/x.mp4", "x"):
        touch(videos / name)
    (row,) = rows_of(tmp_path, videos, "jump,x,1,2,val,0\n")
    assert row["error_class"] == "FileNotFound"


def test_links_that_leave_the_folder_are_not_followed(tmp_path, videos):
    touch(tmp_path / "outside" / "x.mp4")
    inside = touch(videos / "real" / "y.mp4")
    (videos / "x.mp4").symlink_to(tmp_path / "outside" / "x.mp4")
    (videos / "folder").symlink_to(tmp_path / "outside")
    (videos / "loop").symlink_to(videos)
    (videos / "a.mp4").symlink_to(inside)
    (tmp_path / "link").symlink_to(videos)  # the folder itself may be a link: the user chose it
    rows = rows_of(tmp_path, tmp_path / "link", "jump,x,1,2,val,0\njump,y,1,2,val,0\njump,a,1,2,val,0\n")
    assert [r["error_class"] for r in rows] == ["FileNotFound", None, None]
    assert (
        "x.mp4': a link that leaves the folder is not followed; put the files themselves here"
        in rows[0]["error_message"]
    )
    assert rows[1]["source"] == str(tmp_path / "link" / "real" / "y.mp4")


@pytest.mark.parametrize(
    "hostile", ["../outside/x", "/etc/passwd", "..", ".", "-rf", "a/b", "x\x00y", "*", "~", "$HOME"]
)
def test_hostile_ids_never_form_paths(tmp_path, videos, hostile):
    touch(tmp_path / "outside" / "x.mp4")
    touch(tmp_path / "outside" / "x_000001_000002.mp4")
    touch(videos / "a" / "b.mp4")
    (row,) = rows_of(tmp_path, videos, f"jump,{hostile},1,2,val,0\n")
    assert (row["error_class"], row["source"]) == ("FileNotFound", None)
    assert "/" not in row["clip_id"]


# Lines that are wrong for one clip.


@pytest.mark.parametrize(
    ("line", "error_class", "message"),
    [
        ("jump,x,20,10,val,0", "BadTimes", "time_end 10 is not after time_start 20 for 'x'"),
        ("jump,x,10,10,val,0", "BadTimes", "time_end 10 is not after time_start 10 for 'x'"),
        ("jump,x,-1,10,val,0", "BadTimes", "time_start -1 is negative for 'x'"),
        ("jump,x,ten,20,val,0", "BadTimes", "time_start 'ten' is not a number of seconds for 'x'"),
        ("jump,x,1,nan,val,0", "BadTimes", "time_end 'nan' is not a number of seconds for 'x'"),
        ("jump,x,1,inf,val,0", "BadTimes", "time_end 'inf' is not a number of seconds for 'x'"),
        ("jump,x,1,1e999,val,0", "BadTimes", "time_end '1e999' is not a number of seconds for 'x'"),
        ("jump,x,1_0,20,val,0", "BadTimes", "time_start '1_0' is not a number of seconds for 'x'"),
        ("jump,x,,20,val,0", "BadTimes", "time_start '' is not a number of seconds for 'x'"),
        ("jump,x,1,2", "BadRow", "4 columns where the header has 6; correct or remove the line"),
        ("jump,x,1,2,val,0,more", "BadRow", "7 columns where the header has 6; correct or remove the line"),
        ('"jump,x,1,2,val,0', "BadRow", "1 columns where the header has 6; correct or remove the line"),
        ("jump,,1,2,val,0", "BadRow", "no youtube_id; correct or remove the line"),
        ("jump,good,1,2,val,0", "DuplicateClip", "kinetics400.good.1-2 is already listed at {path}:2; remove one"),
        ("jump,x,1,2,val,0", "FileNotFound", "no video named 'x_000001_000002' or 'x' below {videos}; fetch it"),
    ],
)
def test_a_wrong_line_is_a_row_with_its_error_and_costs_no_other(tmp_path, videos, line, error_class, message):
    there = touch(videos / "good.mp4")
    before, wrong, after = rows_of(tmp_path, videos, f"jump,good,1,2,val,0\n{line}\nrun,good,3,4,val,0\n")
    assert wrong["error_class"] == error_class
    path = tmp_path / "val.csv"
    assert wrong["error_message"].startswith(f"{path}:3: " + message.format(path=path, videos=videos))
    assert "\n" not in wrong["error_message"]
    assert wrong["source"] is None
    assert [(r["source"], r["label_id"], r["error_class"]) for r in (before, after)] == [
        (there, 0, None),
        (there, 1, None),
    ]


def test_a_line_that_is_not_utf8_costs_only_itself(tmp_path, videos):
    touch(videos / "x.mp4")
    rows = rows_of(tmp_path, videos, b"caf\xe9,x,1,2,val,0\njump,x,2,3,val,0\n")
    assert [r["error_class"] for r in rows] == ["BadRow", None]
    assert "not UTF-8" in rows[0]["error_message"]


def test_a_clip_in_two_splits_is_a_leak(tmp_path, videos):
    touch(videos / "x.mp4")
    for name in ("train", "val"):
        (tmp_path / f"{name}.csv").write_text(HEADER + f"jump,x,1,2,{name},0\n")
    lists = {name: tmp_path / f"{name}.csv" for name in ("train", "val")}
    first, second = read_catalog("kinetics", annotations=lists, videos=videos).to_pylist()
    assert (first["clip_id"], first["error_class"]) == ("kinetics400.x.1-2", None)
    assert (second["clip_id"], second["error_class"]) == ("kinetics400.~val-line-2", "DuplicateClip")
    assert f"{tmp_path}/train.csv:2" in second["error_message"]


def test_ids_do_not_depend_on_where_the_files_are(tmp_path, videos):
    text = "jump,x,1,2,val,0\nrun,y,5,6,val,0\nbad\n"
    before = [r["clip_id"] for r in rows_of(tmp_path, videos, text)]
    touch(videos / "deep" / "er" / "x.mp4")
    assert [r["clip_id"] for r in rows_of(tmp_path, videos, text)] == before


def test_missing_files_do_not_change_class_numbers(tmp_path, videos):
    touch(videos / "x.mp4")
    rows = rows_of(tmp_path, videos, "zumba,x,1,2,val,0\nabseiling,missing,1,2,val,0\nbowling,x,9,3,val,0\n")
    assert [(r["label"], r["label_id"]) for r in rows] == [("zumba", 2), ("abseiling", 0), ("bowling", 1)]


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_spreadsheet_habits_are_read(tmp_path, videos, newline):
    touch(videos / "x.mp4")
    header = newline.join(["\ufeffyoutube_id, time_start,time_end,label,more", ""])
    text = newline.join(['"x",1, 2 ,"shooting, then ""jumping""",0', "", ""])
    (row,) = rows_of(tmp_path, videos, text, header=header)
    assert (row["label"], row["start_s"], row["error_class"]) == ('shooting, then "jumping"', 1.0, None)


# Files that are no lists.


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,label\na,b\n", "no column youtube_id, time_start, time_end; found 'path, label', expected youtube_id,"),
        ("label,youtube_id,time_start\n", "no column time_end; found 'label, youtube_id, time_start'"),
        ("", "no column youtube_id, time_start, time_end; found ''"),
        ("\x00\x01\x02", "no column youtube_id"),
    ],
)
def test_another_file_is_refused_by_its_columns(tmp_path, videos, text, message):
    with pytest.raises(CatalogError, match=message) as caught:
        rows_of(tmp_path, videos, text, header="")
    assert str(caught.value).startswith(f"{tmp_path}/val.csv:1: not a Kinetics CSV: ")
    assert "\n" not in str(caught.value)


def test_missing_inputs_are_named(tmp_path, videos):
    with pytest.raises(CatalogError, match=r"none\.csv: cannot be read \(No such file or directory\)"):
        read_catalog("kinetics", annotations={"val": tmp_path / "none.csv"}, videos=videos)
    (tmp_path / "empty.csv").write_text(HEADER)
    with pytest.raises(CatalogError, match=r"empty\.csv: no clip below the header; give the whole list of split 'val'"):
        read_catalog("kinetics", annotations={"val": tmp_path / "empty.csv"}, videos=videos)
    with pytest.raises(CatalogError, match="no annotations; give a CSV for each split"):
        read_catalog("kinetics", annotations={}, videos=videos)
    with pytest.raises(CatalogError, match="nowhere: no such folder of videos"):
        rows_of(tmp_path, tmp_path / "nowhere", "jump,x,1,2,val,0\n")
    with pytest.raises(CatalogError, match="split 'a/b': use 1 to 64 letters"):
        read_catalog("kinetics", annotations={"a/b": tmp_path / "val.csv"}, videos=videos)
