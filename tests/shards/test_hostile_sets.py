"""A stranger's shard set is data: no column of it runs code, and no file of it leads elsewhere or fills the memory."""

import hashlib
from pathlib import Path

import cloudpickle
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray.data

from pipeline.cards import data_card
from pipeline.catalog.rows import CATALOG_SCHEMA
from pipeline.clips.index import ClipIndex
from pipeline.clips.sampling import CentreSampler
from pipeline.commands.inspect import main as inspect
from pipeline.config import ClipsConfig
from pipeline.evaluation.scores import Scores, ScoresError, read_scores, write_scores
from pipeline.ingest.layout import layout_of
from pipeline.ingest.retry import chosen_by, reopen
from pipeline.shards import (
    CLIPS_SCHEMA,
    SHARD_SCHEMA,
    ShardError,
    overlaps,
    read_catalog,
    read_clip,
    read_clips,
    verify,
)
from pipeline.shards.manifest import summarise, write_manifest
from pipeline.shards.row_groups import offsets_in
from pipeline.shards.tables import read_table, write_table
from tests.shards import hostile
from tests.shards.sets import Made, make_set, without_offsets

READERS = {
    "inspect": lambda path: inspect([path]),
    "verify": lambda path: verify(path, write=lambda line: None),
    "card": data_card,
    "overlaps": lambda path: overlaps(path, path),
    "catalog": read_catalog,
    "clips": read_clips,
    "index": lambda path: ClipIndex.load(path, "val"),
    "retry": lambda path: reopen(path, layout_of(CATALOG_SCHEMA.empty_table(), 64), {}, chosen_by(("all",))),
}
CHECKING = {name: read for name, read in READERS.items() if name != "retry"}  # which reads only the states of clips
every_reader = pytest.mark.parametrize("read", READERS.values(), ids=READERS)


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Made:
    assert ray.data  # which makes its extension types known to Arrow
    return make_set(tmp_path_factory.mktemp("original"))


def refused(read, path: str) -> str:
    """What a reader says when it refuses a set: one line of an error that is written for users."""
    with pytest.raises((ShardError, ScoresError, SystemExit)) as raised:
        read(path)
    assert "\n" not in str(raised.value)
    return str(raised.value)


# ---------------------------------------------------------------- code
def test_a_column_of_pickles_runs_code_in_whoever_reads_it_plainly(made, tmp_path):
    """Without this, the tests below would show nothing."""
    ran = tmp_path / "ran"
    pq.write_table(pa.table({"evil": hostile.pickled(ran, 1)}), tmp_path / "evil.parquet")
    pq.read_table(tmp_path / "evil.parquet").to_pylist()
    assert ran.exists()


@every_reader
@pytest.mark.parametrize("column", ["evil", "label", "error_message"])
def test_pickles_in_the_table_of_clips_are_not_loaded(made, tmp_path, capsys, read, column):
    ran, clips = tmp_path / "ran", made.clips
    if column in clips.column_names:
        clips = clips.drop([column])
    pq.write_table(clips.append_column(column, hostile.pickled(ran, len(clips))), f"{made.path}/_clips.parquet")
    said = refused(read, made.path) + capsys.readouterr().err
    assert "_clips.parquet: refused before a row is read: " in said
    assert "an extension type, which may run code" in said
    assert not ran.exists()


@pytest.mark.parametrize("column", ["evil", "label", "video"])
def test_pickles_in_a_shard_are_not_loaded(made, tmp_path, capsys, column):
    ran, path = tmp_path / "ran", f"{made.path}/val-00000.parquet"
    table = read_table(path, SHARD_SCHEMA)
    if column in table.column_names:
        table = table.drop([column])
    pq.write_table(table.append_column(column, hostile.pickled(ran, 1)), path)
    problems = verify(made.path, write=lambda line: None).problems
    assert [problem.where for problem in problems] == ["val-00000.parquet"]
    assert "an extension type, which may run code" in problems[0].what
    with pytest.raises(SystemExit, match="1"):
        inspect([made.path, "--card", str(tmp_path / "card.html")])
    assert "does not decode" in (tmp_path / "card.html").read_text()  # the picture of that clip
    index = ClipIndex.load(made.path, "val")
    for stream in ("rgb", "flow"):
        with pytest.raises(ShardError, match=f"the {stream} there is not that of clip-1"):
            index.blob(0, stream)
        with pytest.raises(ShardError, match="an extension type, which may run code"):
            without_offsets(index).blob(0, stream)
    with pytest.raises(ShardError, match="an extension type, which may run code"):
        read_clip(path, 0, ["clip_id"])
    assert not ran.exists()


