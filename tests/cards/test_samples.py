"""The grid of sample clips."""

import base64
import shutil
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pytest

from pipeline.cards.samples import LONGEST_SIDE, choose, samples
from pipeline.flow import colour, dequantise
from pipeline.shards import CLIPS_SCHEMA, SHARD_SCHEMA, encode_flow, read_clips
from pipeline.shards.manifest import summarise, write_manifest
from pipeline.shards.tables import write_table
from tests.shards.sets import Made, clip_row, make_set


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Made:
    return make_set(tmp_path_factory.mktemp("set"))


def picture(address: str) -> np.ndarray:
    """The RGB pixels behind a `data:` address."""
    encoded = np.frombuffer(base64.b64decode(address.removeprefix("data:image/webp;base64,")), np.uint8)
    return cv2.imdecode(encoded, cv2.IMREAD_COLOR)[..., ::-1]


def listed(labels: list[str | None]) -> pa.Table:
    rows = [{"clip_id": f"x.{i}", "label": label, "status": "ok"} for i, label in enumerate(labels)]
    return pa.Table.from_pylist(rows, CLIPS_SCHEMA)


def test_a_sample_is_the_frame_in_the_middle_and_its_flow(made):
    found = samples(made.path, read_clips(made.path))
    assert [sample.clip["label"] for sample in found.clips] == ["pouring milk", "stirring", "whisking", None]
    for sample in found.clips:
        clip = sample.clip["clip_id"]
        assert sample.frame == len(made.levels[clip]) // 2
        shown = picture(sample.picture).astype(int)
        assert shown.shape == (32, 48, 3)
        assert np.abs(shown - made.frames[clip][sample.frame]).max() < 12
        expected = colour(dequantise(made.levels[clip][sample.frame], 20.0), found.radius).astype(int)
        assert np.abs(picture(sample.flow).mean(axis=(0, 1)) - expected.mean(axis=(0, 1))).max() < 20  # noise, as WebP


def test_a_clip_that_does_not_move_is_white(tmp_path):
    row, _, levels = clip_row(0, "train", 0, 9)
    row |= {"flow": encode_flow(np.full_like(levels, 128), 25, 6)}
    write_table(pa.Table.from_pylist([row], SHARD_SCHEMA), f"{tmp_path}/train-00000.parquet")
    clips = pa.Table.from_pylist([{**row, "shard": "train-00000.parquet", "row_group": 0}], CLIPS_SCHEMA)
    write_manifest(str(tmp_path), clips, summarise(clips, {}))
    (sample,) = samples(str(tmp_path), read_clips(str(tmp_path))).clips
    assert picture(sample.flow).min() == 255


def test_a_set_without_flow_has_frames_alone(tmp_path):
    found = samples(make_set(tmp_path, ("rgb",)).path, read_clips(str(tmp_path)))
    assert all(sample.picture and sample.flow is None for sample in found.clips)


def test_a_clip_that_does_not_decode_costs_its_picture_and_no_more(made, tmp_path):
    shutil.copytree(made.path, tmp_path / "set")
    path = tmp_path / "set" / "train-00000.parquet"
    content = path.read_bytes()
    video = made.rows["clip-0"]["video"]
    path.write_bytes(content.replace(video, bytes(len(video))))
    (tmp_path / "set" / "val-00000.parquet").unlink()
    found = {sample.clip["clip_id"]: sample for sample in samples(str(tmp_path / "set"), read_clips(made.path)).clips}
    assert set(found) == {"clip-0", "clip-2", "clip-3"}
    assert found["clip-0"].picture is None
    assert found["clip-3"].picture


def test_pictures_are_small(tmp_path):
    found = samples(make_set(tmp_path).path, read_clips(str(tmp_path)))
    assert max(picture(found.wheel).shape) <= LONGEST_SIDE
    assert sum(len(sample.picture) for sample in found.clips) < 20_000 * len(found.clips)


def test_the_choice_is_spread_over_the_classes_and_does_not_depend_on_the_order_of_rows():
    table = listed([f"c{i % 7}" for i in range(70)])
    chosen = [row["clip_id"] for row in choose(table, 10)]
    shuffled = table.take(np.random.default_rng(0).permutation(70))
    assert [row["clip_id"] for row in choose(shuffled, 10)] == chosen
    assert [row["label"] for row in choose(table, 10)] == ["c0", "c0", "c1", "c1", "c2", "c2", "c3", "c4", "c5", "c6"]
    assert len(set(chosen)) == 10


def test_of_many_classes_some_at_equal_distances_are_shown():
    table = listed([f"c{i:03d}" for i in range(400)])
    assert [row["label"] for row in choose(table, 4)] == ["c000", "c100", "c200", "c300"]


def test_where_there_are_few_clips_all_are_shown_and_of_none_none():
    assert len(choose(listed(["a", "a", None]), 24)) == 3
    assert choose(listed([]), 24) == []


def test_the_set_itself_is_left_as_it_was(made):
    before = {path.name: path.stat().st_mtime_ns for path in Path(made.path).iterdir()}
    samples(made.path, read_clips(made.path))
    assert {path.name: path.stat().st_mtime_ns for path in Path(made.path).iterdir()} == before
