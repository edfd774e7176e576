"""One result a clip: which member of the archives it is, whatever lies beside it and whatever ends first.

FUZZ_CASES=5000 FUZZ_SEED=7 pytest tests/ingest/test_candidates.py   goes on for longer, with other archives.
"""

import functools
import gzip
import hashlib
import io
import os
import random
import tarfile
import tempfile
import tracemalloc
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.catalog.rows import CATALOG_SCHEMA
from pipeline.config import FetchConfig, IngestConfig
from pipeline.ingest import clip_errors
from pipeline.ingest.candidates import Wanted, rank_of
from pipeline.ingest.layout import layout_of
from pipeline.ingest.remaining import Remaining
from pipeline.ingest.stages import make_convert
from pipeline.ingest.staging import STAGING, list_shard, list_staging, make_store, part_name, read_mark
from pipeline.ingest.videos import candidates, clips_of, video
from tests.ingest.mutations import mutated
from tests.ingest.videos import make_video

CASES = int(os.environ.get("FUZZ_CASES", "500"))
SEED = int(os.environ.get("FUZZ_SEED", "0"))
SETTINGS = FetchConfig(max_mib=1)
SMALL = IngestConfig(short_side=16, streams=("rgb",))
STEMS = ["one", "two", "three"]
SHARD = "train-00000"


def wanted(stem: str, rank: str | None = None) -> dict:
    return {
        "clip_id": f"k.{stem}", "dataset": "k", "split": "train", "label": "a", "label_id": 0,
        "source": f"archives:/tars#{stem}", "start_s": None, "end_s": None, "status": None, "error_class": None,
        "error_message": None, "rank": rank, "shard": SHARD,
    }  # fmt: skip


def wanted_rows(rows: Iterable[dict]) -> Wanted:
    """The clips in the form in which they come to the tasks that read archives."""
    strings = {"label_id": pa.int32(), "start_s": pa.float64(), "end_s": pa.float64()}
    schema = pa.schema([pa.field(name, strings.get(name, pa.string())) for name in wanted("any")])
    return Wanted(pa.Table.from_pylist(list(rows), schema))


def test_ranks_sort_like_the_order_of_candidates():
    ranks = [rank_of(archive, position) for archive in (0, 9, 10, 650_000) for position in (0, 9, 10, 10_000_000)]
    assert sorted(ranks) == ranks
    assert len(set(map(len, ranks))) == 1


def test_rows_are_found_by_their_stem():
    rows = wanted_rows([wanted(stem) for stem in [*STEMS, "ä b", "x.y"]])
    assert len(rows) == 5
    for stem in [*STEMS, "ä b", "x.y"]:
        assert stem in rows
        assert rows.row(rows.number(stem)) == wanted(stem)
    assert not any(stem in rows for stem in ("", "four", "\ufffd", "k.one"))
    with pytest.raises(KeyError, match="four"):
        rows.number("four")


