"""Verification: every fault of a shard set is found and named, all of them at once."""

import hashlib
import json
import re
from importlib import import_module
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.cards import data_card
from pipeline.clips.index import ClipIndex
from pipeline.shards import (
    CLIPS_SCHEMA,
    SHARD_SCHEMA,
    ShardError,
    Verification,
    encode_video,
    read_catalog,
    read_clips,
    read_manifest,
    verify,
)
from pipeline.shards.manifest import summarise, write_manifest
from pipeline.shards.row_groups import offsets_in
from pipeline.shards.tables import write_table
from pipeline.spread import spread
from tests.shards.sets import Made, make_set


def faults(made: Made, **options: bool) -> list[tuple[str, str]]:
    return [tuple(problem) for problem in verify(made.path, write=lambda line: None, **options).problems]


def read(made: Made, name: str) -> pa.Table:
    return pq.read_table(f"{made.path}/{name}", partitioning=None)


def change(table: pa.Table, row: int, **values: object) -> pa.Table:
    rows = table.to_pylist()
    rows[row] |= values
    return pa.Table.from_pylist(rows, table.schema)


def relist(made: Made, clip: str, **values: object) -> None:
    """Change a clip in the table and the manifest both, so that only the shard disagrees."""
    clips = change(made.clips, made.clips["clip_id"].to_pylist().index(clip), **values)
    write_manifest(made.path, clips, summarise(clips, {}))


def test_a_sound_set_has_no_problems_and_shows_its_progress(original):
    lines = []
    assert verify(original.path, write=lines.append) == Verification(4, [])
    assert lines[-1].startswith("verify 4/4 (100 %)")


def test_a_set_without_flow_is_sound(tmp_path):
    assert verify(make_set(tmp_path, ("rgb",)).path, write=lambda line: None) == Verification(4, [])


def test_a_set_of_nothing_is_sound(tmp_path):
    clips = CLIPS_SCHEMA.empty_table()
    write_manifest(str(tmp_path), clips, summarise(clips, {}))
    assert verify(str(tmp_path), write=lambda line: None) == Verification(0, [])


def test_a_set_is_verified_at_a_uri(original):
    assert verify(f"file://{original.path}", write=lambda line: None) == Verification(4, [])


# ---------------------------------------------------------------- on a cluster
def spoil(made: Made) -> None:
    """A flipped bit, a shard with a clip of another one, twice, a row group of nobody's, a shard that does not read."""
    train, val = (read(made, f"{split}-00000.parquet") for split in ("train", "val"))
    strange = change(val, 0, clip_id="stranger")
    write_table(
        pa.concat_tables([val, train.slice(0, 1), train.slice(0, 1), strange]), f"{made.path}/val-00000.parquet"
    )
    write_table(train.slice(1), f"{made.path}/train-00000.parquet")
    path = Path(made.path) / "train-00000.parquet"
    content = bytearray(path.read_bytes())
    content[content.index(made.rows["clip-0"]["video"]) + 99] ^= 1
    path.write_bytes(content)
    (Path(made.path) / "test-00000.parquet").write_bytes(b"PAR1 nothing PAR1")


SPOILED = [
    ("clip-0", "video in train-00000.parquet is not what the manifest says"),
    ("clip-3", "2 times in the shards"),
    ("clip-3", "in val-00000.parquet, row group 1, not in train-00000.parquet, row group 0"),
    ("clip-3", "in val-00000.parquet, row group 2, not in train-00000.parquet, row group 0"),
    ("clip-0", "in train-00000.parquet, row group 0, not in train-00000.parquet, row group 1"),
    ("val-00000.parquet", "row group 3 holds stranger, no clip of this set"),
]


