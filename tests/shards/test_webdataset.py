"""A shard set as WebDataset archives: the same bytes, complete or not there, and readable by our own catalog."""

import json
import tarfile

import pytest

from pipeline.command_line import override
from pipeline.commands.webdataset import main
from pipeline.config import Config
from pipeline.ingest.catalog import configured_catalog
from pipeline.shards import ShardError, read_clips
from pipeline.shards.tables import read_clip
from pipeline.shards.webdataset import write_webdataset
from tests.shards.sets import make_set


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> str:
    return str(make_set(tmp_path_factory.mktemp("set")).path)


def members(path) -> dict[str, bytes]:
    with tarfile.open(path) as tar:
        return {info.name: tar.extractfile(info).read() for info in tar}


def test_every_clip_is_there_with_its_bytes_and_facts(shards, tmp_path):
    done = write_webdataset(shards, f"{tmp_path}/out")
    clips = read_clips(shards).to_pylist()
    assert sum(done.values()) == len(clips)
    found = [each for name in done for each in [members(tmp_path / "out" / name)]]
    facts = {json.loads(content)["clip_id"]: (name, one) for one in found for name, content in one.items()
             if name.endswith(".json")}  # fmt: skip
    assert facts.keys() == {clip["clip_id"] for clip in clips}
    for clip in clips:
        name, one = facts[clip["clip_id"]]
        key = name.removesuffix(".json")
        stored = read_clip(f"{shards}/{clip['shard']}", clip["row_group"], ["video", "flow"])
        assert one[f"{key}.mp4"] == stored["video"]
        assert one.get(f"{key}.flow.mp4") == stored["flow"]
        label = (one.get(f"{key}.txt", b"").decode() or None, one.get(f"{key}.cls"))
        assert label == (clip["label"], None if clip["label_id"] is None else str(clip["label_id"]).encode())
        assert json.loads(one[name])["video_sha256"] == clip["video_sha256"]


def test_it_goes_on_where_it_stopped_and_ends_with_the_same_bytes(shards, tmp_path):
    first = write_webdataset(shards, f"{tmp_path}/a")
    write_webdataset(shards, f"{tmp_path}/b")
    gone = tmp_path / "b" / next(iter(first))
    gone.unlink()
    (gone.parent / f"_{gone.name}.0123456789abcdef0123456789abcdef.tmp").write_bytes(b"half")
    write_webdataset(shards, f"{tmp_path}/b")
    for name in first:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert sorted(path.name for path in gone.parent.iterdir()) == sorted(
        name.rpartition("/")[2] for name in first if name.startswith(gone.parent.name)
    )


def test_a_folder_of_something_else_is_refused(shards, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ShardError, match="holds other files; give a folder that is empty"):
        write_webdataset(shards, str(tmp_path))
    write_webdataset(shards, f"{tmp_path}/out")
    with pytest.raises(ShardError, match="made with other options; give another folder"):
        write_webdataset(shards, f"{tmp_path}/out", flow=False)


def test_our_own_catalog_reads_it_back(shards, tmp_path, capsys):
    main([shards, "--output", f"{tmp_path}/out/", "--without-flow"])
    said = capsys.readouterr().out
    clips = read_clips(shards)
    splits = set(clips["split"].to_pylist())
    assert all(f"--catalog.archives.{split} {tmp_path}/out/{split}" in said for split in splits)
    fields = {f"catalog.archives.{split}": f"{tmp_path}/out/{split}" for split in splits}
    found = configured_catalog(
        override(Config(), {"catalog.dataset": "webdataset", "catalog.label": "txt", **fields}).resolved()
    )
    assert sorted(zip(found["split"].to_pylist(), found["label"].to_pylist(), strict=True)) == sorted(
        zip(clips["split"].to_pylist(), clips["label"].to_pylist(), strict=True)
    )
    for row in found.to_pylist():
        assert (row["error_class"] == "BadRow") == (row["label"] is None)