def test_pickles_in_scores_are_not_loaded(tmp_path):
    scores = Scores("val", "0123", 0, ("a", "b"), np.array(["p"]), np.array([0]), {"rgb": np.zeros((1, 2), np.float32)})
    write_scores(scores, str(tmp_path / "scores.parquet"))
    table, ran = pq.read_table(tmp_path / "scores.parquet"), tmp_path / "ran"
    for column in ("evil", "label", "flow_logits"):
        evil = table.drop([column]) if column in table.column_names else table
        pq.write_table(evil.append_column(column, hostile.pickled(ran, 1)), tmp_path / "evil.parquet")
        assert "an extension type, which may run code" in refused(read_scores, str(tmp_path / "evil.parquet"))
        assert not ran.exists()


def test_the_type_of_a_tensor_is_not_loaded_either(made, tmp_path, monkeypatch):
    """Ray can be told to unpickle the shape in the type itself, which opening the file would do."""
    monkeypatch.setattr("ray.data._internal.tensor_extensions.arrow._AUTOLOAD_CLOUDPICKLE_TENSOR_METADATA", True)
    ran, clips = tmp_path / "ran", made.clips
    field = pa.field(
        "evil",
        pa.list_(pa.int64()),
        metadata={
            "ARROW:extension:name": "ray.data.arrow_tensor",
            "ARROW:extension:metadata": cloudpickle.dumps(hostile.WritesAFile(ran)),
        },
    )
    evil = clips.append_column(field, pa.array([[1]] * len(clips), pa.list_(pa.int64())))
    pq.write_table(evil, f"{made.path}/_clips.parquet")
    assert "an extension type, which may run code" in refused(read_catalog, made.path)
    assert not ran.exists()


# ---------------------------------------------------------------- columns and types
@every_reader
@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda clips: clips.append_column("mine", pa.array(range(len(clips)))), "a column mine too many"),
        (lambda clips: clips.append_column("x" * 20_000, clips["label"]), f"a column {'x' * 119}… too many"),
        (lambda clips: clips.append_column("label", clips["label"]), "2 columns label"),
        (lambda clips: _retyped(clips, "label_id", pa.int64()), "label_id is int64, not int32"),
        (lambda clips: _retyped(clips, "label", pa.binary()), "label is binary, not string"),
        (lambda clips: _retyped(clips, "flow_bound", pa.float64()), "flow_bound is double, not float"),
    ],
)
def test_unknown_columns_and_other_types_are_refused_before_a_row_is_read(made, capsys, read, change, line):
    pq.write_table(change(made.clips), f"{made.path}/_clips.parquet")
    said = refused(read, made.path) + capsys.readouterr().err
    assert f"_clips.parquet: refused before a row is read: {line}" in said


def _retyped(clips: pa.Table, column: str, kind: pa.DataType) -> pa.Table:
    place = clips.column_names.index(column)
    return clips.set_column(place, column, clips[column].cast(kind))