@pytest.mark.ray
def test_a_large_set_is_checked_in_ray_tasks_which_find_the_same(made, cluster, monkeypatch):
    spoil(made)
    alone = verify(made.path, write=lambda line: None)
    assert {tuple(problem) for problem in alone.problems} >= set(SPOILED)
    assert len(alone.problems) == len(SPOILED) + 1
    assert alone.clips == 3
    seen: list[str] = []

    def counted(function, items, lost):
        for found in spread(function, items, lost):
            seen.append(found.name)
            yield found

    assert verify(made.path, write=lambda line: None, spread=counted) == alone
    assert seen == []  # a small set is not worth it
    monkeypatch.setattr(import_module("pipeline.shards.verify"), "LARGE", 3)
    lines: list[str] = []
    assert verify(made.path, write=lines.append, spread=counted) == alone
    assert sorted(seen) == ["test-00000.parquet", "train-00000.parquet", "val-00000.parquet", "val-00000.parquet"]
    assert lines[-2].startswith("verify 4/4 (100 %)")
    assert lines[-1].startswith("verify shards with clips of others 1/1 (100 %)")


def test_a_task_has_the_rows_of_its_shard_and_no_others(original, monkeypatch):
    monkeypatch.setattr(import_module("pipeline.shards.verify"), "LARGE", 1)
    given: dict[str, list[str]] = {}

    def alone(function, items, lost):
        for item in items:
            given[item.name] = item.listed["clip_id"].to_pylist()
            yield function(item)

    assert verify(original.path, write=lambda line: None, spread=alone) == Verification(4, [])
    assert given == {
        "test-00000.parquet": ["clip-2"],
        "train-00000.parquet": ["clip-3", "clip-0"],
        "val-00000.parquet": ["clip-1"],
    }


def test_a_shard_whose_checking_kills_its_process_is_a_problem(original, monkeypatch):
    monkeypatch.setattr(import_module("pipeline.shards.verify"), "LARGE", 1)

    def deadly(function, items, lost):
        yield from (
            lost(item, "WorkerCrashedError") if item.name.startswith("val") else function(item) for item in items
        )

    found = verify(original.path, write=lambda line: None, spread=deadly)
    says = "not checked: each process that read it died (WorkerCrashedError)"
    assert found == Verification(3, [("val-00000.parquet", says)])


# ---------------------------------------------------------------- bytes
@pytest.mark.parametrize("decode", [True, False])
@pytest.mark.parametrize("stream", ["video", "flow"])
@pytest.mark.parametrize("clip", ["clip-0", "clip-1"])
def test_a_flipped_bit_is_found(made, clip, stream, decode):
    path = Path(made.path) / made.rows[clip]["shard"]
    content = bytearray(path.read_bytes())
    content[content.index(made.rows[clip][stream]) + 99] ^= 1
    path.write_bytes(content)
    assert faults(made, decode=decode) == [(clip, f"{stream} in {path.name} is not what the manifest says")]


def test_every_fault_is_named_at_once(made):
    for clip in ("clip-0", "clip-1", "clip-3"):
        path = Path(made.path) / made.rows[clip]["shard"]
        content = bytearray(path.read_bytes())
        content[content.index(made.rows[clip]["video"]) + 99] ^= 1
        path.write_bytes(content)
    (Path(made.path) / "test-00000.parquet").unlink()
    assert [where for where, _ in faults(made)] == ["clip-0", "clip-1", "clip-3", "test-00000.parquet"]


def test_a_stream_that_was_dropped_is_found(made):
    write_table(change(read(made, "val-00000.parquet"), 0, flow=None), f"{made.path}/val-00000.parquet")
    assert faults(made) == [("clip-1", "flow in val-00000.parquet is missing")]


@pytest.mark.parametrize("stream", ["video", "flow"])
def test_bytes_that_do_not_decode_are_found_even_where_the_digest_is_theirs(made, stream):
    content = b"not a video " * 40
    values = {stream: content, f"{stream}_sha256": hashlib.sha256(content).hexdigest(), f"{stream}_bytes": len(content)}
    write_table(change(read(made, "val-00000.parquet"), 0, **values), f"{made.path}/val-00000.parquet")
    (places,) = offsets_in(f"{made.path}/val-00000.parquet")
    relist(made, "clip-1", **{name: value for name, value in values.items() if name != stream}, **places)
    ((where, what),) = faults(made)
    assert where == "clip-1"
    assert what.startswith(f"{stream}: stored clip does not decode")
    assert faults(made, decode=False) == []


