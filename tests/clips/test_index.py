"""The clips of one split as arrays."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.clips.index import ClipIndex
from pipeline.shards import SHARD_SCHEMA, ShardError, read_manifest
from pipeline.shards.tables import read_table, write_table
from tests.shards.sets import make_set


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_set(tmp_path_factory.mktemp("shards"))


def test_a_split_is_its_readable_clips_in_the_order_of_their_ids(made):
    index = ClipIndex.load(made.path, "train")
    assert len(index) == 2
    assert index.clip_ids.tolist() == ["clip-0", "clip-3"]
    assert index.label.tolist() == [0, 1]
    assert index.num_frames.tolist() == [9, 12]
    assert index.num_flow.tolist() == [8, 11]
    assert index.size.tolist() == [[32, 48], [32, 48]]


def test_the_index_knows_its_set(made):
    index = ClipIndex.load(made.path, "val")
    assert (index.shards, index.split) == (made.path, "val")
    assert index.digest == read_manifest(made.path)["digest"]
    assert index.labels == ("pouring milk", "stirring", "whisking")  # of the whole set, not of the split


def test_the_length_of_a_clip_depends_on_the_stream(made):
    index = ClipIndex.load(made.path, "train")
    assert index.length("rgb").tolist() == [9, 12]
    assert index.length("flow").tolist() == [8, 11]


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_every_row_leads_to_the_bytes_of_its_clip(made, split):
    index = ClipIndex.load(made.path, split)
    for row, clip in enumerate(index.clip_ids):
        assert index.blob(row, "rgb") == made.rows[clip]["video"]
        assert index.blob(row, "flow") == made.rows[clip]["flow"]


def test_bytes_of_another_clip_are_never_handed_out(tmp_path):
    """Rows of a shard that were exchanged, while the table of clips and the manifest stay as they are."""
    made = make_set(tmp_path)
    path = f"{made.path}/train-00000.parquet"
    write_table(read_table(path, SHARD_SCHEMA).take([1, 0]), path)
    index = ClipIndex.load(made.path, "train")
    for stream in ("rgb", "flow"):
        with pytest.raises(
            ShardError, match=rf"train-00000\.parquet: the {stream} there is not that of clip-0; the comm"
        ):
            index.blob(0, stream)


def test_a_clip_without_a_label_has_label_minus_one(made):
    assert ClipIndex.load(made.path, "test").label.tolist() == [-1]


def test_arrays_have_the_types_that_batches_need(made):
    index = ClipIndex.load(made.path, "train")
    assert index.label.dtype == index.num_frames.dtype == index.num_flow.dtype == np.int64


def test_a_split_without_a_readable_clip_is_refused(made):
    with pytest.raises(ShardError, match=r"no clip of split 'extra' could be read; see _clips\.parquet"):
        ClipIndex.load(made.path, "extra")


def test_a_split_that_is_not_there_is_refused(made):
    with pytest.raises(ShardError, match="no split 'valid'; it has extra, test, train, val"):
        ClipIndex.load(made.path, "valid")


def test_a_set_that_is_not_there_or_not_complete_is_refused(tmp_path):
    with pytest.raises(ShardError, match="no shard set there"):
        ClipIndex.load(f"{tmp_path}/nowhere", "train")
    made = make_set(tmp_path)
    (Path(made.path) / "_manifest.json").unlink()
    (Path(made.path) / "_plan.json").write_text("{}")
    with pytest.raises(ShardError, match="ingest has not finished there"):
        ClipIndex.load(made.path, "train")


def test_a_stream_that_was_not_stored_says_how_to_store_it(tmp_path):
    made = make_set(tmp_path, streams=("rgb",))
    index = ClipIndex.load(made.path, "train")
    assert index.num_flow.tolist() == [0, 0]
    with pytest.raises(ShardError, match=r"clip-0: no flow was stored; ingest with --ingest\.streams rgb,flow"):
        index.blob(0, "flow")
