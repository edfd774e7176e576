"""Files put together from streams and row groups: byte for byte what Parquet's own writer makes of them."""

import io
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.object_store import TAIL
from pipeline.shards import SHARD_SCHEMA
from pipeline.shards.row_groups import Piece, offsets_in, write_groups, write_row
from pipeline.shards.tables import read_clip, read_table, write_table
from pipeline.shards.thrift_compact import read_struct, write_struct
from pipeline.storage import read_bytes

SIZES = [(1, 1), (52, 53), (63, 8000), (300_000, 70_000), (5 << 20, None), (None, 20), (None, None)]


def row(number: int, video: int | None, flow: int | None) -> dict:
    """A row of a shard; bytes that cannot be compressed stand for its streams."""
    rng = np.random.default_rng(number)
    scalars = {field.name: None for field in SHARD_SCHEMA} | {
        "clip_id": f"clip {number} ü", "status": "ok", "num_frames": 3 * number, "video_psnr": 40.5, "end_s": -1.5,
    }  # fmt: skip
    return scalars | {"video": video and rng.bytes(video), "flow": flow and rng.bytes(flow)}


def opened(made: dict) -> dict:
    """The same row with its streams in open files, read to some place."""
    files = {name: io.BytesIO(made[name]) for name in ("video", "flow") if made[name]}
    for file in files.values():
        file.seek(7)
    return made | files


def held(path: Path, offsets: dict, made: dict) -> dict:
    """What is at the stated places of a file."""
    content, places = path.read_bytes(), {name: offsets[f"{name}_offset"] for name in ("video", "flow")}
    return {name: place and content[place:][: len(made[name])] for name, place in places.items()}


@pytest.mark.parametrize(("video", "flow"), SIZES)
def test_a_row_has_the_bytes_that_the_writer_makes(tmp_path, video, flow):
    made = row(1, video, flow)
    write_table(pa.Table.from_pylist([made], schema=SHARD_SCHEMA), str(tmp_path / "expected"))
    write_row(opened(made), SHARD_SCHEMA, str(tmp_path / "made"))
    assert (tmp_path / "made").read_bytes() == (tmp_path / "expected").read_bytes()
    write_row(made, SHARD_SCHEMA, str(tmp_path / "of_bytes"))
    assert (tmp_path / "of_bytes").read_bytes() == (tmp_path / "expected").read_bytes()


def test_joined_rows_have_the_bytes_of_a_table_and_come_apart_again(tmp_path):
    rows = [row(number, *sizes) for number, sizes in enumerate(SIZES)]
    write_table(pa.Table.from_pylist(rows, schema=SHARD_SCHEMA), str(tmp_path / "expected"))
    parts = [str(tmp_path / str(number)) for number in range(len(rows))]
    for made, part in zip(rows, parts, strict=True):
        write_row(opened(made), SHARD_SCHEMA, part)
    offsets = write_groups([Piece(part) for part in parts], str(tmp_path / "joined"))
    assert (tmp_path / "joined").read_bytes() == (tmp_path / "expected").read_bytes()
    assert [held(tmp_path / "joined", one, made) for one, made in zip(offsets, rows, strict=True)] == [
        {name: made[name] for name in ("video", "flow")} for made in rows
    ]
    assert offsets_in(str(tmp_path / "joined")) == offsets
    assert pq.read_table(tmp_path / "joined").to_pylist() == pq.read_table(tmp_path / "expected").to_pylist()
    for number, part in enumerate(parts):
        assert read_clip(str(tmp_path / "joined"), number, ["video"])["video"] == rows[number]["video"]
        write_groups([Piece(str(tmp_path / "joined"), number)], str(tmp_path / "part"))
        assert (tmp_path / "part").read_bytes() == (tmp_path / str(number)).read_bytes(), part


def test_a_stream_in_a_temporary_file_is_written_in_pieces(tmp_path):
    made = row(1, 3 << 20, 20)
    with tempfile.TemporaryFile() as file:
        file.write(made["video"])
        write_row(made | {"video": file}, SHARD_SCHEMA, str(tmp_path / "made"))
    assert pq.read_table(tmp_path / "made")["video"][0].as_py() == made["video"]


def test_every_footer_is_written_as_it_was_read(tmp_path):
    table = pa.table({"a": pa.array([1, None, -3], pa.int64()), "b": [[True], None, [False, True]], "c": ["x"] * 3})
    pq.write_table(table, tmp_path / "t", write_page_index=True, store_schema=True, compression="zstd")
    wide = pa.table({f"c{number}": [0.5] for number in range(300)})
    pq.write_table(wide, tmp_path / "w")
    for name in ("t", "w"):
        data = (tmp_path / name).read_bytes()
        length = int.from_bytes(data[-8:-4], "little")
        footer = data[-8 - length : -8]
        fields, end = read_struct(footer)
        assert end == length
        assert write_struct(fields) == footer


@pytest.mark.parametrize("data", [b"\x1b\0", b"\x1d\0", b"\x15", b"\x18\xff"])
def test_bytes_that_are_no_footer_are_an_error(data):
    with pytest.raises((ValueError, IndexError)):
        read_struct(data)


def test_in_a_store_each_file_is_read_once_and_written_once(store, tmp_path):
    rows = [row(number, 3000, 70_000) for number in range(4)]
    write_table(pa.Table.from_pylist(rows, schema=SHARD_SCHEMA), str(tmp_path / "expected"))
    folder = store.address(tmp_path.name)
    for number, made in enumerate(rows):
        write_row(opened(made), SHARD_SCHEMA, f"{folder}/{number}")
    assert store.counts == {"PUT": 4}
    store.asked.clear()
    pieces = [Piece(f"{folder}/{number}") for number in range(4)]
    assert write_groups(pieces, f"{folder}/joined") == offsets_in(str(tmp_path / "expected"))
    assert read_bytes(f"{folder}/joined") == (tmp_path / "expected").read_bytes()
    assert store.counts == {"GET": 5, "PUT": 1}
    write_groups([Piece(f"{folder}/joined", 2)], f"{folder}/part")
    assert read_bytes(f"{folder}/part") == read_bytes(f"{folder}/2")


def test_of_a_large_file_in_a_store_only_the_footer_and_what_is_used_are_read(store, tmp_path):
    rows = [row(number, 2 * TAIL, 10) for number in range(3)]
    folder = store.address(tmp_path.name)
    write_table(pa.Table.from_pylist(rows, schema=SHARD_SCHEMA), f"{folder}/joined")
    store.asked.clear()
    write_groups([Piece(f"{folder}/joined", 1)], f"{folder}/part")
    assert store.counts == {"GET": 2, "PUT": 1}
    assert read_clip(f"{folder}/part", 0, ["video"])["video"] == rows[1]["video"]
    store.asked.clear()
    assert read_table(f"{folder}/joined", SHARD_SCHEMA, ["clip_id"])["clip_id"].to_pylist() == [
        made["clip_id"] for made in rows
    ]
    assert store.counts == {"GET": 4}  # the footer, and a column of three row groups that are far from each other
