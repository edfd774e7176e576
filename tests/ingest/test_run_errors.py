"""What stops a whole ingest is one line, and what was finished stays."""

import os
import re
import subprocess
from pathlib import Path

import pytest
import ray.exceptions

from pipeline.command_line import override
from pipeline.ingest.catalog import configured_catalog
from pipeline.ingest.lists import seen_by_all
from pipeline.ingest.run import ingest
from pipeline.ingest.run_errors import IngestError, explained
from pipeline.shards import ShardError, Verification, read_clips, verify


def test_errors_of_the_system_are_said_and_bugs_pass():
    with pytest.raises(IngestError, match="/s: No space left on device; what is finished stays"), explained("/s"):
        raise OSError(28, os.strerror(28))
    with pytest.raises(IngestError, match="object store and its disk"), explained("/s"):
        raise ray.exceptions.ObjectStoreFullError
    with pytest.raises(KeyError), explained("/s"):
        raise KeyError("a bug")


def test_lists_that_a_node_has_written_to_its_own_disk_are_said_to_be_missing(tmp_path):
    names = ["train-00000", "train-00001"]
    (tmp_path / "_staging").mkdir()
    (tmp_path / "_staging" / "train-00000.clips").write_bytes(b"1")
    where = re.escape(str(tmp_path))
    line = rf"^{where}: 1 of 2 files that workers have finished are not there; give a folder that all nodes share"
    with pytest.raises(IngestError, match=line), seen_by_all(str(tmp_path), names):
        raise FileNotFoundError(names[1])
    with pytest.raises(ShardError, match="damaged"), seen_by_all(str(tmp_path), names[:1]):
        raise ShardError("damaged")


@pytest.mark.ray
def test_an_output_that_cannot_be_written_is_one_line(shards, tmp_path):
    (tmp_path / "file").write_text("")
    config = override(shards, {"ingest.shards": str(tmp_path / "file" / "shards")})
    with pytest.raises(IngestError, match=r"Not a directory|Cannot create directory"):
        ingest(config, configured_catalog(config), lambda line: None)


@pytest.mark.ray
def test_a_store_that_is_away_is_one_line(shards):
    address = "s3://bucket/shards?endpoint_override=127.0.0.1:9&scheme=http&region=x"
    config = override(shards, {"ingest.shards": address})
    with pytest.raises(IngestError, match="s3://bucket/shards"):
        ingest(config, configured_catalog(config), lambda line: None)


@pytest.mark.ray
@pytest.mark.slow
def test_a_full_disk_stops_the_run_and_keeps_what_was_finished(shards, tmp_path):
    """On a real file system of half a MB; then a larger one, and the same command ends with the same digest."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("needs the right to mount a small file system")
    try:
        config = override(shards, {"ingest.shards": str(disk / "shards")})
        with pytest.raises(IngestError, match="No space left on device"):
            ingest(config, configured_catalog(config), lambda line: None)
        staged = list(Path(config.ingest.shards).rglob("*.parquet"))
        assert staged
        subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True, capture_output=True)
        lines: list[str] = []
        manifest = ingest(config, configured_catalog(config), lines.append)
        assert any("done before" in line for line in lines)
        assert not list(Path(config.ingest.shards).rglob("*.tmp"))  # earlier, a worker may still be at its last clip
        assert verify(config.ingest.shards) == Verification(len(read_clips(shards.ingest.shards)), [])
        assert manifest["digest"] == ingest(shards, configured_catalog(shards), lambda line: None)["digest"]
    finally:
        subprocess.run(["umount", "-l", disk], check=False, capture_output=True)