@pytest.mark.parametrize(
    ("column", "value", "lines"),
    [
        ("num_frames", 11, ["video: 12 frames of 32 x 48, stated are 11 of 32 x 48"]),
        ("num_flow", 12, ["flow: 11 frames of 64 x 48, stated are 12 of 64 x 48"]),
        (
            "width",
            40,
            [
                "flow: 11 frames of 64 x 48, stated are 11 of 64 x 40",
                "video: 12 frames of 32 x 48, stated are 12 of 32 x 40",
            ],
        ),
    ],
)
def test_streams_are_as_long_and_large_as_stated(made, column, value, lines):
    relist(made, "clip-1", **{column: value})
    write_table(change(read(made, "val-00000.parquet"), 0, **{column: value}), f"{made.path}/val-00000.parquet")
    assert faults(made) == [("clip-1", line) for line in lines]


def test_frames_of_two_sizes_in_one_stream_are_found(made):
    first, second = (encode_video(np.zeros((3, side, side, 3), np.uint8), 25, 20, 12) for side in (32, 48))
    content = first + second
    relist(made, "clip-1", video_sha256=hashlib.sha256(content).hexdigest(), num_frames=6)
    row = change(
        read(made, "val-00000.parquet"),
        0,
        video=content,
        video_sha256=hashlib.sha256(content).hexdigest(),
        num_frames=6,
    )
    write_table(row, f"{made.path}/val-00000.parquet")
    assert faults(made) == [
        (
            "clip-1",
            "video: stored clip does not decode: no MP4 with one track (ftyp, moov, trak, elst, "
            "stsd, stts, stsc, stsz)",
        )
    ]


# ---------------------------------------------------------------- files
def test_a_missing_shard_is_found(made):
    (Path(made.path) / "train-00000.parquet").unlink()
    assert faults(made) == [("train-00000.parquet", "missing; 2 clips should be in it")]


@pytest.mark.parametrize("content", [b"", b"PAR1 nothing PAR1"])
def test_a_shard_that_does_not_read_is_one_problem(made, content):
    (Path(made.path) / "train-00000.parquet").write_bytes(content)
    ((where, what),) = faults(made)
    assert where == "train-00000.parquet"
    assert what.startswith("does not read (")
    assert what.endswith("); copy it again, or ingest again")


@pytest.mark.parametrize("name", ["train-00001.parquet", "notes.txt", "folder"])
def test_a_file_too_many_is_found(made, name):
    path = Path(made.path) / name
    path.mkdir() if name == "folder" else path.write_bytes(b"x")
    assert faults(made) == [(name, "no file of this set")]


def test_files_that_readers_skip_are_no_problem(made):
    (Path(made.path) / "_plan.json").write_text("{}")
    (Path(made.path) / ".hidden").touch()
    assert faults(made) == []


def test_a_shard_that_lacks_a_column_is_found_and_its_clips_still_checked(made):
    table = read(made, "val-00000.parquet").drop(["brightness"])
    write_table(change(table, 0, split="test"), f"{made.path}/val-00000.parquet")
    assert faults(made) == [
        ("clip-1", "val-00000.parquet and _clips.parquet differ in split"),
        ("val-00000.parquet", "schema: no column brightness"),
    ]


def test_a_shard_with_columns_of_its_own_or_of_other_types_is_not_read_at_all(made):
    table = read(made, "val-00000.parquet")
    write_table(table.append_column("mine", pa.array([1])), f"{made.path}/val-00000.parquet")
    ((where, what),) = faults(made)
    assert where == "val-00000.parquet"
    assert what.startswith("refused before a row is read: a column mine too many; ")
    other = SHARD_SCHEMA.set(SHARD_SCHEMA.get_field_index("fps"), pa.field("fps", pa.int64()))
    write_table(pa.Table.from_pylist(table.to_pylist(), other), f"{made.path}/val-00000.parquet")
    ((where, what),) = faults(made)
    assert what.startswith("refused before a row is read: fps is int64, not int32; ")


