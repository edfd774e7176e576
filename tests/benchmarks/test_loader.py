"""The benchmark of the loader measures the same windows both ways; its figures are not looked at."""

import math
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline.benchmarks import all_cores, loader
from pipeline.benchmarks.peer import PEERS, PeerWindows, found, usable
from pipeline.clips.sampling import TrainingSampler
from pipeline.config import ClipsConfig
from tests.clips.levels import levels
from tests.ingest.videos import make_video

SMALL = (ClipsConfig(frames=8, crop=224), ClipsConfig(frames=4, crop=112, short_side=128))


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("files")
    return [make_video(folder / "a.mp4"), make_video(folder / "b.mkv", "libx265")]


@pytest.fixture(scope="module")
def index(cluster, files, tmp_path_factory):
    return loader.ingested(files, tmp_path_factory.mktemp("shards"), ("rgb",), None)


def _installed(peer):
    if words := usable(peer):
        pytest.skip(f"{peer}: {words}")


def test_a_peer_that_is_not_there_is_a_line(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torchcodec", None)
    monkeypatch.setitem(sys.modules, "torchcodec.decoders", None)
    monkeypatch.setitem(sys.modules, "decord", None)
    assert found() == []
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["  without torchcodec", "  without decord"]


@pytest.mark.ray
def test_every_window_of_every_clip_has_its_cost(files, index, monkeypatch):
    monkeypatch.setattr(loader, "WINDOWS", SMALL)
    costs = list(loader.costs(files, index, "rgb", windows=1, repeats=1))
    names = [("8x224x224", "planes"), ("4x112x112 of 128", "RGB")]
    assert [(cost.window, cost.clip) for cost in costs] == [(name, file.name) for name, _ in names for file in files]
    assert {(cost.window, cost.handed_on.removeprefix("4:4:4 ")) for cost in costs} == set(names)
    assert all(min(cost.decode, cost.loader, cost.rgb, cost.floats) > 0 for cost in costs)


@pytest.mark.ray
@pytest.mark.parametrize("name", PEERS)
def test_a_peer_reads_the_same_windows_from_sources_and_stored_clips(files, index, monkeypatch, name):
    _installed(name)
    monkeypatch.setattr(loader, "WINDOWS", SMALL)
    lines = list(loader.beside(files, index, [name], windows=3, repeats=1))
    assert [(line.clip, line.reads) for line in lines[:4]] == [
        (file.name, reads) for file in files for reads in ("source", "stored")
    ]
    for line in lines:
        assert math.isclose(line.ratio, line.loader / line.per_s)
        assert line.levels_off < (6 if line.reads == "source" or "of" in line.window else 1.5)


@pytest.mark.ray
@pytest.mark.parametrize("name", PEERS)
def test_a_data_set_of_a_peer_gives_the_windows_of_the_loader(files, index, name):
    _installed(name)
    for epoch, clips in enumerate(SMALL * 3):
        sample = TrainingSampler(clips, 0, epoch)
        peer = PeerWindows(name, tuple(map(str, files)), index, 25, sample)
        for row in range(len(files)):
            ours, theirs = levels(sample(index, row, "rgb")).astype(int), peer[row].numpy()
            assert theirs.shape == ours.shape
            assert np.abs(ours - theirs).mean() < 6  # two resizes and one more encoding apart


@pytest.mark.ray
def test_all_cores_are_measured(files, index, monkeypatch):
    monkeypatch.setattr(all_cores, "WINDOWS", SMALL[:1])
    (line,) = all_cores.compare(files, index, [], windows=8, batch_size=4, repeats=1)
    assert (line.window, line.cores) == ("8x224x224", 4)
    assert line.ray > 0
    assert line.wait < 100


@pytest.mark.ray
def test_a_set_on_a_disk_and_its_copy_are_measured_side_by_side(index, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(index.shards, copy)
    lines = all_cores.places([index.shards, str(copy)], "train", SMALL[0], windows=4, batch_size=2, repeats=1)
    assert [(line.shards, line.window) for line in lines] == [(index.shards, "8x224x224"), (str(copy), "8x224x224")]
    assert lines[0].ratio == 1
    assert lines[1].ratio == lines[1].windows / lines[0].windows > 0
