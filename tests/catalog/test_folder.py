"""Class-per-folder data sets."""

import os

import pytest

from pipeline.catalog import CATALOG_SCHEMA, CatalogError, catalog_classes, catalog_notes, read_catalog


def make(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def test_classes_are_sorted_and_numbered_from_zero(tmp_path):
    make(tmp_path, "stirring/b.mkv", "pouring milk/z.mp4", "stirring/a/a.avi", "pouring milk/.part.mp4", "notes.txt")
    table = read_catalog("folder", root=tmp_path, split="val")
    assert table.schema == CATALOG_SCHEMA
    assert [(r["label"], r["label_id"], r["split"], r["source"]) for r in table.to_pylist()] == [
        ("pouring milk", 0, "val", f"{tmp_path}/pouring milk/z.mp4"),
        ("stirring", 1, "val", f"{tmp_path}/stirring/a/a.avi"),
        ("stirring", 1, "val", f"{tmp_path}/stirring/b.mkv"),
    ]
    for column in ("start_s", "end_s", "error_class", "error_message"):
        assert table[column].null_count == 3


def test_split_folders_share_their_classes(tmp_path):
    make(tmp_path, "val/b/1.mp4", "train/a/1.mp4", "train/c/1.mp4", "test/b/1.mp4")
    rows = read_catalog("folder", root=tmp_path).to_pylist()
    assert [(r["split"], r["label"], r["label_id"]) for r in rows] == [
        ("train", "a", 0),
        ("train", "c", 2),
        ("val", "b", 1),
        ("test", "b", 1),
    ]
    assert len({r["clip_id"] for r in rows}) == 4


def test_ids_are_of_the_path_below_the_root(tmp_path):
    here = read_catalog("folder", root=make(tmp_path / "here", "a/1.mp4", "a/1.mkv"))
    there = read_catalog("folder", root=make(tmp_path / "there", "a/1.mp4", "a/1.mkv"))
    assert here["clip_id"].equals(there["clip_id"])
    assert len(set(here["clip_id"].to_pylist())) == 2


def test_a_relative_root_gives_absolute_sources(tmp_path, monkeypatch):
    make(tmp_path, "data/a/1.mp4")
    monkeypatch.chdir(tmp_path)
    assert read_catalog("folder", root="data")["source"].to_pylist() == [f"{tmp_path}/data/a/1.mp4"]


def test_what_cannot_be_used_is_a_row_with_its_error(tmp_path):
    make(tmp_path, "outside/x.mp4", "root/train/a/1.mp4", "root/train/loose.mp4", "root/stray.mp4")
    (tmp_path / "root/train/b").symlink_to(tmp_path / "outside")
    (tmp_path / "root/train/a/2.mp4").symlink_to(tmp_path / "outside/x.mp4")
    rows = read_catalog("folder", root=tmp_path / "root").to_pylist()
    assert len({r["clip_id"] for r in rows}) == len(rows)
    assert {r["source"] for r in rows} == {None, f"{tmp_path}/root/train/a/1.mp4"}
    leaves = "a link that leaves the folder is not followed; put the files themselves here"
    assert {r["error_message"] for r in rows if r["error_class"] == "BadRow"} == {
        f"'{tmp_path}/root/stray.mp4': lies in no class folder; move it into the folder of its class",
        f"'{tmp_path}/root/train/loose.mp4': lies in no class folder; move it into the folder of its class",
        f"'{tmp_path}/root/train/b': {leaves}",
        f"'{tmp_path}/root/train/a/2.mp4': {leaves}",
    }


def test_every_kind_of_video_is_listed_and_what_is_none_is_counted(tmp_path):
    videos = ["a.mp4", "b.PS", "c.h264", "d.mjpeg", "e.hevc", "f.m2v", "g.rm", "h.mxf", "i.3g2", "j.f4v", "k.divx"]
    others = ["a.json", "b.json", "notes", "\x1b[2Jc.\x1b[31m", ".hidden.txt"]
    make(tmp_path, *(f"x/{name}" for name in [*videos, *others]))
    table = read_catalog("folder", root=tmp_path)
    assert table["source"].to_pylist() == [f"{tmp_path}/x/{name}" for name in videos]
    (note,) = catalog_notes(table)
    assert note.startswith("4 files are left out, since their extension is none of a video: 2 '.json', 1 ")
    assert "1 without one" in note
    assert note.isprintable()


def test_a_path_that_is_not_utf8_is_reported(tmp_path):
    make(tmp_path, "a/1.mp4")
    try:
        (tmp_path / "a" / os.fsdecode(b"caf\xe9.mp4")).touch()
    except OSError:
        pytest.skip("this file system takes only UTF-8 names")
    rows = read_catalog("folder", root=tmp_path).to_pylist()
    assert [r["error_class"] for r in rows] == [None, "BadRow"]
    assert "not UTF-8; rename it" in rows[1]["error_message"]


def test_a_split_beside_classes_is_refused(tmp_path):
    make(tmp_path, "train/a/1.mp4", "pouring/1.mp4")
    with pytest.raises(CatalogError, match="has the split 'train' beside 'pouring'; keep only train, val, test there"):
        read_catalog("folder", root=tmp_path)


def test_a_folder_without_videos_is_refused(tmp_path):
    with pytest.raises(CatalogError, match=r"no video in it; expected CLASS/VIDEO\.mp4"):
        read_catalog("folder", root=tmp_path)


def test_what_systems_leave_behind_is_no_class_and_no_split(tmp_path):
    make(tmp_path, "train/a/1.mp4", "train/a/._1.mp4", "train/.DS_Store", "val/a/2.MP4", "._train", "Thumbs.db")
    make(tmp_path, "__MACOSX/train/a/._1.mp4", "@eaDir/x/1.mp4", "lost+found/1.mp4", ".git/a/1.mp4")
    rows = read_catalog("folder", root=tmp_path).to_pylist()
    assert [(r["split"], r["label"], r["error_class"]) for r in rows] == [("train", "a", None), ("val", "a", None)]


def test_class_names_that_look_the_same_are_one_class(tmp_path):
    make(tmp_path, "train/caf\u00e9 au lait/1.mp4", "val/cafe\u0301\u00a0au  lait/2.mp4", "val/cafe\u0301 bar/3.mp4")
    table = read_catalog("folder", root=tmp_path)
    assert catalog_classes(table) == ["caf\u00e9 au lait", "caf\u00e9 bar"]
    assert sorted(zip(table["split"].to_pylist(), table["label_id"].to_pylist(), strict=True)) == [
        ("train", 0),
        ("val", 0),
        ("val", 1),
    ]


@pytest.mark.parametrize("names", [("Train", "Val", "TEST"), ("training", "validation", "testing"), ("Train", "valid")])
def test_splits_may_be_spelled_otherwise_where_all_folders_are_splits(tmp_path, names):
    make(tmp_path, *(f"{name}/a/{name}.mp4" for name in names))
    rows = read_catalog("folder", root=tmp_path).to_pylist()
    assert [(r["split"], r["label"]) for r in rows] == [(split, "a") for split in ("train", "val", "test")[: len(rows)]]
    make(tmp_path / "other", "training/1.mp4", "pouring/1.mp4")
    assert catalog_classes(read_catalog("folder", root=tmp_path / "other")) == ["pouring", "training"]


def test_class_folders_without_a_video_are_named(tmp_path):
    make(tmp_path, "a/1.mp4", "b/notes.txt", "c/clip.mp4.part")
    assert catalog_notes(read_catalog("folder", root=tmp_path)) == [
        "no usable video in 2 of 3 class folders: 'b', 'c'",
        "2 files are left out, since their extension is none of a video: 1 '.txt', 1 '.part'",
    ]
    make(tmp_path / "split", "train/a/1.mp4", "val/a/1.txt")
    empty, _ = catalog_notes(read_catalog("folder", root=tmp_path / "split"))
    assert empty == "no usable video in 1 of 2 class folders: 'val/a'"


def test_a_folder_of_links_to_elsewhere_is_refused_with_the_reason(tmp_path):
    make(tmp_path, "there/a/1.mp4", "here/x.txt")
    (tmp_path / "here/a").symlink_to(tmp_path / "there/a")
    with pytest.raises(CatalogError, match=r"none of its 1 videos can be used; .*a link that leaves the folder is not"):
        read_catalog("folder", root=tmp_path / "here")
    (tmp_path / "link").symlink_to(tmp_path / "there")  # the user's own path may be a link
    assert read_catalog("folder", root=tmp_path / "link")["label"].to_pylist() == ["a"]