# ---------------------------------------------------------------- places
def test_swapped_rows_are_found(made):
    table = read(made, "train-00000.parquet")
    write_table(table.take([1, 0]), f"{made.path}/train-00000.parquet")
    assert faults(made) == [
        ("clip-0", "in train-00000.parquet, row group 0, not in train-00000.parquet, row group 1"),
        ("clip-3", "in train-00000.parquet, row group 1, not in train-00000.parquet, row group 0"),
    ]


def test_a_clip_that_is_not_in_its_shard_is_found(made):
    write_table(read(made, "train-00000.parquet").slice(0, 1), f"{made.path}/train-00000.parquet")
    assert faults(made) == [("clip-0", "not in train-00000.parquet")]


def test_a_clip_that_is_there_twice_is_found(made):
    table = read(made, "val-00000.parquet")
    write_table(pa.concat_tables([table, table]), f"{made.path}/val-00000.parquet")
    assert faults(made) == [
        ("clip-1", "2 times in the shards"),
        ("clip-1", "in val-00000.parquet, row group 1, not in val-00000.parquet, row group 0"),
    ]


@pytest.mark.parametrize("name", ["stranger", "clip-7", None])
def test_a_clip_that_the_table_does_not_list_as_readable_is_found(made, name):
    table = read(made, "val-00000.parquet")
    write_table(pa.concat_tables([table, change(table, 0, clip_id=name)]), f"{made.path}/val-00000.parquet")
    assert faults(made) == [("val-00000.parquet", f"row group 1 holds {name}, no clip of this set")]


def test_two_clips_in_a_row_group_are_found(made):
    pq.write_table(read(made, "train-00000.parquet"), f"{made.path}/train-00000.parquet")
    assert ("train-00000.parquet", "row group 0 does not read: it holds 2 clips, not one") in faults(made)


def test_a_shard_that_says_something_else_than_the_table_is_found(made):
    write_table(change(read(made, "val-00000.parquet"), 0, label="x", split="y"), f"{made.path}/val-00000.parquet")
    assert faults(made) == [("clip-1", "val-00000.parquet and _clips.parquet differ in split, label")]


@pytest.mark.parametrize(
    "name", ["../set/val-00000.parquet", "/etc/val-00000.parquet", "val-00000.parquet\n", "..", ""]
)
def test_a_name_of_a_shard_that_leads_elsewhere_is_refused_by_every_reader(made, name):
    relist(made, "clip-1", shard=name)
    for reader in (verify, read_catalog, read_clips, data_card, lambda path: ClipIndex.load(path, "val")):
        with pytest.raises(ShardError, match=r"_clips\.parquet: shard is '.*', which ingest calls nothing"):
            reader(made.path)


@pytest.mark.parametrize("place", [{"shard": None}, {"row_group": 99}])
def test_a_place_in_the_table_leads_nowhere_else(made, place):
    relist(made, "clip-1", **place)
    assert {where for where, _ in faults(made)} <= {"clip-1", "val-00000.parquet", str(place.get("shard"))}
    assert faults(made)


