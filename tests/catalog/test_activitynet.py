"""ActivityNet: segments as clips, three subsets, a hidden test set, and every way in which an entry can be wrong."""

import json
import os
from pathlib import Path

import pytest

from pipeline.catalog import CATALOG_SCHEMA, CatalogError, catalog_classes, catalog_notes, read_catalog
from pipeline.catalog.activitynet import video_of

CLIPS = Path(os.environ.get("CLIPS_DIR") or Path(__file__).parents[3] / "shared" / "clips")
TAXONOMY = [
    {"nodeName": "Root", "nodeId": 0, "parentName": None, "parentId": None},
    {"nodeName": "Sports", "nodeId": 1, "parentName": "Root", "parentId": 0},
    {"nodeName": "Surfing", "nodeId": 3, "parentName": "Sports", "parentId": 1},
    {"nodeName": "Archery", "nodeId": 2, "parentName": "Sports", "parentId": 1},
    {"nodeName": "Shaving", "nodeId": 4, "parentName": "Root", "parentId": 0},
]


def entry(subset: str, *segments: tuple[object, object], duration: float = 60.0) -> dict:
    annotations = [{"segment": times, "label": label} for times, label in segments]
    return {"subset": subset, "duration": duration, "url": "https://evil.example/x", "annotations": annotations}


def read(tmp_path, database, videos=None, taxonomy=TAXONOMY):
    path = tmp_path / "activity_net.v1-3.min.json"
    path.write_text(json.dumps({"version": "VERSION 1.3", "taxonomy": taxonomy, "database": database}))
    table = read_catalog("activitynet", annotations=path, videos=videos)
    assert table.schema == CATALOG_SCHEMA
    assert len(set(table["clip_id"].to_pylist())) == table.num_rows
    return table


DATABASE = {
    "aaaaaaaaaaa": entry("training", ([0.5, 10.25], "Surfing"), ([20, 61.5], "Archery")),
    "bbbbbbbbbbb": entry("validation", ([1, 2], "Surfing")),
    "ccccccccccc": entry("testing"),
}


def test_segments_are_clips_and_videos_of_the_hidden_test_are_whole(tmp_path):
    table = read(tmp_path, DATABASE)
    rows = table.select(["clip_id", "split", "label", "label_id", "source", "start_s", "end_s"]).to_pylist()
    watch = "https://www.youtube.com/watch?v="  # never the file's own address
    assert [tuple(row.values()) for row in rows] == [
        ("activitynet.aaaaaaaaaaa.0.5-10.25", "train", "Surfing", 2, f"{watch}aaaaaaaaaaa", 0.5, 10.25),
        ("activitynet.aaaaaaaaaaa.20-60", "train", "Archery", 0, f"{watch}aaaaaaaaaaa", 20.0, 60.0),
        ("activitynet.bbbbbbbbbbb.1-2", "val", "Surfing", 2, f"{watch}bbbbbbbbbbb", 1.0, 2.0),
        ("activitynet.ccccccccccc", "test", None, None, f"{watch}ccccccccccc", None, None),
    ]
    assert catalog_classes(table) == ["Archery", "Shaving", "Surfing"]  # leaves alone, also one without a clip
    assert [video_of(row["clip_id"]) for row in rows][::3] == ["aaaaaaaaaaa", "ccccccccccc"]
    notes = catalog_notes(table)
    assert "activitynet train: expected 15,410 published, list has 2" in notes
    assert notes[-1] == "activitynet: 1 segments end after their videos, and are cut there"


def test_videos_are_found_by_both_names_or_at_an_address(tmp_path):
    folder = tmp_path / "videos" / "deep"
    folder.mkdir(parents=True)
    (folder / "v_aaaaaaaaaaa.mkv").touch()
    (folder / "bbbbbbbbbbb.mp4").touch()
    rows = read(tmp_path, DATABASE, tmp_path / "videos").to_pylist()
    assert [Path(row["source"]).name if row["source"] else row["error_class"] for row in rows] == [
        *("v_aaaaaaaaaaa.mkv", "v_aaaaaaaaaaa.mkv", "bbbbbbbbbbb.mp4", "FileNotFound")
    ]
    assert "no video named 'v_ccccccccccc' or 'ccccccccccc' below" in rows[3]["error_message"]
    assert read(tmp_path, DATABASE, "s3://b/anet/")["source"].to_pylist()[2] == "s3://b/anet/v_bbbbbbbbbbb.mp4"


