"""The manifest: what should be there, what is, what failed, and the identity of it all."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from pipeline.clips.index import ClipIndex
from pipeline.shards import (
    CLIPS_SCHEMA,
    FORMAT_VERSION,
    ShardError,
    digest,
    read_catalog,
    read_clips,
    read_manifest,
    verify,
)
from pipeline.shards.digest import DECISIVE, digest_of_format_2
from pipeline.shards.manifest import summarise, write_manifest
from pipeline.shards.summary import inspected
from pipeline.shards.tables import write_table
from tests.shards.sets import LABELS, make_set


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return make_set(tmp_path_factory.mktemp("original"))


@pytest.fixture
def made(original, tmp_path):
    """A copy that a test may spoil."""
    shutil.copytree(original.path, tmp_path / "set")
    original_path, original.path = original.path, str(tmp_path / "set")
    yield original
    original.path = original_path


# ---------------------------------------------------------------- counts
def test_splits_count_what_was_expected_what_is_there_and_what_failed_by_class(original):
    splits = read_manifest(original.path)["splits"]
    assert list(splits) == ["extra", "test", "train", "val"]
    assert {name: (split["expected"], split["present"]) for name, split in splits.items()} == {
        "train": (5, 2),
        "val": (1, 1),
        "test": (1, 1),
        "extra": (1, 0),
    }
    assert splits["train"]["failed"] == {"DecodeError": 1, "ZeroByte": 2}
    assert splits["val"]["failed"] == {}
    assert splits["train"]["frames"] == 9 + 12
    assert splits["extra"]["frames"] == 0


def test_labels_are_counted_in_each_split(original):
    assert read_manifest(original.path)["splits"]["train"]["labels"] == {
        "pouring milk": {"expected": 2, "present": 1},
        "stirring": {"expected": 1, "present": 1},
        "whisking": {"expected": 2, "present": 0},
    }


def test_labels_are_in_the_order_of_their_numbers(original):
    assert read_manifest(original.path)["labels"] == ["pouring milk", "stirring", "whisking"]


def test_a_label_stands_at_its_number_even_where_classes_are_missing(original):
    """A network has as many outputs as there are labels: label 2 of two would be none of them."""
    cut = original.clips.filter(pc.not_equal(original.clips["label_id"].fill_null(-1), 1))
    assert summarise(cut, {})["labels"][2] == "whisking"


def test_classes_of_the_catalog_keep_their_names_also_where_no_clip_was_taken(made):
    cut = made.clips.filter(pc.equal(made.clips["label_id"].fill_null(-1), 1))
    names = ["pouring milk", "stirring", "whisking", "yawning"]
    manifest = summarise(cut, {}, classes=names)
    assert manifest["labels"] == names
    write_manifest(made.path, cut, manifest)
    problems = [what for where, what in verify(made.path).problems if where == "_manifest.json"]
    assert problems == []
    write_manifest(made.path, cut, {**manifest, "labels": ["a", "b", "c"]})
    changed, renamed = [what for where, what in verify(made.path).problems if where == "_manifest.json"]
    assert changed.startswith("digest is ")
    assert renamed == "labels is ['a', 'b', 'c'], _clips.parquet gives ['a', 'stirring', 'c']"


def test_the_manifest_says_what_the_set_is_and_how_it_was_made(original):
    manifest = read_manifest(original.path)
    assert manifest["format_version"] == FORMAT_VERSION
    assert manifest["dataset"] == "by_hand"
    assert manifest["digest"] == digest(original.clips, LABELS)
    assert manifest["plan"] == {"dataset": "by_hand"}
    assert manifest["rate"] == {"clips": 8, "seconds": 12.5, "stages": {}}
    sizes = [row for row in original.rows.values() if row["status"] == "ok"]
    assert manifest["bytes"] == {
        "video": sum(len(row["video"]) for row in sizes),
        "flow": sum(len(row["flow"]) for row in sizes),
    }


def test_a_set_of_nothing_has_a_manifest_too():
    manifest = summarise(CLIPS_SCHEMA.empty_table(), {})
    assert (manifest["splits"], manifest["labels"], manifest["dataset"]) == ({}, [], None)
    assert manifest["bytes"] == {"video": 0, "flow": 0}


def test_duplicates_are_grouped_as_a_plain_loop_would(original):
    """Clips with the same packets are counted in groups, within splits and across, and the first groups are named."""
    rng = np.random.default_rng(0)
    packets = [f"{number:064x}" for number in rng.integers(0, 2000, 3000)]
    packets[:100] = [None] * 100
    good = [{**original.rows["clip-0"], "clip_id": f"c-{n:04d}", "packets_sha256": p} for n, p in enumerate(packets)]
    for row in good:
        row |= {"split": "val" if rng.random() < 0.2 else "train", "status": "failed" if rng.random() < 0.1 else "ok"}
    groups: dict[str, list[dict]] = {}
    for row in good:
        if row["status"] == "ok" and row["packets_sha256"] is not None:
            groups.setdefault(row["packets_sha256"], []).append(row)
    same = [members for _, members in sorted(groups.items()) if len(members) > 1]
    across = [len({row["split"] for row in members}) > 1 for members in same]
    assert len(set(across)) == 2
    expected = {
        name: [[row["clip_id"] for row in members] for members, other in zip(same, across, strict=True) if other is way]
        for name, way in (("within_splits", False), ("across_splits", True))
    }
    found = summarise(pa.Table.from_pylist(good, CLIPS_SCHEMA), {})["duplicates"]
    assert found == {name: {"groups": len(of), "examples": of[:10]} for name, of in expected.items()}


def test_a_hundred_thousand_groups_of_duplicates_are_no_more_work_than_one(original):
    """Each group was compared with every other one once, which took minutes."""
    count = 200_000
    clips = original.clips.filter(pc.field("clip_id") == "clip-0").take([0] * count)
    ids = pa.array([f"c-{number:06d}" for number in range(count)])
    keys = pa.array([f"{number // 2:064x}" for number in range(count)])
    for name, column in (("clip_id", ids), ("packets_sha256", keys)):
        clips = clips.set_column(clips.schema.get_field_index(name), name, column)
    found = summarise(clips, {})["duplicates"]
    assert (found["within_splits"]["groups"], found["across_splits"]["groups"]) == (count // 2, 0)
    assert found["within_splits"]["examples"][1] == ["c-000002", "c-000003"]


# ---------------------------------------------------------------- digest
def test_the_digest_does_not_depend_on_the_order_of_rows(original):
    rng = np.random.default_rng(0)
    for _ in range(5):
        assert digest(original.clips.take(rng.permutation(len(original.clips))), LABELS) == digest(
            original.clips, LABELS
        )


def test_the_digest_does_not_depend_on_where_the_clips_lie(original):
    rows = [{**row, "shard": "other.parquet", "row_group": 9, "source": "/x"} for row in original.rows.values()]
    assert digest(pa.Table.from_pylist(rows, CLIPS_SCHEMA), LABELS) == digest(original.clips, LABELS)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("clip_id", "clip-00"),
        ("split", "test"),
        ("dataset", "other"),
        ("label", "stirring"),
        ("label_id", 1),
        ("num_frames", 8),
        ("height", 30),
        ("width", 40),
        ("fps", 24),
        ("video_codec", "other"),
        ("video_pixel_format", "yuv444p"),
        ("num_flow", 7),
        ("flow_codec", "other"),
        ("flow_bound", 10.0),
        ("flow_bound", None),
        ("status", "failed"),
        ("error_class", "ZeroByte"),
        ("video_sha256", "0" * 64),
        ("flow_sha256", None),
    ],
)
def test_the_digest_changes_with_whatever_a_training_would_notice(original, column, value):
    rows = [{**row, column: value} if row["clip_id"] == "clip-0" else row for row in original.rows.values()]
    assert digest(pa.Table.from_pylist(rows, CLIPS_SCHEMA), LABELS) != digest(original.clips, LABELS)


def test_the_digest_changes_with_a_clip_more_or_less(original):
    assert digest(original.clips.slice(1), LABELS) != digest(original.clips, LABELS)
    assert digest(pa.concat_tables([original.clips, original.clips.slice(0, 1)]), LABELS) != digest(
        original.clips, LABELS
    )


def test_the_digest_covers_the_names_and_the_order_of_all_classes(original):
    """Also of those that no clip has: a network has an output for each of them."""
    known = digest(original.clips, LABELS)
    assert digest(original.clips, [*LABELS, "yawning"]) != known
    assert digest(original.clips, [LABELS[1], LABELS[0], LABELS[2]]) != known
    assert digest(original.clips, [*LABELS[:2], "w", "hisking"]) != digest(original.clips, [*LABELS[:2], "whisking"])


def test_values_do_not_flow_into_each_other(original):
    """A tab, a line break or a colon in a name does not make another table look the same."""
    seen = set()
    for label, error in [
        ("a", "b"),
        ("a 1:b", None),
        ("a\t1:b", ""),
        (None, "a 1:b"),
        ("", "a"),
        ("-", None),
        (None, "-"),
    ]:
        rows = [{**original.rows["clip-7"], "label": label, "error_class": error}]
        seen.add(digest(pa.Table.from_pylist(rows, CLIPS_SCHEMA), ()))
    assert len(seen) == 7


def test_the_digest_is_the_same_in_every_process_and_stays_what_it_is(original, tmp_path):
    """Python orders a set of texts differently in each process."""
    pq.write_table(original.clips.select(list(DECISIVE)), tmp_path / "clips.parquet")
    script = (
        "import pyarrow.parquet as pq; from pipeline.shards import digest; "
        f"print(digest(pq.read_table({str(tmp_path / 'clips.parquet')!r}), {LABELS!r}))"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", script], check=True, capture_output=True, text=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert found == {f"{digest(original.clips, LABELS)}\n"}
    rows = [{"clip_id": "a.b", "dataset": "a", "split": "train", "label": "x", "label_id": 0, "status": "ok"}]
    written = f"shards of format 3: 1 clips, 1 classes\n1:x\n3:a.b 1:a 5:train 1:x 1:0 2:ok{' -' * 12}\n"
    assert digest(pa.Table.from_pylist(rows, CLIPS_SCHEMA), ["x"]) == hashlib.sha256(written.encode()).hexdigest()[:16]


# ---------------------------------------------------------------- numbers of classes
def permuted(made) -> pa.Table:
    """The table of clips with the numbers of two classes exchanged."""
    other = {0: 1, 1: 0}
    rows = [{**row, "label_id": other.get(row["label_id"], row["label_id"])} for row in made.rows.values()]
    return pa.Table.from_pylist(rows, CLIPS_SCHEMA)


def test_exchanged_numbers_of_classes_are_found_by_verification_and_by_training(made):
    write_table(permuted(made), f"{made.path}/_clips.parquet")
    found = [what for where, what in verify(made.path).problems if where == "_manifest.json"]
    assert [what.split(" is ")[0] for what in found] == ["digest", "labels"]
    with pytest.raises(ShardError, match=r"_manifest\.json is not that of _clips\.parquet: labels is .*; copy the set"):
        ClipIndex.load(made.path, "train")


def test_another_length_of_a_clip_is_found_by_training(made):
    rows = [{**row, "num_frames": 8} if row["clip_id"] == "clip-0" else row for row in made.rows.values()]
    write_table(pa.Table.from_pylist(rows, CLIPS_SCHEMA), f"{made.path}/_clips.parquet")
    with pytest.raises(ShardError, match=r"_manifest\.json is not that of _clips\.parquet: digest is "):
        ClipIndex.load(made.path, "val")


@pytest.mark.parametrize("change", [{"label": None}, {"label_id": None}, {"label": None, "label_id": 99_999}])
def test_a_label_without_a_number_or_a_number_without_a_label_is_found(made, change):
    rows = [{**row, **change} if row["clip_id"] == "clip-0" else row for row in made.rows.values()]
    clips = pa.Table.from_pylist(rows, CLIPS_SCHEMA)
    write_manifest(made.path, clips, summarise(clips, {}))
    assert any(what.startswith("1 clips have a label without a number") for _, what in verify(made.path).problems)
    with pytest.raises(ShardError, match="1 clips have a label without a number or a number without a label"):
        ClipIndex.load(made.path, "train")


@pytest.mark.parametrize("seed", ["1", "2", "3", "4"])
def test_one_changed_number_is_found_in_every_process(made, seed):
    """It gives class 1 two names, of which a set of pairs keeps the one or the other, depending on the process."""
    rows = [{**row, "label_id": 1} if row["clip_id"] == "clip-0" else row for row in made.rows.values()]
    clips = pa.Table.from_pylist(rows, CLIPS_SCHEMA)
    manifest = summarise(clips, {})
    write_manifest(made.path, clips, manifest)
    script = f"from pipeline.shards import verify; print(*verify({made.path!r}, write=lambda line: None).problems)"
    found = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True,
        env={**os.environ, "PYTHONHASHSEED": seed},
    ).stdout  # fmt: skip
    assert "label_id 1 has 2 values of label in _clips.parquet" in found
    assert "clip-0" in found
    with pytest.raises(ShardError, match="label_id 1 has 2 values of label"):
        ClipIndex.load(made.path, "train")


# ---------------------------------------------------------------- sets of the format before
def as_format_2(made) -> str:
    """Write manifest and table of clips as they were; return the digest."""
    write_table(made.clips.drop(["video_offset", "flow_offset"]), f"{made.path}/_clips.parquet")
    path = Path(made.path) / "_manifest.json"
    before = digest_of_format_2(made.clips)
    path.write_text(json.dumps({**json.loads(path.read_text()), "format_version": 2, "digest": before}))
    return before


def test_a_set_of_format_2_is_read_and_says_so(made):
    before, now = as_format_2(made), digest(made.clips, LABELS)
    assert before != now
    manifest = read_manifest(made.path)
    assert (manifest["format_version"], manifest["digest"]) == (3, now)
    assert manifest["notes"][-1].startswith(f"the set is of format 2, whose digest {before} did not cover")
    verification = verify(made.path, write=lambda line: None)
    assert verification.problems == []
    assert f"note: the set is of format 2, whose digest {before}" in inspected(made.path, verification)
    assert ClipIndex.load(made.path, "train").digest == now


def test_a_set_of_format_2_that_was_changed_is_refused(made):
    as_format_2(made)
    write_table(permuted(made), f"{made.path}/_clips.parquet")
    with pytest.raises(ShardError, match=r"_manifest\.json is not that of _clips\.parquet: labels differs"):
        read_manifest(made.path)
    rows = [{**row, "video_sha256": "0" * 64} if row["clip_id"] == "clip-0" else row for row in made.rows.values()]
    write_table(pa.Table.from_pylist(rows, CLIPS_SCHEMA), f"{made.path}/_clips.parquet")
    with pytest.raises(ShardError, match=r"_manifest\.json is not that of _clips\.parquet: digest differs"):
        read_manifest(made.path)


# ---------------------------------------------------------------- reading
def test_clips_come_in_the_order_of_their_ids(original):
    assert read_clips(original.path)["clip_id"].to_pylist() == ["clip-0", "clip-1", "clip-2", "clip-3"]
    assert read_clips(original.path, "train")["clip_id"].to_pylist() == ["clip-0", "clip-3"]
    assert read_clips(original.path, "extra").num_rows == 0


def test_failed_clips_are_read_with_their_reasons(original):
    failed = read_clips(original.path, status="failed").to_pylist()
    assert [(row["clip_id"], row["error_class"]) for row in failed] == [
        ("clip-6", "FileNotFound"),
        ("clip-7", "ZeroByte"),
        ("clip-8", "DecodeError"),
        ("clip-9", "ZeroByte"),
    ]
    assert failed[0]["error_message"] == "/videos/6.mp4: FileNotFound"


def test_a_split_that_is_not_there_is_answered_with_those_that_are(original):
    with pytest.raises(ShardError, match=r"no split 'valid'; it has extra, test, train, val"):
        read_clips(original.path, "valid")


def test_a_folder_without_a_set_says_how_to_make_one(tmp_path):
    with pytest.raises(ShardError, match=rf"{tmp_path}: no shard set there .*; run the command ingest with"):
        read_manifest(str(tmp_path))
    with pytest.raises(ShardError, match="no shard set there"):
        read_clips(f"{tmp_path}/nowhere")


def test_a_set_that_is_not_complete_is_not_read(made):
    folder = Path(made.path)
    (folder / "_manifest.json").unlink()
    (folder / "_plan.json").write_text("{}")
    for read in (read_manifest, read_clips, read_catalog):
        with pytest.raises(ShardError, match="ingest has not finished there"):
            read(made.path)


@pytest.mark.parametrize("found", [0, 1, FORMAT_VERSION + 1, None, "3", [3]])
def test_a_set_of_another_format_is_not_read(made, found):
    path = Path(made.path) / "_manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format_version": found}))
    with pytest.raises(
        ShardError, match=rf"format {re.escape(str(found))}, this version reads {FORMAT_VERSION}; ingest it again"
    ):
        read_manifest(made.path)


def test_a_manifest_that_is_no_json_is_one_line(made):
    (Path(made.path) / "_manifest.json").write_text('{"format_version": 1, "dig')
    with pytest.raises(ShardError, match=r"_manifest\.json: does not read .*; copy it again"):
        read_manifest(made.path)


# ---------------------------------------------------------------- the table of clips
def test_a_table_of_clips_that_does_not_read_is_one_line(made):
    path = Path(made.path) / "_clips.parquet"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ShardError, match=r"_clips\.parquet: does not read .*; copy it again"):
        read_catalog(made.path)


def test_a_column_that_the_table_lacks_is_null(made):
    pq.write_table(made.clips.drop(["brightness"]), f"{made.path}/_clips.parquet")
    assert read_catalog(made.path)["brightness"].null_count == 8


@pytest.mark.parametrize("column", ["clip_id", "dataset", "split", "status"])
def test_a_clip_without_a_name_a_split_or_a_state_is_refused(made, column):
    pq.write_table(made.clips.drop([column]), f"{made.path}/_clips.parquet")
    with pytest.raises(ShardError, match=rf"_clips\.parquet: {column} is not a string in every row"):
        read_catalog(made.path)


def test_text_that_is_no_text_is_one_line(made):
    """As a flipped bit makes it."""
    broken = pa.array([b"clip-\xff"] * 8).view(pa.string())
    clips = made.clips.set_column(made.clips.column_names.index("label"), "label", broken)
    pq.write_table(clips, f"{made.path}/_clips.parquet")
    with pytest.raises(ShardError, match=r"_clips\.parquet: does not read .*UTF8"):
        read_catalog(made.path)
