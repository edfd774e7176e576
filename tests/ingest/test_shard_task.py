"""The task that makes a shard: what it does again after a kill, how many requests it needs, what it fetches ahead."""

import threading

import pyarrow as pa
import pytest

from pipeline.catalog.rows import CATALOG_SCHEMA
from pipeline.ingest import shard_task
from pipeline.ingest.ledger import HaltedError, Ledger
from pipeline.ingest.shard_task import ShardTask, fetched_ahead
from pipeline.ingest.staging import list_staging
from pipeline.ingest.units import Unit
from pipeline.ingest.videos import remote, video
from pipeline.shards.manifest import read_list
from pipeline.storage import exists, list_below, make_folder, read_bytes
from tests.ingest.test_attempts import Killed, Told

SHARD = "train-00000"


def clips(count: int, bad: int = 0) -> pa.Table:
    """So many clips of local files, of which the catalog says of the last ones that they cannot be used."""
    rows = [
        {"clip_id": f"k.{number}", "dataset": "k", "split": "train", "source": f"/{number}.mp4"}
        | ({"error_class": "BadTimes", "error_message": "no"} if number >= count - bad else {})
        for number in range(count)
    ]
    return pa.Table.from_pylist(rows, CATALOG_SCHEMA)


def convert(row: dict) -> dict:
    return {**row, "video": row["clip_id"].encode() * 100, "video_bytes": 100 * len(row["clip_id"])}


def killed_at(clip: str):
    def work(row: dict) -> dict:
        if row["clip_id"] == clip:
            raise Killed
        return convert(row)

    return work


def task(folder: str, work=convert, **changes) -> ShardTask:
    return ShardTask(folder, work, None, None, **changes)


def test_a_task_makes_its_shard_and_one_that_was_killed_leaves_nothing_else(folder, tmp_path):
    whole = Unit(SHARD, clips(6, bad=1), True, True)
    assert task(folder).do(whole, False, Told()) == 0
    expected = read_bytes(f"{folder}/{SHARD}.parquet")
    again = f"{folder}-again"
    make_folder(f"{again}/_staging")
    with pytest.raises(Killed):
        task(again, killed_at("k.3")).do(whole, False, Told())
    assert len(list_staging(again).files[SHARD]) == 3
    done = []
    assert task(again, lambda row: (done.append(row["clip_id"]), convert(row))[1]).do(whole, True, Told()) == 0
    assert done == ["k.3", "k.4"]  # what was staged is not done again
    assert read_bytes(f"{again}/{SHARD}.parquet") == expected
    assert [entry.name for entry in list_below(f"{again}/_staging")] == [f"{SHARD}.clips"]
    rows = read_list(f"{again}/_staging/{SHARD}.clips").to_pylist()
    assert [(row["clip_id"], row["status"]) for row in rows][4:] == [("k.4", "ok"), ("k.5", "failed")]
    assert task(again, killed_at("k.0")).do(whole, True, Told()) == 0  # killed after its list was written


@pytest.mark.parametrize("folder", ["store"], indirect=True)
def test_a_shard_in_a_store_takes_two_requests_a_clip(folder, store):
    assert task(folder).do(Unit(SHARD, clips(64), True, True), False, Told()) == 0
    assert store.took(PUT=64 + 2, GET=64, POST_delete=1)
    store.asked.clear()
    assert list_staging(folder).finished == {SHARD}
    assert store.counts == {"GET LIST": 1}


def test_a_listed_file_that_is_not_found_is_left_to_a_later_pass(folder):
    def unseen(row: dict) -> dict:
        failure = {"status": "failed", "error_class": "FileNotFound", "error_message": "nowhere"}
        return {**row, **failure} if row["clip_id"] == "k.1" else convert(row)

    whole = Unit(SHARD, clips(3), True, True)
    told = Told()
    assert task(folder, unseen).do(whole, False, told) == 1
    assert not exists(f"{folder}/{SHARD}.parquet")
    assert task(folder, unseen, listed=False).do(whole, True, Told()) == 0
    rows = read_list(f"{folder}/_staging/{SHARD}.clips").to_pylist()
    assert [row["error_class"] for row in rows] == [None, "FileNotFound", None]


def test_parts_are_joined_by_a_task_that_does_no_clips(folder):
    for part in (clips(6).slice(0, 4), clips(6).slice(4)):
        assert task(folder).do(Unit(SHARD, part, False, True), False, Told()) == 0
    assert task(folder, None).do(Unit(SHARD, clips(7), True, False), True, Told()) == 1  # one was never staged
    assert not exists(f"{folder}/{SHARD}.parquet")
    assert task(folder, None).do(Unit(SHARD, clips(6), True, False), True, Told()) == 0
    other = f"{folder}-other"
    make_folder(f"{other}/_staging")
    task(other).do(Unit(SHARD, clips(6), True, True), False, Told())
    assert read_bytes(f"{folder}/{SHARD}.parquet") == read_bytes(f"{other}/{SHARD}.parquet")


def test_a_halted_task_stops_before_its_next_clip(tmp_path):
    make_folder(f"{tmp_path}/_staging")

    class Halted(Told):
        def begin(self, clip: str) -> int:
            if list_staging(str(tmp_path)).files:
                raise HaltedError
            return super().begin(clip)

    assert task(str(tmp_path)).do(Unit(SHARD, clips(5), True, True), False, Halted()) == 4


def test_the_ledger_knows_repeated_tasks_and_tells_its_news_once():
    ledger = Ledger()
    assert [ledger.open("0 0"), ledger.open("0 0"), ledger.open("1 0")] == [False, True, False]
    zero = dict.fromkeys(("num_frames", "num_flow", "fetched", "fetch_s", "decode_s", "flow_s", "encode_s"), 0)
    good = {"clip_id": "a", "source": "/a", "status": "ok", "error_class": None, "provisional": False, **zero}
    lost = {**good, "clip_id": "b", "source": "/b", "status": "failed", "provisional": True}
    ledger.turn([("1", good), ("2", lost)])
    news = ledger.news()
    assert (dict(news.figures.clips), news.unseen) == ({("ok", ""): 1}, [("b", "/b")])
    assert (ledger.news().figures.clips.total(), ledger.turn([], "3")) == (0, (0, False))
    ledger.halt()
    assert ledger.turn([], "3")[1]


def test_videos_are_fetched_ahead_in_order_and_within_bounds(monkeypatch):
    monkeypatch.setattr(shard_task, "AHEAD_BYTES", 3000)
    begun: list[str] = []
    lock = threading.Lock()

    def fetch(one: dict) -> dict:
        with lock:
            begun.append(one["source"])
        return {**one, "content": bytes(1000)}

    rows = [{"clip_id": f"{number}.{clip}", "source": f"https://h/{number}"} for number in range(9) for clip in (0, 1)]
    ahead = []
    for number, fetched in enumerate(fetched_ahead(fetch, remote(rows))):
        assert fetched["source"] == f"https://h/{number}"
        ahead.append(len(begun) - number)
    assert begun.count("https://h/3") == 1
    assert sorted(begun) == sorted(f"https://h/{number}" for number in range(9))
    assert max(ahead) <= shard_task.AHEAD
    assert max(ahead[4:]) <= 4


def test_the_error_of_a_thread_that_fetches_is_raised():
    def fetch(one: dict) -> dict:
        raise KeyError(one["source"])

    with pytest.raises(KeyError, match="https://h"):
        next(fetched_ahead(fetch, [video("https://h", [])]))
