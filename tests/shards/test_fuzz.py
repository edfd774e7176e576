"""Thousands of damaged and made-up shard files and streams: each is refused in one line, or read as it was.

What the digest covers never changes in silence. FUZZ_CASES=3000 FUZZ_SEED=7 tries more and others; a failure names its
seed.
"""

import os
import random
import resource
import struct
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.clips.index import ClipIndex
from pipeline.shards import CodecError, ShardError, decode_flow, decode_video, verify
from pipeline.shards.codec import measure
from tests.shards import hostile
from tests.shards.sets import Made, without_offsets

CASES = int(os.environ.get("FUZZ_CASES", "300"))
SEED = int(os.environ.get("FUZZ_SEED", "0"))
MEMORY = 700_000  # kB that all rounds together may add to the process
Mutation = Callable[[bytearray, random.Random], bytes]


def flip(content: bytearray, rng: random.Random) -> bytes:
    for _ in range(rng.choice((1, 1, 2, 8))):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    return bytes(content)


def flip_at_the_end(content: bytearray, rng: random.Random) -> bytes:
    """The header of an MP4 and the footer of Parquet are there."""
    for _ in range(rng.choice((1, 1, 2, 8))):
        content[len(content) - 1 - rng.randrange(min(len(content), 2500))] ^= 1 << rng.randrange(8)
    return bytes(content)


def extreme(content: bytearray, rng: random.Random) -> bytes:
    """A number of four or eight bytes becomes an unusual one."""
    form = rng.choice((">I", "<I", ">Q", "<Q"))
    size = struct.calcsize(form)
    value = rng.choice((0, 1, 2**31 - 1, 2**31, 2**32 - 1, rng.getrandbits(31))) if size == 4 else rng.getrandbits(64)
    start = max(0, len(content) - rng.choice((2500, len(content))))
    struct.pack_into(form, content, rng.randrange(start, len(content) - size), value)
    return bytes(content)


def cut(content: bytearray, rng: random.Random) -> bytes:
    return bytes(content[: rng.randrange(len(content))])


def cut_out(content: bytearray, rng: random.Random) -> bytes:
    start = rng.randrange(len(content))
    return bytes(content[:start] + content[start + rng.choice((1, 4, 8, 100, 1000)) :])


def repeat(content: bytearray, rng: random.Random) -> bytes:
    start = rng.randrange(len(content))
    part = content[start : start + rng.choice((1, 4, 8, 100, 1000))]
    return bytes(content[:start] + part * rng.choice((2, 3)) + content[start + len(part) :])


def blank(content: bytearray, rng: random.Random) -> bytes:
    start, size = rng.randrange(len(content)), rng.choice((4, 16, 256))
    content[start : start + size] = rng.choice((b"\0", b"\xff")) * len(content[start : start + size])
    return bytes(content)


def exchange(content: bytearray, rng: random.Random) -> bytes:
    """Two parts change places."""
    size = rng.choice((4, 8, 64))
    one, other = sorted(rng.randrange(len(content) - size) for _ in range(2))
    content[one : one + size], content[other : other + size] = content[other : other + size], content[one : one + size]
    return bytes(content)


MUTATIONS: tuple[Mutation, ...] = (
    flip,
    flip_at_the_end,
    flip_at_the_end,
    extreme,
    cut,
    cut_out,
    repeat,
    blank,
    exchange,
)


def grown_since(before: int) -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before


def one_line(error: Exception) -> None:
    assert str(error)
    assert "\n" not in str(error)
    assert len(str(error)) < 1000


# ---------------------------------------------------------------- streams
@pytest.mark.parametrize("stream", ["video", "flow"])
def test_a_damaged_stream_is_refused_or_gives_the_frames_that_were_asked_for(original, stream):
    """H.264 has no checksums, so other bytes may give other frames, also of another size; `ClipIndex.blob` finds it."""
    content, frames = original.rows["clip-1"][stream], 12 if stream == "video" else 11
    channels = 3 if stream == "video" else 2
    decode, wanted = decode_video if stream == "video" else decode_flow, np.array([0, 7, frames - 1])
    whole = decode(content, wanted)
    before, outcomes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, Counter()
    for seed in range(SEED, SEED + CASES):
        rng = random.Random(seed)
        changed = rng.choice(MUTATIONS)(bytearray(content), rng)
        for read in (lambda given: decode(given, wanted), measure):
            try:
                found = read(changed)
            except CodecError as error:
                one_line(error)
                outcomes["refused"] += 1
                continue
            except Exception as error:
                raise AssertionError(f"seed {seed}: {error!r}") from error
            if isinstance(found, np.ndarray):
                assert (len(found), found.shape[3], found.ndim, found.dtype) == (3, channels, 4, np.uint8), seed
                outcomes["equal" if np.array_equal(found, whole) else "other frames"] += 1
                assert changed != content or np.array_equal(found, whole), seed
    assert outcomes["refused"] > CASES / 2, outcomes
    assert outcomes["equal"] > CASES / 50, outcomes
    assert grown_since(before) < MEMORY


