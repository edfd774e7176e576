"""The row contract and the table of readers."""

import pyarrow as pa
import pytest

from pipeline.catalog import CATALOG_SCHEMA, ERROR_CLASSES, READERS, CatalogError, clip_id, read_catalog
from pipeline.catalog.rows import line_id, plain_label


def test_a_clip_id_says_what_the_clip_is():
    assert clip_id("kinetics400", "0wR5jVB-WPk", 417, 427) == "kinetics400.0wR5jVB-WPk.417-427"
    assert clip_id("kinetics400", "0wR5jVB-WPk") == "kinetics400.0wR5jVB-WPk"
    assert clip_id("kinetics400", "0wR5jVB-WPk", 0.5, 10.25) == "kinetics400.0wR5jVB-WPk.0.5-10.25"
    assert clip_id("kinetics400", "x", 417.0, 427.0) == clip_id("kinetics400", "x", 417, 427)
    # A slug and the first 16 digits of `printf %s 'pouring milk/a b.mp4' | sha1sum`: the same on every machine.
    assert clip_id("folder", "pouring milk/a b.mp4") == "folder.pouring-milk-a-b-mp4~645d8b30f75d7c03"


@pytest.mark.parametrize(
    "hostile", ["../../etc/passwd", "/etc/passwd", "a\nb", "a" * 500, "日本", "", ".", "a.b", "\udcff"]
)
def test_a_clip_id_is_safe_whatever_the_source_id(hostile):
    name = clip_id("folder", hostile, 1, 2)
    assert name.isascii()
    assert name.isprintable()
    assert len(name) < 100
    assert "/" not in name
    assert ".." not in name


@pytest.mark.parametrize(
    "label",
    [
        "caf\u00e9 au lait",
        "cafe\u0301 au lait",
        "caf\u00e9\u00a0au\u202flait",
        " caf\u00e9  au\tlait\u200b",
        "\ufeffcaf\u00e9 au lait",
    ],
)
def test_names_that_look_the_same_are_the_same(label):
    assert plain_label(label) == "caf\u00e9 au lait"


@pytest.mark.parametrize("label", ["Arm_Wrestling", "pull-ups", "日本", "a\u200cb", 'eat, drink "fast"'])
def test_names_that_look_different_stay_as_they_are(label):
    assert plain_label(label) == label


def test_different_clips_have_different_ids():
    ids = [
        clip_id("k", "a"),
        clip_id("k", "a", 1, 2),
        clip_id("k", "a", 1, 12),
        clip_id("k", "a", 11, 2),
        clip_id("k", "a.1-2"),
        clip_id("k", "a/b"),
        clip_id("k", "a-b"),
        clip_id("k", "~train-line-7"),
        line_id("k", "train", 7),
        clip_id("k_a", "b"),
        clip_id("k", "a_b"),
    ]
    assert len(set(ids)) == len(ids)


def test_the_schema_is_the_contract():
    assert CATALOG_SCHEMA.names == [
        *("clip_id", "dataset", "split", "label", "label_id", "source", "start_s", "end_s"),
        *("error_class", "error_message"),
    ]
    assert CATALOG_SCHEMA.field("label_id").type == pa.int32()
    assert CATALOG_SCHEMA.field("start_s").type == pa.float64()
    assert [field.name for field in CATALOG_SCHEMA if not field.nullable] == ["clip_id", "dataset", "split"]


def test_every_reader_is_reached_by_name(tmp_path):
    assert sorted(READERS) == [
        "activitynet",
        "folder",
        "hmdb51",
        "kinetics",
        "motion_shapes",
        "rawframes",
        "ucf101",
        "webdataset",
        "youtube8m",
    ]
    (tmp_path / "pouring").mkdir()
    (tmp_path / "pouring" / "a.mp4").touch()
    assert read_catalog("folder", root=tmp_path).schema == CATALOG_SCHEMA


@pytest.mark.parametrize(
    ("dataset", "options", "message"),
    [
        ("kinetic", {}, r"dataset 'kinetic': no such reader; did you mean 'kinetics'\?"),
        (
            "zzz",
            {},
            r"dataset 'zzz': no such reader; choose one of activitynet, folder, hmdb51, kinetics, motion_shapes, "
            r"rawframes, ucf101, webdataset, youtube8m",
        ),
        ("kinetics", {"video": "x"}, r"dataset 'kinetics' has no option 'video'; did you mean 'videos'\?"),
        ("kinetics", {"videos": "x"}, r"dataset 'kinetics' needs the option 'annotations'"),
        ("folder", {"root": "/nowhere/at/all"}, r"/nowhere/at/all: no such folder; give the folder"),
        ("folder", {"root": ".", "dataset": "a/b"}, r"dataset 'a/b': use 1 to 64 letters"),
    ],
)
def test_what_cannot_be_read_at_all_is_said_in_one_line(dataset, options, message):
    with pytest.raises(CatalogError, match=message) as caught:
        read_catalog(dataset, **options)
    assert "\n" not in str(caught.value)


def test_error_classes_are_those_that_ingest_counts():
    assert ERROR_CLASSES == ("BadRow", "BadTimes", "DuplicateClip", "FileNotFound", "LookupFailed", "VideoGone")
