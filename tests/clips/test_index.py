"""The clips of one split as arrays."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipeline.clips.index import ClipIndex
from pipeline.clips.stored_clips import StoredClips
from pipeline.shards import CLIPS_SCHEMA, SHARD_SCHEMA, ShardError, read_manifest, verify
from pipeline.shards.manifest import summarise, write_manifest
from pipeline.shards.row_groups import offsets_in
from pipeline.shards.tables import read_table, write_table
from tests.object_store import BUCKET
from tests.shards.sets import make_set, without_offsets


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


def test_without_places_the_footer_leads_there_too(made):
    index = without_offsets(ClipIndex.load(made.path, "train"))
    for row, clip in enumerate(index.clip_ids):
        assert index.blob(row, "rgb") == made.rows[clip]["video"]
        assert index.blob(row, "flow") == made.rows[clip]["flow"]


def test_a_set_of_format_3_is_read_and_verified(tmp_path):
    made = make_set(tmp_path)
    write_table(made.clips.drop(["video_offset", "flow_offset"]), f"{made.path}/_clips.parquet")
    path = Path(made.path) / "_manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format_version": 3}))
    index = ClipIndex.load(made.path, "train")
    assert index.digest == read_manifest(made.path)["digest"]
    assert index.blob(0, "flow") == made.rows["clip-0"]["flow"]
    assert verify(made.path, write=lambda line: None).problems == []


@pytest.mark.parametrize(("name", "value"), [("video_offset", 5), ("video_bytes", 2**39), ("video_offset", 2**49)])
def test_a_place_that_was_made_up_leads_to_an_error(tmp_path, name, value):
    made = make_set(tmp_path)
    rows = [{**row, name: value} if row["clip_id"] == "clip-0" else row for row in made.rows.values()]
    clips = pa.Table.from_pylist(rows, CLIPS_SCHEMA)
    write_manifest(made.path, clips, summarise(clips, {}))
    with pytest.raises(ShardError, match=r"train-00000\.parquet: the rgb there is not that of clip-0"):
        ClipIndex.load(made.path, "train").blob(0, "rgb")


def test_a_file_that_was_replaced_is_opened_again(tmp_path):
    made = make_set(tmp_path)
    index = ClipIndex.load(made.path, "train")
    assert index.blob(0, "rgb") == made.rows["clip-0"]["video"]
    path = f"{made.path}/train-00000.parquet"
    write_table(read_table(path, SHARD_SCHEMA).take([1, 0]), path)
    rows = [*made.rows.values()]
    for row in rows:
        if row.get("shard") == "train-00000.parquet":
            row["row_group"] = 1 - row["row_group"]
            row |= offsets_in(path)[row["row_group"]]
    write_table(pa.Table.from_pylist(rows, CLIPS_SCHEMA), f"{made.path}/_clips.parquet")
    assert ClipIndex.load(made.path, "train").blob(0, "rgb") == made.rows["clip-0"]["video"]


def test_a_stream_in_a_store_is_one_request(store, tmp_path, monkeypatch):
    made = make_set(tmp_path / "set")
    for name, value in store.environment.items():
        monkeypatch.setenv(name, value)
    for path in (tmp_path / "set").iterdir():
        store.put(f"{tmp_path.name}/{path.name}", path.read_bytes())
    index = ClipIndex.load(f"s3://{BUCKET}/{tmp_path.name}", "train")
    store.asked.clear()
    for row, clip in enumerate(index.clip_ids):
        assert index.blob(row, "rgb") == made.rows[clip]["video"]
        assert index.blob(row, "flow") == made.rows[clip]["flow"]
    assert store.counts == {"GET": 4}
    assert without_offsets(index).blob(0, "rgb") == made.rows["clip-0"]["video"]
    store.client.delete_object(Bucket=BUCKET, Key=f"{tmp_path.name}/train-00000.parquet")
    with pytest.raises(ShardError, match=r"train-00000\.parquet: does not read \(.*NoSuchKey"):
        index.blob(0, "rgb")


def test_what_decoding_needs_has_no_ids_and_no_other_stream(made):
    index = ClipIndex.load(made.path, "train")
    stored = index.stored(("rgb",))
    assert type(stored) is StoredClips
    assert stored.places.keys() == {"rgb"}
    assert stored.blob(1, "rgb") == index.blob(1, "rgb")
    assert [stored.name(row) for row in range(2)] == index.clip_ids.tolist()


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
    assert index.label.dtype == np.int64
    assert index.num_frames.dtype == index.num_flow.dtype == index.size.dtype == np.int32


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