# ---------------------------------------------------------------- manifest
def edit(made: Made, path: list[str], value: object) -> None:
    file = Path(made.path) / "_manifest.json"
    manifest = json.loads(file.read_text())
    place = manifest
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    file.write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("path", "value", "line"),
    [
        (["splits"], None, "splits: Input should be a valid dictionary"),
        (["splits", "train", "present"], "2", "splits.train.present: Input should be a valid integer"),
        (["splits", "train", "frames"], -1, "splits.train.frames: Input should be greater than or equal to 0"),
        (["splits", "../../etc"], {}, "splits.../../etc.\\[key\\]: String should match pattern"),
        (["labels"], [1], "labels.0: Input should be a valid string"),
        (["labels"], ["a"] * 100_001, "labels: List should have at most 100000 items"),
        (["digest"], "x", "digest: String should match pattern"),
        (["plan", "settings"], {"short_side": "x"}, "plan.settings.short_side: Input should be a valid integer"),
        (["plan", "settings"], {"streams": ["sound"]}, "plan.settings.streams.0: Input should be 'rgb' or 'flow'"),
        (
            ["plan", "split"],
            {"seed": 0, "val_fraction": "x", "test_fraction": 0.1},
            "plan.split.val_fraction: Input sh",
        ),
    ],
)
def test_a_manifest_of_other_types_is_refused_in_one_line(made, path, value, line):
    edit(made, path, value)
    for reader in (verify, read_manifest, data_card, lambda path: ClipIndex.load(path, "val")):
        with pytest.raises(ShardError, match=rf"^{made.path}/_manifest\.json: {line}") as raised:
            reader(made.path)
        assert "\n" not in str(raised.value)
        assert len(str(raised.value)) < 400


@pytest.mark.parametrize("content", ["[1]", "[" * 100_000, "3", "null", '{"format_version": NaN}'])
def test_a_manifest_that_is_no_manifest_is_refused_in_one_line(made, content):
    (Path(made.path) / "_manifest.json").write_text(content)
    with pytest.raises(ShardError, match=r"does not read|format nan"):
        read_manifest(made.path)


@pytest.mark.parametrize(
    ("path", "value", "line"),
    [
        (["digest"], "0" * 16, "digest is 0000000000000000, _clips.parquet gives "),
        (["splits", "train", "present"], 3, "splits.train.present is 3, _clips.parquet gives 2"),
        (["splits", "train", "failed", "ZeroByte"], 1, "splits.train.failed.ZeroByte is 1, _clips.parquet gives 2"),
        (
            ["splits", "val", "labels", "whisking", "present"],
            0,
            "splits.val.labels.whisking.present is 0, _clips.parquet gives 1",
        ),
        (["bytes", "flow"], 1, "bytes.flow is 1, _clips.parquet gives "),
        (["labels"], ["a"], "labels is ['a'], _clips.parquet gives ['pouring milk'"),
    ],
)
def test_an_edited_manifest_is_found(made, path, value, line):
    edit(made, path, value)
    ((where, what),) = faults(made)
    assert where == "_manifest.json"
    assert what.startswith(line)


def test_an_edited_table_is_found(made):
    write_table(change(made.clips, 0, label="pouring milk"), f"{made.path}/_clips.parquet")
    found = faults(made)
    assert ("clip-3", "train-00000.parquet and _clips.parquet differ in label") in found
    assert any(where == "_manifest.json" and what.startswith("digest is ") for where, what in found)


def test_a_clip_that_the_table_lists_twice_is_found(made):
    write_table(pa.concat_tables([made.clips, made.clips.slice(0, 1)]), f"{made.path}/_clips.parquet")
    assert ("clip-3", "2 times in _clips.parquet") in faults(made)


def test_a_set_that_is_not_complete_is_refused(made):
    (Path(made.path) / "_manifest.json").unlink()
    with pytest.raises(ShardError, match=r"no _manifest\.json"):
        verify(made.path)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"video_offset": 5}, r"video is at byte \d+ of its shard, not at byte 5"),
        ({"flow_offset": 2**40}, r"flow is at byte \d+ of its shard, not at byte 1099511627776"),
    ],
)
def test_a_place_that_leads_to_other_bytes_is_a_problem_of_its_clip(made, changes, what):
    rows = [row | changes if row["clip_id"] == "clip-0" else row for row in made.rows.values()]
    clips = pa.Table.from_pylist(rows, CLIPS_SCHEMA)
    write_manifest(made.path, clips, summarise(clips, {}))
    found = [
        problem for problem in verify(made.path, write=lambda line: None).problems if "differ in" not in problem.what
    ]
    assert [problem.where for problem in found] == ["clip-0"]
    assert re.fullmatch(what, found[0].what)
