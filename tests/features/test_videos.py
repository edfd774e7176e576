"""Videos as users name them: one clip each, whatever is wrong with another name."""

import tarfile
from pathlib import Path

import pytest

from pipeline.catalog import CatalogError
from pipeline.command_line import override
from pipeline.config import Config, ConfigError
from pipeline.features.request import clips_of, configured
from pipeline.features.videos import check_named, named_catalog
from pipeline.runs.trained_networks import Source
from tests.ingest.fetch.conftest import s3  # noqa: F401


@pytest.fixture
def folder(tmp_path):
    for name in ("a.mp4", "sub/a.mp4", "sub/b.avi", "notes.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def test_ids_in_a_folder_do_not_depend_on_its_place(folder, tmp_path_factory):
    first = named_catalog([str(folder)])
    moved = folder.rename(tmp_path_factory.mktemp("moved") / "here")
    assert named_catalog([str(moved)])["clip_id"].to_pylist() == first["clip_id"].to_pylist()
    assert len(set(first["clip_id"].to_pylist())) == 3
    assert first["split"].unique().to_pylist() == ["all"]


def test_equal_names_in_two_folders_are_two_videos_and_a_name_that_is_given_twice_is_one(folder):
    both = named_catalog([str(folder / "sub"), str(folder / "a.mp4"), str(folder / "a.mp4")])
    assert sorted(both["source"].to_pylist()) == [str(folder / name) for name in ("a.mp4", "sub/a.mp4", "sub/b.avi")]


def test_a_list_names_files_beside_it_and_addresses(folder):
    (folder / "list.txt").write_text("# ours\na.mp4\n\nsub/gone.mp4\nhttps://host/v.mp4?sig=SECRET\n")
    rows = named_catalog([str(folder / "list.txt")]).to_pylist()
    assert [(row["source"], row["error_class"]) for row in rows] == [
        (str(folder / "a.mp4"), None),
        (None, "FileNotFound"),
        ("https://host/v.mp4?sig=SECRET", None),
    ]
    assert "SECRET" not in rows[2]["clip_id"]
    (folder / "self.txt").write_text("self.txt\n")
    with pytest.raises(CatalogError, match=r"self\.txt, line 1: a list that names itself"):
        named_catalog([str(folder / "self.txt")])
    (folder / "bytes.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(CatalogError, match=r"bytes\.txt: a list is text in UTF-8"):
        named_catalog([str(folder / "bytes.txt")])


def test_a_folder_of_a_store_stands_for_its_videos(s3):  # noqa: F811
    client, address = s3
    for name in ("a b.mp4", "sub/c.AVI", "notes.md", "._a b.mp4"):
        client.put_object(Bucket="clips", Key=f"mine/{name}", Body=b"x")
    rows = named_catalog([address("clips/mine")]).to_pylist()
    assert sorted(row["source"] for row in rows) == [address("clips/mine/a%20b.mp4"), address("clips/mine/sub/c.AVI")]
    assert not any("secret" in row["clip_id"] for row in rows)
    (gone,) = named_catalog([address("clips/nothing")]).to_pylist()
    assert gone["source"] == address("clips/nothing")  # which fails when it is fetched
    client.put_object(Bucket="clips", Key="texts/notes.md", Body=b"x")
    with pytest.raises(CatalogError, match=r"texts.*: no video in this folder"):
        named_catalog([address("clips/texts")])


def test_an_archive_stands_for_its_videos(folder):
    """They need no labels, and it is read once more for what is in them."""
    with tarfile.open(folder / "all.tar.gz", "w:gz") as tar:
        for name in ("a.mp4", "sub/a.mp4", "sub/b.avi", "notes.md"):
            tar.add(folder / name, name)
        tar.add(folder / "a.mp4", "c#1.mp4")
    rows = named_catalog([str(folder / "all.tar.gz"), str(folder / "a.mp4")]).to_pylist()
    assert [(row["source"], row["error_class"]) for row in rows] == [
        (f"archives:{folder}/all.tar.gz#a", None),
        (f"archives:{folder}/all.tar.gz#b", None),
        (None, "BadRow"),
        (str(folder / "a.mp4"), None),
    ]
    (folder / "cut.tar").write_bytes((folder / "all.tar.gz").read_bytes()[:60])
    with pytest.raises(CatalogError, match=r"cut\.tar: ArchiveBroken: "):
        named_catalog([str(folder / "cut.tar")])
    with pytest.raises(CatalogError, match=r"nowhere\.tar: FileNotFound: "):
        named_catalog([str(folder / "nowhere.tar")])


def test_one_network_of_a_training_brings_its_own_stream_and_flow_is_computed():
    """A checkpoint's config names all networks of its run; that of flow pictures has a backend which computes none."""
    both = override(Config(), {"ingest.flow.backend": "stored"})
    one, two = (
        Source("name", "here", both, dict.fromkeys(names, Path("model.pt"))) for names in (["flow"], ["rgb", "flow"])
    )
    config = configured(one, {}, "out")
    assert (config.model.streams, config.ingest.streams, config.ingest.flow.backend) == (("flow",), ("flow",), "auto")
    assert configured(two, {}, "out").model.streams == ("rgb", "flow")
    with pytest.raises(ConfigError, match="features of flow pictures come from a shard set"):
        clips_of(configured(two, {"ingest.flow.backend": "stored"}, "out").resolved(), ["a.mp4"], [])


def test_videos_are_named_in_one_way(folder):
    with pytest.raises(ConfigError, match=r"a\.mp4 and --catalog\.videos: give videos, or the fields"):
        check_named(["a.mp4"], ["catalog.videos"])


def test_a_published_network_has_the_windows_of_its_paper():
    config = configured(None, {"model.name": "resnet3d18", "model.weights.rgb": "x.pt"}, "out")
    assert (config.clips.frames, config.clips.crop, config.model.levels, config.model.streams) == (
        16,
        112,
        "activitynet",
        ("rgb",),
    )
    config = configured(None, {"model.weights.flow": "x.pt", "clips.crop": "200", "ingest.max_seconds": "9"}, "out")
    assert (config.clips.frames, config.clips.crop, config.ingest.streams) == (64, 200, ("flow",))
    assert (config.ingest.shards, config.ingest.max_seconds) == ("out", 9)
