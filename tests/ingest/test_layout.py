"""Which clips go into which shard, and how the shards are cut into rows of Ray Data."""

import hashlib
import random
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest

from pipeline.catalog.rows import CATALOG_SCHEMA, clip_id
from pipeline.ingest.layout import layout_of
from pipeline.ingest.staging import part_name
from pipeline.ingest.units import cut, unpacked


def catalog(videos: dict[str, list[int]], archived: int = 0) -> pa.Table:
    """For each split, videos with so many clips each; of every `archived`-th video the clips are in archives."""
    rows = []
    for split, counts in videos.items():
        for number, count in enumerate(counts):
            name = hashlib.sha256(f"{split} {number}".encode()).hexdigest()[:11]
            place = "archives:/tars#" if archived and number % archived == 0 else "/videos/"
            for start in range(count):
                name_of_clip = clip_id("k", name, start, start + 1)
                rows.append({"clip_id": name_of_clip, "dataset": "k", "split": split, "source": place + name_of_clip})
    random.Random(0).shuffle(rows)
    return pa.Table.from_pylist(rows, CATALOG_SCHEMA)


def contents(layout) -> dict[str, list[str]]:
    return {name: layout.of(number)["clip_id"].to_pylist() for number, name in enumerate(layout.names)}


def test_clips_of_one_video_each_are_in_the_order_of_their_digests():
    clips = catalog({"train": [1] * 25, "val": [1] * 10})
    expected = {}
    for split in ("train", "val"):
        ids = [row["clip_id"] for row in clips.to_pylist() if row["split"] == split]
        ids.sort(key=part_name)
        expected |= {f"{split}-{at // 10:05d}": ids[at : at + 10] for at in range(0, len(ids), 10)}
    assert contents(layout_of(clips, 10)) == expected


@pytest.mark.parametrize("seed", range(5))
def test_a_video_is_in_one_shard_unless_it_is_larger_than_one(seed):
    rng = random.Random(seed)
    clips = catalog({"train": [rng.choice([1, 1, 2, 3, 5, 23]) for _ in range(60)], "val": [rng.randrange(1, 4)] * 9})
    layout = layout_of(clips, 10)
    found = contents(layout)
    assert sorted(name for names in found.values() for name in names) == sorted(clips["clip_id"].to_pylist())
    assert all(0 < len(names) <= 10 for names in found.values())
    shards: dict[str, set[str]] = {}
    for shard, names in found.items():
        for name in names:
            shards.setdefault(name.split(".")[1], set()).add(shard)
    sizes = Counter(name.split(".")[1] for name in clips["clip_id"].to_pylist())
    assert all(len(shards[video]) == -(-sizes[video] // 10) for video in sizes)
    assert contents(layout_of(clips.take(rng.sample(range(len(clips)), len(clips))), 10)) == found


@pytest.mark.parametrize(("slots", "archived"), [(1, 0), (3, 0), (40, 0), (2, 7)])
def test_rows_hold_each_clip_once_and_end_small(slots, archived):
    layout = layout_of(catalog({"train": [1, 2] * 300, "val": [4] * 30}, archived), 20)
    wanted = ~layout.archived()
    rows = cut(layout, range(len(layout.names)), wanted, [1], slots)
    assert [row["number"] for row in rows] == list(range(len(rows)))
    units = [unit for row in rows for unit in unpacked(row)]
    names = [name for unit in units for name in unit.clips["clip_id"].to_pylist()]
    assert sorted(names) == sorted(layout.clips.filter(pa.array(wanted))["clip_id"].to_pylist())
    expected = contents(layout)
    for unit in units:
        assert unit.fresh == (unit.shard != layout.names[1])
        assert unit.clips["clip_id"].to_pylist() == expected[unit.shard] or not unit.whole
    sizes = [sum(len(unit.clips) for unit in unpacked(row)) for row in rows]
    assert len(sizes) >= slots
    assert max(sizes[-slots:]) <= 64
    if not archived:
        assert any(unit.whole for unit in units) == (slots < 40)


def test_a_tenth_of_kinetics_700_is_hundreds_of_rows():
    """A row costs the driver some 20 ms: so that is at most 0.2 ms a clip, also of ten times as many on more cores."""
    layout = layout_of(catalog({"train": [1] * 65_000}), 64)
    for slots, most in ((2, 150), (100, 700)):
        assert len(cut(layout, range(len(layout.names)), np.ones(len(layout), bool), [], slots)) < most
