"""Failures are final unless their class is asked for again; then the set ends as if the cause had never been there."""

import hashlib
import os
import shutil
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.command_line import override
from pipeline.ingest.catalog import configured_catalog
from pipeline.ingest.clip_errors import verdict_of
from pipeline.ingest.replaced import note, replaced
from pipeline.ingest.retry import chosen_by, recorded_classes
from pipeline.ingest.run import IngestError, ingest
from pipeline.ingest.staging import STAGING, part_name
from pipeline.ingest.summary import ingested
from pipeline.shards import CLIPS_SCHEMA, SHARD_SCHEMA, read_clips, read_manifest
from pipeline.shards.tables import read_table, write_table
from tests.shards.sets import make_set


def silent(line: str) -> None:
    """Progress of a test goes nowhere."""


def test_classes_are_chosen_by_name_by_verdict_or_all():
    assert [chosen_by(["Truncated"])(name) for name in ("Truncated", "ZeroByte")] == [True, False]
    assert [chosen_by(["retryable"])(name) for name in ("Truncated", "ZeroByte", "NotAVideo")] == [True, True, False]
    assert chosen_by(["all"])("NotAVideo")
    assert not chosen_by([])("Truncated")
    with pytest.raises(
        IngestError, match="--retry Trunkated: no such error class; operator, permanent, retryable, all"
    ):
        chosen_by(["Trunkated"])


def test_an_unknown_class_is_retryable_and_has_a_name_where_it_is_recorded(tmp_path):
    """A machine's errors carry the names of Python's classes, or of another version of this package."""
    assert [verdict_of(name) for name in ("OSError", "ChildError", "KeyError", "Truncated", "NotAVideo")] == [
        "retryable", "retryable", "retryable", "retryable", "permanent",
    ]  # fmt: skip
    assert chosen_by(["retryable"])("MemoryError")
    row = dict.fromkeys(SHARD_SCHEMA.names) | {"clip_id": "a", "status": "failed", "error_class": "OSError"}
    (tmp_path / STAGING / "train-00000").mkdir(parents=True)
    write_table(
        pa.Table.from_pylist([row], schema=SHARD_SCHEMA),
        f"{tmp_path}/{STAGING}/train-00000/{part_name('a', failed=True)}",
    )
    chosen = chosen_by(["OSError"], lambda: recorded_classes(str(tmp_path)))
    assert [chosen(name) for name in ("OSError", "MemoryError")] == [True, False]
    with pytest.raises(IngestError, match=r"--retry MemoryError: no such error class; .*, OSError, "):
        chosen_by(["MemoryError"], lambda: recorded_classes(str(tmp_path)))


@pytest.fixture(scope="module")
def mended(shards, tmp_path_factory):
    """A folder of eight clips of which one was empty and one text when ingested, and the config of that."""
    folder = tmp_path_factory.mktemp("again")
    sources = sorted(row["source"] for row in read_clips(shards.ingest.shards, split="test").to_pylist())
    for number, source in enumerate(sources):
        target = folder / "videos" / f"class{number % 2}" / f"{number}.mp4"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
    empty, text = sorted((folder / "videos").rglob("*.mp4"))[:2]
    whole = {path: path.read_bytes() for path in (empty, text)}
    empty.write_bytes(b"")
    text.write_text("no video\n" * 50)
    changes = {
        "storage": str(folder), "ingest.shards": str(folder / "shards"), "catalog.dataset": "folder",
        "catalog.videos": str(folder / "videos"), "catalog.limit": "none", "ingest.clips_per_shard": "4",
        "ingest.max_failed": "1.0",
    }  # fmt: skip
    config = override(shards, changes)
    before = ingest(config, configured_catalog(config), silent)
    for path, content in whole.items():
        path.write_bytes(content)
    return config, before


def failures(config) -> dict[str, str]:
    """Number of the file to error class."""
    rows = read_clips(config.ingest.shards, status="failed").to_pylist()
    return {Path(row["source"]).stem: row["error_class"] for row in rows}


def test_a_file_that_was_replaced_under_a_finished_set_is_noticed(tmp_path):
    """By its size; by its content, if it is newer than the set; and not if it was only touched, moved or removed."""
    made = make_set(tmp_path / "set")
    files = {name: tmp_path / f"{name}.mp4" for name in made.rows}
    clips = read_table(f"{made.path}/_clips.parquet", CLIPS_SCHEMA).to_pylist()
    for row in clips:
        files[row["clip_id"]].write_bytes(b"a video")
        row |= {"source": str(files[row["clip_id"]]), "source_bytes": 7}
        row["source_sha256"] = hashlib.sha256(b"a video").hexdigest()
    write_table(pa.Table.from_pylist(clips, schema=CLIPS_SCHEMA), f"{made.path}/_clips.parquet")
    good = [row["clip_id"] for row in clips if row["status"] == "ok"]
    finished = Path(made.path, "_manifest.json").stat().st_mtime

    def change(name: str, content: bytes, age_s: float) -> None:
        files[name].write_bytes(content)
        os.utime(files[name], (finished + age_s, finished + age_s))

    for name in good:
        change(name, b"a video", -10)
    assert replaced(made.path) == []
    change(good[0], b"a video", 10)
    files[good[1]].unlink()
    assert replaced(made.path) == []
    change(good[0], b"another", 10)
    change(good[2], b"longer than it was", -10)
    assert replaced(made.path) == sorted([good[0], good[2]])
    shown = ", ".join(sorted([good[0], good[2]]))
    assert f"of 2 clips were replaced after they were ingested: {shown};" in note(replaced(made.path))


@pytest.mark.ray
def test_a_failure_is_final_until_its_class_is_asked_for(mended):
    config, before = mended
    assert set(failures(config).values()) == {"ZeroByte", "NotAVideo"}
    assert ingest(config, configured_catalog(config), silent) == before  # mended files are not looked at
    assert ingest(override(config, {"retry": "Truncated"}), configured_catalog(config), silent) == before
    after = ingest(override(config, {"retry": "retryable"}), configured_catalog(config), silent)
    assert set(failures(config).values()) == {"NotAVideo"}
    assert after["rate"]["clips"] == 1  # only that one was done again
    whole = ingest(override(config, {"retry": "NotAVideo"}), configured_catalog(config), silent)
    assert not failures(config)
    anew = override(config, {"ingest.shards": f"{config.storage}/anew"})
    assert ingest(anew, configured_catalog(anew), silent)["digest"] == whole["digest"]
    one, other = (Path(source) for source in read_clips(config.ingest.shards, "train")["source"].to_pylist()[:2])
    before = one.read_bytes()
    one.write_bytes(other.read_bytes())
    manifest = ingest(config, configured_catalog(config), silent)
    assert "1 clips were replaced after they were ingested" in ingested(config.ingest.shards, manifest)
    again = ingest(override(config, {"retry": "SourceChanged"}), configured_catalog(config), silent)
    assert (again["rate"]["clips"], again["digest"] != whole["digest"]) == (1, True)
    assert "replaced" not in ingested(config.ingest.shards, again)
    one.write_bytes(before)
    ingest(override(config, {"retry": "SourceChanged"}), configured_catalog(config), silent)
    for path in Path(anew.ingest.shards).glob("*-*.parquet"):
        assert path.read_bytes() == (Path(config.ingest.shards) / path.name).read_bytes()
    assert read_manifest(config.ingest.shards)["splits"] == read_manifest(anew.ingest.shards)["splits"]
