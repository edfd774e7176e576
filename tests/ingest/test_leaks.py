"""A video in two splits is an error before anything is done; the same pictures in two splits, after."""

import shutil

import pytest

from pipeline.catalog.rows import CATALOG_SCHEMA
from pipeline.command_line import override
from pipeline.ingest.catalog import configured_catalog
from pipeline.ingest.leaks import check_videos
from pipeline.ingest.run import IngestError, ingest
from pipeline.shards import read_clips, read_manifest


def catalog(*clips):
    import pyarrow as pa

    names = CATALOG_SCHEMA.names
    rows = [dict.fromkeys(names) | {"clip_id": name, "dataset": "k", "split": split} for name, split in clips]
    return pa.Table.from_pylist(rows, schema=CATALOG_SCHEMA)


def test_a_video_may_have_several_clips_but_in_one_split():
    check_videos(catalog(("k.a.0-10", "train"), ("k.a.10-20", "train"), ("k.b.0-10", "val")), allowed=False)
    leaky = catalog(("k.a.0-10", "train"), ("k.a.10-20", "val"), ("k.b.0-10", "val"))
    with pytest.raises(IngestError, match=r"1 videos have clips in more than one split: k\.a \(train, val\); mend"):
        check_videos(leaky, allowed=False)
    check_videos(leaky, allowed=True)


@pytest.mark.ray
def test_the_same_pictures_under_two_names_are_found(shards, tmp_path):
    one, other = (row["source"] for row in read_clips(shards.ingest.shards, split="test").to_pylist()[:2])
    for name, source in {
        "train/a/x.mp4": one,
        "train/a/y.mp4": one,
        "train/b/z.mp4": other,
        "val/a/w.mp4": one,
    }.items():
        (tmp_path / "videos" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, tmp_path / "videos" / name)
    changes = {
        "storage": str(tmp_path), "ingest.shards": str(tmp_path / "shards"), "catalog.dataset": "folder",
        "catalog.videos": str(tmp_path / "videos"), "catalog.limit": "none",
    }  # fmt: skip
    config = override(shards, changes)
    with pytest.raises(
        IngestError, match=r"1 groups of clips have the same video packets in more than one split: \S+ = \S+ = \S+;"
    ):
        ingest(config, configured_catalog(config), lambda line: None)
    found = read_manifest(config.ingest.shards)["duplicates"]
    assert (found["across_splits"]["groups"], found["within_splits"]["groups"]) == (1, 0)
    allowed = override(config, {"ingest.allow_leaks": "true"})
    assert ingest(allowed, configured_catalog(config), lambda line: None)["splits"]["val"]["present"] == 1
