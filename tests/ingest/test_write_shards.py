"""The joining of staged clips: which files and lists come out of it, and how many requests a store needs for it."""

import hashlib

import pyarrow as pa
import pytest

from pipeline.ingest.staging import STAGING, list_of, part_name
from pipeline.ingest.write_shards import write_shard
from pipeline.shards.manifest import read_list
from pipeline.shards.row_groups import write_row
from pipeline.shards.schema import SHARD_SCHEMA
from pipeline.storage import exists, list_below, read_bytes

CLIPS = 64


def stage(folder: str, number: int, status: str = "ok", flow: bool = True) -> dict:
    row = {field.name: None for field in SHARD_SCHEMA} | {"clip_id": f"clip-{number}", "status": status}
    if status == "ok":
        row |= {"video": b"%05d" % number * 1000, "flow": b"flow of %05d" % number * 500 if flow else None}
        for stream in ("video", "flow") if flow else ("video",):
            row |= {f"{stream}_bytes": len(row[stream]), f"{stream}_sha256": hashlib.sha256(row[stream]).hexdigest()}
    write_row(row, SHARD_SCHEMA, f"{folder}/{STAGING}/train-00000/{part_of(row)}")
    return row


def part_of(row: dict) -> str:
    return part_name(row["clip_id"], failed=row["status"] == "failed")


def parts(rows: list[dict]) -> list[str]:
    return [part_of(row) for row in rows]


def test_staged_clips_become_a_shard_and_its_list_and_are_gone(folder):
    rows = [stage(folder, number, "failed" if number % 3 == 1 else "ok", flow=number % 2 == 0) for number in range(8)]
    write_shard(folder, "train-00000", parts(rows))
    listed = read_list(list_of(folder, "train-00000")).to_pylist()
    assert [row["clip_id"] for row in listed] == [row["clip_id"] for row in rows]
    good = [row for row in listed if row["status"] == "ok"]
    assert [row["row_group"] for row in good] == list(range(5))
    assert {row["shard"] for row in good} == {"train-00000.parquet"}
    shard = read_bytes(f"{folder}/train-00000.parquet")
    for row, made in zip(listed, rows, strict=True):
        for stream in ("video", "flow"):
            if (place := row[f"{stream}_offset"]) is None:
                assert made[stream] is None
            else:
                assert shard[place:][: row[f"{stream}_bytes"]] == made[stream]
    assert {entry.name for entry in list_below(folder)} == {f"{STAGING}/train-00000.clips", "train-00000.parquet"}


def test_a_shard_of_failed_clips_has_a_list_and_no_file(folder):
    rows = [stage(folder, 0)]
    write_shard(folder, "train-00000", parts(rows))
    rows = [stage(folder, number, "failed") for number in range(3)]
    write_shard(folder, "train-00000", parts(rows))
    assert not exists(f"{folder}/train-00000.parquet")
    assert read_list(list_of(folder, "train-00000"))["shard"].null_count == 3


@pytest.mark.parametrize("folder", ["store"], indirect=True)
def test_a_shard_of_64_clips_needs_64_reads_two_writes_and_one_deletion(folder, store):
    rows = [stage(folder, number) for number in range(CLIPS)]
    assert store.took(PUT=CLIPS)
    store.asked.clear()
    write_shard(folder, "train-00000", parts(rows))
    assert store.took(GET=CLIPS, PUT=2, POST_delete=1)
    store.asked.clear()
    assert isinstance(read_list(list_of(folder, "train-00000")), pa.Table)
    assert store.counts == {"GET": 1}
