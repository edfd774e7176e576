"""The manifest: what should be there, what is, what failed, and the identity of it all."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from pipeline.shards import (
    CLIPS_SCHEMA,
    FORMAT_VERSION,
    ShardError,
    digest,
    read_catalog,
    read_clips,
    read_manifest,
    verify,
)
from pipeline.shards.manifest import summarise, write_manifest
from tests.shards.sets import make_set


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return make_set(tmp_path_factory.mktemp("original"))


@pytest.fixture
def made(original, tmp_path):
    """A copy that a test may spoil."""
    shutil.copytree(original.path, tmp_path / "set")
    original_path, original.path = original.path, str(tmp_path / "set")
    yield original
    original.path = original_path


# ---------------------------------------------------------------- counts
def test_splits_count_what_was_expected_what_is_there_and_what_failed_by_class(original):
    splits = read_manifest(original.path)["splits"]
    assert list(splits) == ["extra", "test", "train", "val"]
    assert {name: (split["expected"], split["present"]) for name, split in splits.items()} == {
        "train": (5, 2),
        "val": (1, 1),
        "test": (1, 1),
        "extra": (1, 0),
    }
    assert splits["train"]["failed"] == {"DecodeError": 1, "ZeroByte": 2}
    assert splits["val"]["failed"] == {}
    assert splits["train"]["frames"] == 9 + 12
    assert splits["extra"]["frames"] == 0


def test_labels_are_counted_in_each_split(original):
    assert read_manifest(original.path)["splits"]["train"]["labels"] == {
        "pouring milk": {"expected": 2, "present": 1},
        "stirring": {"expected": 1, "present": 1},
        "whisking": {"expected": 2, "present": 0},
    }


def test_labels_are_in_the_order_of_their_numbers(original):
    assert read_manifest(original.path)["labels"] == ["pouring milk", "stirring", "whisking"]


def test_a_label_stands_at_its_number_even_where_classes_are_missing(original):
    """A network has as many outputs as there are labels: label 2 of two would be none of them."""
    cut = original.clips.filter(pc.not_equal(original.clips["label_id"].fill_null(-1), 1))
    assert summarise(cut, {})["labels"][2] == "whisking"


def test_classes_of_the_catalog_keep_their_names_also_where_no_clip_was_taken(made):
    cut = made.clips.filter(pc.equal(made.clips["label_id"].fill_null(-1), 1))
    names = ["pouring milk", "stirring", "whisking", "yawning"]
    manifest = summarise(cut, {}, classes=names)
    assert manifest["labels"] == names
    write_manifest(made.path, cut, manifest)
    problems = [what for where, what in verify(made.path).problems if where == "_manifest.json"]
    assert problems == []
    write_manifest(made.path, cut, {**manifest, "labels": ["a", "b", "c"]})
    (problem,) = [what for where, what in verify(made.path).problems if where == "_manifest.json"]
    assert "labels is ['a', 'b', 'c'], _clips.parquet gives ['a', 'stirring', 'c']" in problem


def test_the_manifest_says_what_the_set_is_and_how_it_was_made(original):
    manifest = read_manifest(original.path)
    assert manifest["format_version"] == FORMAT_VERSION
    assert manifest["dataset"] == "by_hand"
    assert manifest["digest"] == digest(original.clips)
    assert manifest["plan"] == {"dataset": "by_hand"}
    assert manifest["rate"] == {"clips": 8, "seconds": 12.5, "stages": {}}
    sizes = [row for row in original.rows.values() if row["status"] == "ok"]
    assert manifest["bytes"] == {
        "video": sum(len(row["video"]) for row in sizes),
        "flow": sum(len(row["flow"]) for row in sizes),
    }


def test_a_set_of_nothing_has_a_manifest_too():
    manifest = summarise(CLIPS_SCHEMA.empty_table(), {})
    assert (manifest["splits"], manifest["labels"], manifest["dataset"]) == ({}, [], None)
    assert manifest["bytes"] == {"video": 0, "flow": 0}


# ---------------------------------------------------------------- digest
def test_the_digest_does_not_depend_on_the_order_of_rows(original):
    rng = np.random.default_rng(0)
    for _ in range(5):
        assert digest(original.clips.take(rng.permutation(len(original.clips)))) == digest(original.clips)


def test_the_digest_does_not_depend_on_where_the_clips_lie(original):
    rows = [{**row, "shard": "other.parquet", "row_group": 9, "source": "/x"} for row in original.rows.values()]
    assert digest(pa.Table.from_pylist(rows, CLIPS_SCHEMA)) == digest(original.clips)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("clip_id", "clip-00"),
        ("split", "test"),
        ("label", "stirring"),
        ("status", "failed"),
        ("error_class", "ZeroByte"),
        ("video_sha256", "0" * 64),
        ("flow_sha256", None),
    ],
)
def test_the_digest_changes_with_whatever_a_training_would_notice(original, column, value):
    rows = [{**row, column: value} if row["clip_id"] == "clip-0" else row for row in original.rows.values()]
    assert digest(pa.Table.from_pylist(rows, CLIPS_SCHEMA)) != digest(original.clips)


def test_the_digest_changes_with_a_clip_more_or_less(original):
    assert digest(original.clips.slice(1)) != digest(original.clips)
    assert digest(pa.concat_tables([original.clips, original.clips.slice(0, 1)])) != digest(original.clips)


# ---------------------------------------------------------------- reading
def test_clips_come_in_the_order_of_their_ids(original):
    assert read_clips(original.path)["clip_id"].to_pylist() == ["clip-0", "clip-1", "clip-2", "clip-3"]
    assert read_clips(original.path, "train")["clip_id"].to_pylist() == ["clip-0", "clip-3"]
    assert read_clips(original.path, "extra").num_rows == 0


def test_failed_clips_are_read_with_their_reasons(original):
    failed = read_clips(original.path, status="failed").to_pylist()
    assert [(row["clip_id"], row["error_class"]) for row in failed] == [
        ("clip-6", "FileNotFound"),
        ("clip-7", "ZeroByte"),
        ("clip-8", "DecodeError"),
        ("clip-9", "ZeroByte"),
    ]
    assert failed[0]["error_message"] == "/videos/6.mp4: FileNotFound"


def test_a_split_that_is_not_there_is_answered_with_those_that_are(original):
    with pytest.raises(ShardError, match=r"no split 'valid'; it has extra, test, train, val"):
        read_clips(original.path, "valid")


def test_a_folder_without_a_set_says_how_to_make_one(tmp_path):
    with pytest.raises(ShardError, match=rf"{tmp_path}: no shard set there .*; run the command ingest with"):
        read_manifest(str(tmp_path))
    with pytest.raises(ShardError, match="no shard set there"):
        read_clips(f"{tmp_path}/nowhere")


def test_a_set_that_is_not_complete_is_not_read(made):
    folder = Path(made.path)
    (folder / "_manifest.json").unlink()
    (folder / "_plan.json").write_text("{}")
    for read in (read_manifest, read_clips, read_catalog):
        with pytest.raises(ShardError, match="ingest has not finished there"):
            read(made.path)


@pytest.mark.parametrize("found", [0, FORMAT_VERSION + 1, None])
def test_a_set_of_another_format_is_not_read(made, found):
    path = Path(made.path) / "_manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format_version": found}))
    with pytest.raises(ShardError, match=rf"format {found}, this version reads {FORMAT_VERSION}; ingest it again"):
        read_manifest(made.path)


def test_a_manifest_that_is_no_json_is_one_line(made):
    (Path(made.path) / "_manifest.json").write_text('{"format_version": 1, "dig')
    with pytest.raises(ShardError, match=r"_manifest\.json: does not read .*; copy it again"):
        read_manifest(made.path)


# ---------------------------------------------------------------- the table of clips
def test_a_table_of_clips_that_does_not_read_is_one_line(made):
    path = Path(made.path) / "_clips.parquet"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ShardError, match=r"_clips\.parquet: does not read .*; copy it again"):
        read_catalog(made.path)


def test_a_column_that_the_table_lacks_is_null(made):
    pq.write_table(made.clips.drop(["brightness"]), f"{made.path}/_clips.parquet")
    assert read_catalog(made.path)["brightness"].null_count == 8


@pytest.mark.parametrize("column", ["clip_id", "dataset", "split", "status"])
def test_a_clip_without_a_name_a_split_or_a_state_is_refused(made, column):
    pq.write_table(made.clips.drop([column]), f"{made.path}/_clips.parquet")
    with pytest.raises(ShardError, match=rf"_clips\.parquet: {column} is not a string in every row"):
        read_catalog(made.path)


def test_text_that_is_no_text_is_one_line(made):
    """As a flipped bit makes it."""
    broken = pa.array([b"clip-\xff"] * 8).view(pa.string())
    clips = made.clips.set_column(made.clips.column_names.index("label"), "label", broken)
    pq.write_table(clips, f"{made.path}/_clips.parquet")
    with pytest.raises(ShardError, match=r"_clips\.parquet: does not read .*UTF8"):
        read_catalog(made.path)