@pytest.mark.parametrize(
    ("wrong", "error_class", "says"),
    [
        ({"../../etc": entry("training", ([0, 1], "Surfing"))}, "BadRow", "'../../etc' is no id of a video"),
        ({"aaaaaaaaaaa": entry("train", ([0, 1], "Surfing"))}, "BadRow", "subset 'train' of aaaaaaaaaaa is none of"),
        ({"aaaaaaaaaaa": 7}, "BadRow", "subset 'None'"),
        ({"aaaaaaaaaaa": entry("training")}, "BadRow", "has no list of segments"),
        ({"aaaaaaaaaaa": {"subset": "testing", "annotations": "x"}}, "BadRow", "has no list of segments"),
        ({"aaaaaaaaaaa": entry("training", ([0, 1], "Sports"))}, "BadRow", "label 'Sports' of aaaaaaaaaaa is no class"),
        ({"aaaaaaaaaaa": entry("training", ([0, 1], ["x"]))}, "BadRow", "is no class of the taxonomy"),
        ({"aaaaaaaaaaa": entry("training", ([5, 1], "Surfing"))}, "BadTimes", r"segment '[5, 1]' of aaaaaaaaaaa"),
        ({"aaaaaaaaaaa": entry("training", ([-1, 1], "Surfing"))}, "BadTimes", "is no pair of rising times"),
        ({"aaaaaaaaaaa": entry("training", (["0", 1], "Surfing"))}, "BadTimes", "is no pair of rising times"),
        ({"aaaaaaaaaaa": entry("training", ([70, 80], "Surfing"), duration=float("nan"))}, None, ""),
    ],
)
def test_a_wrong_entry_is_a_row_with_its_error_and_costs_no_other(tmp_path, wrong, error_class, says):
    rows = read(tmp_path, {**wrong, "bbbbbbbbbbb": entry("validation", ([1, 2], "Surfing"))}).to_pylist()
    assert [row["error_class"] for row in rows] == [error_class, None]
    assert says in (rows[0]["error_message"] or "")
    assert "\n" not in (rows[0]["error_message"] or "")


def test_the_same_segment_twice_is_kept_once(tmp_path):
    twice = {"aaaaaaaaaaa": entry("training", ([0, 1], "Surfing"), ([0, 1], "Archery"))}
    assert read(tmp_path, twice)["error_class"].to_pylist() == [None, "DuplicateClip"]


def test_without_a_taxonomy_the_labels_are_the_classes(tmp_path):
    assert catalog_classes(read(tmp_path, DATABASE, taxonomy=[])) == ["Archery", "Surfing"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[]", "has no 'database' of videos; give activity_net"),
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('{"database": {}}', "has no 'database'"),
        ('{"database": {"a": 1}, "taxonomy": {"x": 1}}', "its 'taxonomy' is no list of nodes"),
    ],
)
def test_another_file_is_refused_in_one_line(tmp_path, text, says):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(CatalogError, match=says):
        read_catalog("activitynet", annotations=tmp_path / "x.json")
    with pytest.raises(CatalogError, match=r"nothing\.json: cannot be read"):
        read_catalog("activitynet", annotations=tmp_path / "nothing.json")


@pytest.mark.skipif(not CLIPS.is_dir(), reason=f"no real clips at {CLIPS}; set CLIPS_DIR")
def test_a_real_video_bears_the_name_of_its_entry(tmp_path):
    database = {"ZNVhz7ctTq0": entry("validation", ([0.5, 2.0], "Shaving"))}
    (row,) = read(tmp_path, database, CLIPS).to_pylist()
    assert Path(row["source"]).name == "v_ZNVhz7ctTq0.mp4"