def test_the_list_of_wanted_clips_costs_a_process_that_reads_an_archive_eight_bytes_a_clip(tmp_path):
    """The rows arrive as buffers that processes share; finding and reading one does not unpack the others."""
    rows = wanted_rows([wanted(f"{number:011d}_000010_000020") for number in range(100_000)])
    with tarfile.open(tmp_path / "a.tar", "w") as made:
        for number in range(0, 100_000, 1000):
            made.addfile(tarfile.TarInfo(f"{number:011d}_000010_000020.mp4"))
    tracemalloc.start()
    found = list(candidates({"source": f"{tmp_path}/a.tar", "number": 0}, rows, SETTINGS, str(tmp_path)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found) == 100
    assert peak < 5e6  # 0.8 MB, the archive's buffers and these hundred rows


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder in memory where there is one, since thousands of files are flushed to the disk."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as made:  # noqa: S108
        yield Path(made)


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> list[bytes]:
    """Small clips that differ."""
    folder = tmp_path_factory.mktemp("good")
    grey = [np.full((4, 16, 16, 3), level, np.uint8) for level in (20, 120, 220)]
    paths = [
        make_video(folder / f"{n}.mp4", frames=4, size=(16, 16), arrays=list(array)) for n, array in enumerate(grey)
    ]
    return [path.read_bytes() for path in paths]


def tar(path: Path, members: list[tuple[str, bytes]], zipped: bool = False) -> None:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as made:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            if name.startswith("link"):
                info.type, info.linkname, info.size, info.name = tarfile.SYMTYPE, "/etc/passwd", 0, name[4:]
            made.addfile(info, io.BytesIO(data))
    path.write_bytes(gzip.compress(content.getvalue()) if zipped else content.getvalue())


MADE: dict[bytes | None, dict] = {}  # what the stages have made of a content, which is the same every time


def through_the_stages(row: dict, folder: str) -> dict:
    """The status row of a candidate, after the real stages."""
    content = row.pop("content")
    if row["status"] != "failed":
        if content not in MADE:
            ended = make_convert(SMALL)({**row, "content": content})
            MADE[content] = {key: value for key, value in ended.items() if row.get(key) != value}
        row = {**row, **MADE[content]}
    return make_store(folder)(row)


class Case:
    """A set of archives, whose candidates pass the real stages in an order that is drawn.

    Attributes:
        shards: folder of the set.
        ended: status rows of candidates.
        broken: number of archives that broke off.
    """

    def __init__(self, folder: Path, archives: list[Path], stems: list[str], shuffled: random.Random) -> None:
        folder.mkdir()
        self.shards, self.ended, self.broken = str(folder), [], 0
        (folder / STAGING / SHARD).mkdir(parents=True)
        rows, videos = wanted_rows([wanted(stem) for stem in stems]), []
        for number, archive in enumerate(archives):
            listed = {"source": str(archive), "number": number}
            try:
                for row, content in candidates(listed, rows, SETTINGS, f"{folder}/{STAGING}"):
                    videos.append(video(row["source"], [row], content))
            except clip_errors.ClipError:
                self.broken += 1
        shuffled.shuffle(videos)
        for one in videos:
            self.ended += [through_the_stages(row, f"{folder}/{STAGING}/{SHARD}") for row in clips_of(one)]

    @functools.cached_property
    def results(self) -> dict[str, str]:
        """Stem to the digest of the source of the clip, or to the class and member of its failure."""
        first, there = {}, list_shard(self.shards, SHARD)
        for row in sorted(self.ended, key=lambda row: row["rank"], reverse=True):
            if row["status"] == "failed":
                first[row["clip_id"][2:]] = f"{row['error_class']} {row['source'].rpartition('#')[2]}"
        for stem in STEMS:
            if part := there.get(part_name(f"k.{stem}")):
                file = pq.ParquetFile(f"{self.shards}/{STAGING}/{SHARD}/{part}", pre_buffer=False)
                first[stem] = file.read(["source_sha256"], use_threads=False)["source_sha256"][0].as_py()
        return first


def expected(archives: list[list[tuple[str, bytes]]], good: list[bytes]) -> dict[str, str]:
    """What the rule says, in the simplest words: the first good member in the order, else the first broken one."""
    results: dict[str, str] = {}
    for want_good in (False, True):
        for stem in STEMS:
            for archive in reversed(archives):
                for name, data in reversed(archive):
                    is_video = name.rpartition("/")[2] in (f"{stem}.mp4", f"{stem}.AVI", f"link{stem}.mp4")
                    is_good = data in good and not name.startswith("link")
                    if is_video and is_good and want_good:
                        results[stem] = hashlib.sha256(data).hexdigest()
                    elif is_video and not is_good and not want_good:
                        results[stem] = name
    return results


def drawn(rng: random.Random, good: list[bytes]) -> list[tuple[str, bytes]]:
    """Members in a drawn order: good ones, broken ones, empty ones, links and sidecars of three clips."""
    broken = [b"", b"no video", good[0][:200], good[1][:-300]]
    members = []
    for _ in range(rng.randrange(1, 9)):
        stem, kind = rng.choice(STEMS), rng.random()
        if kind < 0.35:
            members.append((f"x/{stem}.{rng.choice(['mp4', 'AVI'])}", rng.choice(good)))
        elif kind < 0.65:
            members.append((f"{stem}.mp4", rng.choice(broken)))
        elif kind < 0.7:
            members.append((f"link{stem}.mp4", b""))
        else:
            members.append((f"{stem}.{rng.choice(['json', 'txt', 'srt', 'm4a'])}", rng.choice([*good, *broken])))
    return members


@pytest.mark.slow
def test_the_winner_is_the_same_within_and_between_archives_for_any_order(good, folder):
    for case in range(CASES // 5):
        rng = random.Random(f"{SEED} {case}")
        members = drawn(rng, good)
        cuts = sorted(rng.choices(range(len(members) + 1), k=rng.randrange(3)))
        between = [members[a:b] for a, b in zip([0, *cuts], [*cuts, len(members)], strict=True)]
        seen = []
        for number, archives in enumerate(([members], between, between)):
            paths = [folder / f"{case}-{number}-{part}.tar" for part in range(len(archives))]
            for path, content in zip(paths, archives, strict=True):
                tar(path, content, zipped=rng.random() < 0.3)
            made = Case(folder / f"{case}-{number}", paths, STEMS, rng)
            seen.append(made.results)
        rule = expected([members], good)
        for results in seen:
            assert set(results) == set(rule), (case, members)
            for stem, result in results.items():
                if " " in result:  # a failure names the first candidate
                    assert result.split()[1] == rule[stem].removeprefix("link"), (case, members)
                    assert issubclass(getattr(clip_errors, result.split()[0]), clip_errors.ClipError)
                else:
                    assert result == rule[stem], (case, members)
        assert seen[0] == seen[1] == seen[2], (case, members)


@pytest.mark.slow
def test_damaged_archives_with_duplicates_end_in_whole_clips_or_named_errors(good, folder):
    whole, outcomes = {hashlib.sha256(data).hexdigest() for data in good}, []
    for case in range(CASES):
        rng = random.Random(f"{SEED} {case}")
        lists = [drawn(rng, good) for _ in range(2)]
        paths = [folder / f"{case}-{number}.tar" for number in range(2)]
        for path, members in zip(paths, lists, strict=True):
            tar(path, members, zipped=case % 4 == 0)
        content, how = mutated([path.read_bytes() for path in paths], SEED, case)
        paths[case % 2].write_bytes(content)
        made = [Case(folder / f"{case}-{number}", paths, STEMS, rng) for number in range(1 + (case % 5 == 0))]
        for one in made:
            assert one.results == made[0].results, (case, how)
        for result in made[0].results.values():
            outcomes.append(result.partition(" ")[0] if " " in result else "ok")
            if " " in result:
                assert issubclass(getattr(clip_errors, outcomes[-1]), clip_errors.ClipError), (case, how, result)
        untouched = expected([lists[0] if case % 2 else [], lists[1] if not case % 2 else []], good)
        for stem, result in untouched.items():
            if result in whole:  # the other archive was left alone, so the clip is good, whichever member it is
                assert " " not in made[0].results[stem], (case, how)
    assert outcomes.count("ok") > CASES / 2
    assert len(set(outcomes)) > 3


def test_200_members_of_one_name_are_one_clip_and_are_decoded_no_more_than_needed(good, tmp_path):
    rng = random.Random(0)
    tar(tmp_path / "copies.tar", [("one.mp4", good[number % 3]) for number in range(200)])
    for number in range(3):
        made = Case(tmp_path / f"copies{number}", [tmp_path / "copies.tar"], ["one"], rng)
        assert made.results == {"one": hashlib.sha256(good[0]).hexdigest()}
    rows = wanted_rows([wanted("one")])
    (tmp_path / "ordered" / STAGING / SHARD).mkdir(parents=True)
    folder, decoded = f"{tmp_path}/ordered/{STAGING}", 0
    for row, content in candidates({"source": f"{tmp_path}/copies.tar", "number": 0}, rows, SETTINGS, folder):
        for clip in clips_of(video(row["source"], [row], content)):
            decoded += 1
            through_the_stages(clip, f"{folder}/{SHARD}")
    assert decoded == 1
    tar(tmp_path / "bad.tar", [("one.mp4", b"no video")] * 199 + [("one.mp4", good[1])])
    made = Case(tmp_path / "bad", [tmp_path / "bad.tar"], ["one"], rng)
    assert made.results == {"one": hashlib.sha256(good[1]).hexdigest()}
    assert len(list((tmp_path / "bad" / STAGING / SHARD).iterdir())) == 1  # of 199 failures none is kept on the disk


def test_a_killed_run_ends_with_the_winner_of_one_that_was_not(good, tmp_path):
    """A candidate of a later archive was staged when the run was killed: the earlier archives may still hold better."""
    for number, members in enumerate(([("one.mp4", good[0])], [("one.mp4", good[1])])):
        tar(tmp_path / f"{number}.tar", members)
    (tmp_path / STAGING / SHARD).mkdir(parents=True)
    folder = f"{tmp_path}/{STAGING}"

    def run(archives: list[int], rows: list[dict]) -> int:
        ended = 0
        for number in archives:
            listed = {"source": f"{tmp_path}/{number}.tar", "number": number}
            for row, content in candidates(listed, wanted_rows(rows), SETTINGS, folder):
                for clip in clips_of(video(row["source"], [row], content)):
                    ended += 1
                    through_the_stages(clip, f"{folder}/{SHARD}")
        return ended

    run([1], [wanted("one")])
    clips = pa.Table.from_pylist([wanted("one")], CATALOG_SCHEMA)

    def remaining() -> Remaining:
        return Remaining(layout_of(clips, 64), list_staging(str(tmp_path)))

    assert (remaining().todo.tolist(), remaining().ranks) == ([True], {0: rank_of(1, 0)})
    assert run([1, 0], [wanted("one", rank_of(1, 0))]) == 1  # the staged candidate is not decoded again
    part = list_shard(str(tmp_path), SHARD)[part_name("k.one")]
    assert part == part_name("k.one", rank_of(0, 0))
    (tmp_path / STAGING / read_mark("/tars")).touch()
    assert (remaining().todo.tolist(), remaining().ranks) == ([False], {})