@pytest.mark.parametrize(
    ("column", "value", "line"),
    [
        ("label_id", 2**31 - 1, "label_id is 2147483647, and must be from 0 to 99999"),
        ("label_id", -1, "label_id is -1, and must be"),
        ("num_frames", 2_000_000_000, "num_frames is 2000000000, and must be from 1 to 4e"),
        ("num_frames", 0, "num_frames is 0, and must be"),
        ("num_flow", 2_000_000_000, "num_flow is 2000000000"),
        ("height", 2**30, "height is 1073741824"),
        ("fps", 0, "fps is 0, and must be"),
        ("flow_bound", float("nan"), "flow_bound is not a number"),
        ("flow_bound", float("inf"), "flow_bound is inf"),
        ("flow_bytes", -1, "flow_bytes is -1"),
        ("video_bytes", 2**62, "video_bytes is 4611686018427387904"),
        ("row_group", 2**31 - 1, "row_group is 2147483647"),
        ("status", "fine", "status is 'fine', and must be ok or failed"),
        ("split", "../train", "split is '../train', which ingest calls nothing"),
        ("dataset", "a\x1b[2Jb", r"dataset is 'a\x1b[2Jb', which ingest calls nothing"),
        ("shard", "../val-00000.parquet", "shard is '../val-00000.parquet', which ingest calls nothing"),
        ("label", "x" * 70_000, "label has a text of more than 65536 bytes"),
        ("video_offset", 0, "video_offset is 0, and must be from 4"),
        ("flow_offset", 2**62, "flow_offset is 4611686018427387904"),
    ],
)
@pytest.mark.parametrize("read", CHECKING.values(), ids=CHECKING)
def test_numbers_and_names_that_no_ingest_writes_are_refused_in_one_line(made, capsys, read, column, value, line):
    rows = [{**row, column: value} if row["clip_id"] == "clip-1" else row for row in made.rows.values()]
    write_table(pa.Table.from_pylist(rows, CLIPS_SCHEMA), f"{made.path}/_clips.parquet")
    said = refused(read, made.path) + capsys.readouterr().err
    assert f"_clips.parquet: {line}" in said


def test_frames_of_too_many_pixels_are_refused(made):
    rows = [{**row, "height": 12_000, "width": 12_000} if row["status"] == "ok" else row for row in made.rows.values()]
    write_table(pa.Table.from_pylist(rows, CLIPS_SCHEMA), f"{made.path}/_clips.parquet")
    assert "a clip of 144000000 pixels a frame; 33554432 are allowed" in refused(read_catalog, made.path)


# ---------------------------------------------------------------- memory
def test_a_small_table_does_not_unpack_to_gigabytes(made):
    """One long text for every clip takes no more room in Parquet than for one."""
    rows = 30_000
    one = pa.Table.from_pylist([made.rows["clip-7"]], CLIPS_SCHEMA)
    many = pa.concat_tables([one] * rows).combine_chunks()
    place = many.column_names.index("error_message")
    text = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array(["x" * 60_000]))
    many = many.set_column(place, "error_message", text)
    pq.write_table(many, f"{made.path}/_clips.parquet", store_schema=False)
    size = Path(f"{made.path}/_clips.parquet").stat().st_size
    assert size < 200_000  # bytes; its texts are 1.8 GB
    assert "would unpack to far more than its size" in refused(read_catalog, made.path)


# ---------------------------------------------------------------- streams
@pytest.mark.parametrize("content", ["ffconcat", "png", "sdp"])
def test_a_cell_that_is_no_stored_stream_is_refused_by_inspect_and_by_the_loader(made, tmp_path, content):
    secret = Path(tmp_path / "secret.mp4")
    secret.write_bytes(made.rows["clip-1"]["video"])
    cell = {"ffconcat": hostile.ffconcat(secret), "png": hostile.huge_png(), "sdp": hostile.sdp()}[content]
    new = {"video": cell, "video_sha256": hashlib.sha256(cell).hexdigest(), "video_bytes": len(cell)}
    path = f"{made.path}/val-00000.parquet"
    write_table(pa.Table.from_pylist([{**made.rows["clip-1"], **new}], SHARD_SCHEMA), path)
    new |= offsets_in(path)[0]
    rows = [{**row, **new} if row["clip_id"] == "clip-1" else row for row in made.rows.values()]
    clips = pa.Table.from_pylist(rows, CLIPS_SCHEMA)
    write_manifest(made.path, clips, summarise(clips, {}))
    ((where, what),) = verify(made.path, write=lambda line: None).problems
    assert where == "clip-1"
    assert what.startswith("video: stored clip does not decode: not the MP4 that ingest writes")
    sampler = CentreSampler(ClipsConfig(frames=2, crop=16), 2)
    with pytest.raises(ValueError, match="not the MP4 that ingest writes"):
        sampler(ClipIndex.load(made.path, "val"), 0, "rgb")