# ---------------------------------------------------------------- files
def decisive(index: ClipIndex) -> tuple:
    arrays = (index.clip_ids, index.file, index.row_group, index.label, index.num_frames, index.num_flow, index.size)
    return (index.labels, index.files, index.digest, *(array.tolist() for array in arrays))


def outcome_of_index(made: Made, expected: tuple, seed: int) -> str:
    """Whether the set's index is refused or equal; anything else is an error of the test with this seed."""
    try:
        found = decisive(ClipIndex.load(made.path, "train"))
    except ShardError as error:
        one_line(error)
        return "refused"
    except Exception as error:
        raise AssertionError(f"seed {seed}: {error!r}") from error
    assert found == expected, seed
    return "equal"


def test_a_damaged_table_of_clips_is_refused_or_says_the_same(made):
    path = Path(made.path) / "_clips.parquet"
    content, index = path.read_bytes(), decisive(ClipIndex.load(made.path, "train"))
    before, outcomes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, Counter()
    for seed in range(SEED, SEED + CASES):
        rng = random.Random(seed)
        path.write_bytes(rng.choice(MUTATIONS)(bytearray(content), rng))
        outcomes[outcome_of_index(made, index, seed)] += 1
    assert outcomes["refused"] > CASES / 2, outcomes
    assert outcomes["equal"] > CASES / 50, outcomes
    assert grown_since(before) < MEMORY


def test_a_damaged_shard_is_refused_or_gives_the_same_bytes(made):
    path = Path(made.path) / "train-00000.parquet"
    content, index = path.read_bytes(), ClipIndex.load(made.path, "train")
    by_footer = without_offsets(index)
    before, outcomes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, Counter()
    for seed in range(SEED, SEED + CASES):
        rng = random.Random(seed)
        changed = rng.choice(MUTATIONS)(bytearray(content), rng)
        path.write_bytes(changed)
        os.utime(path, ns=(seed, seed))  # so that it is opened again
        for reader, row, stream in (
            (by_footer, 0, "rgb"),
            (by_footer, 1, "flow"),
            (index, 0, "flow"),
            (index, 1, "rgb"),
        ):
            try:
                blob = reader.blob(row, stream)
            except ShardError as error:
                one_line(error)
                outcomes["refused"] += 1
                continue
            except Exception as error:
                raise AssertionError(f"seed {seed}: {error!r}") from error
            assert blob == made.rows[str(index.clip_ids[row])]["video" if stream == "rgb" else "flow"], seed
            outcomes["equal"] += 1
        if not seed % 10:
            found = verify(made.path, write=lambda line: None)
            for where, what in found.problems:
                one_line(ValueError(f"{where}: {what}"))
            outcomes["problems" if found.problems else "sound"] += 1
    assert outcomes["refused"] > CASES, outcomes
    assert outcomes["equal"] > CASES / 2, outcomes
    assert outcomes["problems"] > CASES / 20, outcomes
    assert grown_since(before) < MEMORY


def made_up(rows: int, rng: random.Random, ran: Path) -> pa.Array:
    """A column of any type."""
    kinds: list[Callable[[], pa.Array]] = [
        lambda: pa.array([rng.getrandbits(30)] * rows, pa.int32()),
        lambda: pa.array([rng.getrandbits(60)] * rows, pa.int64()),
        lambda: pa.array([float("nan")] * rows, pa.float32()),
        lambda: pa.array([rng.choice((float("inf"), -1.0))] * rows, pa.float64()),
        lambda: pa.array([rng.choice(("", "x", "../x", "\x1b[2J", "x" * 20_000))] * rows),
        lambda: pa.array([b"\xff\xfe"] * rows, pa.binary()),
        lambda: pa.array([b"\xff"] * rows).view(pa.string()),
        lambda: pa.array([None] * rows, pa.string()),
        lambda: pa.array([True] * rows),
        lambda: pa.array([[1, 2]] * rows),
        lambda: pa.array([{"a": 1}] * rows),
        lambda: pa.array([0] * rows, pa.timestamp("us")),
        lambda: pa.nulls(rows),
        lambda: hostile.pickled(ran, rows),
    ]
    return rng.choice(kinds)()


def test_columns_of_any_type_are_refused_or_the_index_is_the_same(made, tmp_path):
    path, ran = f"{made.path}/_clips.parquet", tmp_path / "ran"
    index, names = decisive(ClipIndex.load(made.path, "train")), made.clips.column_names
    outcomes: Counter[str] = Counter()
    for seed in range(SEED, SEED + CASES):
        rng = random.Random(seed)
        clips = made.clips
        for _ in range(rng.choice((1, 2, 3))):
            name, column = rng.choice([*names, "other", "label"]), made_up(len(clips), rng, ran)
            there = clips.column_names.index(name) if name in clips.column_names and rng.random() < 0.9 else None
            clips = clips.append_column(name, column) if there is None else clips.set_column(there, name, column)
        pq.write_table(clips, path)
        outcomes[outcome_of_index(made, index, seed)] += 1
    assert not ran.exists()
    assert outcomes["refused"] > CASES / 2, outcomes
