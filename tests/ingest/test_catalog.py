"""From a config to the catalog it means, data set by data set."""

import os
from pathlib import Path

import pytest

from pipeline.catalog import CatalogError, catalog_classes, catalog_notes
from pipeline.command_line import override
from pipeline.config import Config
from pipeline.ingest.catalog import configured_catalog

SHARED = Path(__file__).parents[3] / "shared"
YOUTUBE8M = Path(os.environ.get("YOUTUBE8M_DIR") or SHARED / "youtube8m")


@pytest.fixture
def videos(tmp_path):
    folder = tmp_path / "videos"
    folder.mkdir()
    return folder


def catalog_of(tmp_path, **changes):
    return configured_catalog(configured(tmp_path, **changes))


def configured(tmp_path, **changes):
    given = {name.replace("__", "."): str(value) for name, value in changes.items()}
    return override(
        Config(), {"storage": str(tmp_path / "out"), **{f"catalog.{k}": v for k, v in given.items()}}
    ).resolved()


@pytest.mark.parametrize("dataset", ["kinetics400", "kinetics600", "kinetics700", "kinetics700_2020"])
def test_every_kinetics_is_read_under_its_name(tmp_path, videos, dataset):
    (tmp_path / "val.csv").write_text("label,youtube_id,time_start,time_end,split\njump,x,1,2,validate\n")
    catalog = catalog_of(tmp_path, dataset=dataset, annotations__val=tmp_path / "val.csv", videos=videos)
    assert catalog["clip_id"].to_pylist() == [f"{dataset}.x.1-2"]
    assert "published, list has 1" in catalog_notes(catalog)[0]  # filtering and cutting keep the notes


def test_a_limit_takes_clips_and_not_the_names_of_classes(tmp_path, videos):
    for number, split in enumerate(("train", "val")):
        rows = [f"{label},{label}{number},1,2,{split}" for label in ("jump", "run", "swim", "walk")]
        (tmp_path / f"{split}.csv").write_text("\n".join(["label,youtube_id,time_start,time_end,split", *rows]))
    lists = {f"annotations__{split}": tmp_path / f"{split}.csv" for split in ("train", "val")}
    catalog = catalog_of(tmp_path, dataset="kinetics400", videos=videos, limit=2, **lists)
    assert set(catalog["label"].to_pylist()) == {"jump", "walk"}
    assert catalog_classes(catalog) == ["jump", "run", "swim", "walk"]


def test_ucf101_takes_its_split_by_number(tmp_path, videos):
    splits = tmp_path / "ucfTrainTestlist"
    splits.mkdir()
    (splits / "classInd.txt").write_text("1 Archery\n")
    (splits / "trainlist02.txt").write_text("Archery/v_Archery_g08_c01.avi 1\n")
    (splits / "testlist02.txt").write_text("Archery/v_Archery_g01_c01.avi\n")
    options = {"dataset": "ucf101", "annotations__splits": splits, "videos": videos}
    catalog = catalog_of(tmp_path, split_number=2, **options)
    assert dict(zip(catalog["split"].to_pylist(), catalog["clip_id"].to_pylist(), strict=True)) == {
        "test": "ucf101.v_Archery_g01_c01",
        "train": "ucf101.v_Archery_g08_c01",
    }
    assert configured(tmp_path, split_number=2, **options).ingest.shards == f"{tmp_path}/out/shards/ucf101_split2"
    with pytest.raises(CatalogError, match=r"trainlist01\.txt: cannot be read"):
        catalog_of(tmp_path, **options)


def test_hmdb51_takes_its_split_files(tmp_path, videos):
    splits = tmp_path / "splits"
    splits.mkdir()
    (splits / "wave_test_split3.txt").write_text("a.avi 1\nb.avi 2\n")
    options = {"dataset": "hmdb51", "annotations__splits": splits, "videos": videos, "split_number": 3}
    assert catalog_of(tmp_path, splits="test", **options)["label"].to_pylist() == ["wave"]
    with pytest.raises(CatalogError, match=r"hmdb51 takes the folder .* as --catalog\.annotations\.splits FOLDER, and"):
        catalog_of(tmp_path, annotations__train="x", **options)


@pytest.mark.skipif(
    not YOUTUBE8M.is_dir(), reason=f"no records that TensorFlow wrote at {YOUTUBE8M}; set YOUTUBE8M_DIR"
)
def test_youtube8m_asks_for_no_more_ids_than_are_wanted(tmp_path, videos):
    here = videos / "ab01.mp4"
    here.touch()
    ids = tmp_path / "ids.tsv"
    ids.write_text("0a-_\t0a-_YouTube\n")
    options = {
        "dataset": "youtube8m",
        "annotations__train": YOUTUBE8M / "train0000.tfrecord",
        "annotations__extra": YOUTUBE8M / "video_train0000.tfrecord",
        "annotations__ids": ids,
        "annotations__lookup": "http://127.0.0.1:9/2/j/i",  # nobody is there
        "videos": videos,
        "splits": "train",
        "limit": 2,
    }
    catalog = catalog_of(tmp_path, **options)
    assert catalog["source"].to_pylist() == [str(here), "https://www.youtube.com/watch?v=0a-_YouTube"]
    assert catalog["label"].null_count == 2
    assert ids.read_text() == "0a-_\t0a-_YouTube\n"
    assert catalog_notes(catalog) == ["youtube8m: one window of 10 s a video, by seeded_window with seed 0"]
    with pytest.raises(CatalogError, match=r"catalog\.splits: val is not there; the catalog has extra, train"):
        catalog_of(tmp_path, **{**options, "splits": "val"})
    with pytest.raises(CatalogError, match="no rated segment in the files of split 'train'"):
        catalog_of(tmp_path, **{**options, "dataset": "youtube8m_segments"})
    with pytest.raises(CatalogError, match="lookup 'ftp://x': give an http or https address"):
        catalog_of(tmp_path, **{**options, "annotations__lookup": "ftp://x"})
    with pytest.raises(CatalogError, match=r"catalog\.annotations\.ids: s3://x/ids is no local file; give one"):
        catalog_of(tmp_path, **{**options, "annotations__ids": "s3://x/ids"})


@pytest.mark.parametrize("dataset", ["ucf101", "hmdb51", "folder"])
def test_videos_must_be_said(tmp_path, dataset):
    with pytest.raises(CatalogError, match=r"catalog\.videos: empty; give the folder of the video files"):
        catalog_of(tmp_path, dataset=dataset)
