"""Failures are final unless their class is asked for again; then the set ends as if the cause had never been there."""

import shutil
from pathlib import Path

import pytest

from pipeline.command_line import override
from pipeline.ingest.catalog import configured_catalog
from pipeline.ingest.retry import chosen_by
from pipeline.ingest.run import IngestError, ingest
from pipeline.shards import read_clips, read_manifest


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
    for path in Path(anew.ingest.shards).glob("*-*.parquet"):
        assert path.read_bytes() == (Path(config.ingest.shards) / path.name).read_bytes()
    assert read_manifest(config.ingest.shards)["splits"] == read_manifest(anew.ingest.shards)["splits"]
