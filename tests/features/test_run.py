"""Features on Ray: each fault its own row, the same bytes whoever computes them and however often the run is killed."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch

from pipeline.command_line import override
from pipeline.config import Config, ConfigError
from pipeline.features import request
from pipeline.features.layers import LayerError
from pipeline.features.loading import load_named
from pipeline.features.results import read_videos, values_of
from pipeline.features.run import compute_features
from pipeline.features.scorer import Local, Networks, scorer
from pipeline.features.videos import named_catalog
from pipeline.ingest.run_errors import IngestError, LostClipsError
from pipeline.models import create_model
from pipeline.models.weights import Provenance, save_weights
from tests.ingest.videos import make_video

pytestmark = pytest.mark.ray
CHECKOUT = Path(__file__).parents[2]
FLOW = {"nscales": "1", "warps": "1", "outerIterations": "1", "innerIterations": "3"}


def silent(line: str) -> None:
    """Progress of a test goes nowhere."""


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """Weights of small networks; seven good videos, one too short for a window, two broken ones."""
    top = tmp_path_factory.mktemp("features")
    for stream, channels in (("rgb", 3), ("flow", 2)):
        torch.manual_seed(channels)
        network = create_model("resnet3d18", 3, in_channels=channels)
        known = Provenance(labels=("run", "jump", "=sit"), model="resnet3d18", stream=stream)
        save_weights(network.state_dict(), known, top / f"{stream}.pt")
    (top / "videos" / "more").mkdir(parents=True)
    draw = np.random.default_rng(0)
    for number in range(7):
        pictures = [draw.integers(0, 256, (6, 8, 3), np.uint8).repeat(8, 0).repeat(8, 1) for _ in range(20 + number)]
        make_video(top / "videos" / f"v{number}.mp4", frames=len(pictures), arrays=pictures)
    make_video(top / "videos" / "more" / "v1.mp4", frames=5)
    (top / "videos" / "broken.mp4").write_text("not a video")
    (top / "videos" / "empty.mkv").touch()
    return top


def config_of(home: Path, out: Path, **fields: str) -> Config:
    given = {
        "model.name": "resnet3d18", "model.levels": "signed", "ingest.short_side": "40", "clips.crop": "32",
        "ingest.max_failed": "0.4", "clips.frames": "8", "ingest.clips_per_shard": "5",
        **{f"ingest.flow.{name}": value for name, value in FLOW.items()}, **fields,
    }  # fmt: skip
    if not any(name.startswith("model.weights") for name in given):
        given |= {f"model.weights.{stream}": str(home / f"{stream}.pt") for stream in ("rgb", "flow")}
    return request.configured(None, given, str(out)).resolved()


def made(
    home: Path, out: Path, videos: str = "videos", layers: str = "avg_pool", ends="drop", form="parquet", **fields
):
    config = config_of(home, out, **fields)
    loaded = load_named(config.model)
    wanted = request.wanted_of(
        config.clips, config.evaluation, loaded, (0, 0, 4, ends), layers.split(","), 1, "mean", form
    )
    clips = request.clips_of(config, [str(home / videos)], [])
    return compute_features(clips.config, wanted, loaded, clips.catalog, clips.shards, silent)


def content(folder: Path) -> dict[str, bytes]:
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    manifest = json.loads(files.pop("_manifest.json"))
    manifest.pop("rate")
    return files | {"manifest": json.dumps(manifest).encode()}


@pytest.fixture(scope="module")
def whole(cluster, home) -> Path:
    made(home, home / "whole")
    return home / "whole"


def test_every_fault_has_its_row_and_costs_no_other(whole):
    rows = {Path(row["source"]).name: row for row in read_videos(f"{whole}/_videos.parquet").to_pylist()}
    assert len(rows) == 9  # v1.mp4 is there twice
    videos = read_videos(f"{whole}/_videos.parquet").to_pylist()
    failed = {
        row["source"].removeprefix(str(whole.parent / "videos")): row["error_class"]
        for row in videos
        if row["error_class"]
    }
    assert failed == {"/broken.mp4": "NotAVideo", "/empty.mkv": "ZeroByte", "/more/v1.mp4": "TooShort"}
    assert all(row["windows"] == (row["num_flow"] - 8) // 4 + 1 for row in videos if row["status"] == "ok")
    table = pq.read_table(whole)
    assert table.num_rows == sum(row["windows"] or 0 for row in videos)
    assert values_of(table, "flow_avg_pool").shape == (table.num_rows, 512)
    assert not list(whole.glob("_staging*"))


def test_the_same_command_has_nothing_to_do_and_another_is_refused(whole, home):
    before = {path: path.stat().st_mtime_ns for path in whole.iterdir()}
    made(home, whole)
    assert {path: path.stat().st_mtime_ns for path in whole.iterdir()} == before
    with pytest.raises(IngestError, match=r"made with windows\.ends = drop, now asked for pad; give another folder"):
        made(home, whole, ends="pad")
    with pytest.raises(LostClipsError, match=r"3 of 10 videos failed, more than ingest\.max_failed = 0\.1 allows"):
        made(home, whole, **{"ingest.max_failed": "0.1"})


def test_one_worker_or_several_units_give_the_same_bytes(whole, home):
    made(home, home / "slow", **{"resources.ingest_cpus": "4"})
    assert content(home / "slow") == content(whole)


@pytest.mark.slow
def test_files_of_each_video_have_the_values_of_the_table(whole, home):
    made(home, home / "npy", form="npy")
    table = pq.read_table(whole)
    for row in read_videos(f"{home}/npy/_videos.parquet").to_pylist():
        for name in row["files"].split(",") if row["files"] else ():
            own = table.filter(pc.field("clip_id") == row["clip_id"])
            column = f"{name.removesuffix('.npy').rpartition('_')[2]}_avg_pool"
            assert np.array_equal(np.load(home / "npy" / name), values_of(own, column))
    names = {path.name for path in (home / "npy").glob("*.npy")}
    assert {"v0_rgb.npy", "v0_flow.npy", "v6_rgb.npy"} <= names
    assert len([name for name in names if name.startswith("v1~")]) == 2  # another video has this name too


@pytest.mark.parametrize("form", ["parquet", pytest.param("npz", marks=pytest.mark.slow)])
def test_a_failure_that_is_tried_again_leaves_no_trace(cluster, home, tmp_path, form):
    videos = tmp_path / "videos"
    videos.mkdir()
    for number in range(4):
        (videos / f"v{number}.mp4").write_bytes((home / "videos" / f"v{number}.mp4").read_bytes())
    good = (videos / "v2.mp4").read_bytes()
    (videos / "v2.mp4").write_bytes(b"")
    made(tmp_path, tmp_path / "again", form=form, **weights(home))
    with pytest.raises(IngestError, match="--retry Wrong: no such error class"):
        made(tmp_path, tmp_path / "again", form=form, retry="Wrong", **weights(home))
    (videos / "v2.mp4").write_bytes(good)
    manifest = made(tmp_path, tmp_path / "again", form=form, retry="retryable", **weights(home))
    assert manifest["videos"] == {"expected": 4, "present": 4, "failed": {}}
    made(tmp_path, tmp_path / "once", form=form, **weights(home))
    assert content(tmp_path / "again") == content(tmp_path / "once")


def weights(home: Path) -> dict[str, str]:
    return {"model.weights.rgb": str(home / "rgb.pt")}


def test_actors_give_what_a_worker_gives(cluster, home):
    """The actors of GPUs, here on a CPU: batches come back in their order."""
    loaded = load_named(config_of(home, home).model)
    networks = Networks(loaded.networks, loaded.inputs, ("avg_pool",), "mean")
    draw = np.random.default_rng(0)
    sizes = {"rgb": 3, "flow": 2}
    views = [{name: draw.integers(0, 256, (8, 32, 32, c), np.uint8) for name, c in sizes.items()} for _ in range(3)]
    actors, here = scorer(networks, 2, 0.0, "cpu"), Local(networks)
    answers = [actors([view]) for view in views]
    for view, answer in zip(views, answers, strict=True):
        expected, found = here([view])(), answer()
        assert {name: values.tolist() for name, values in found.items()} == {
            name: values.tolist() for name, values in expected.items()
        }


def test_a_video_that_nobody_finds_is_a_row(cluster, home):
    catalog = named_catalog([str(home / "gone.mp4"), str(home / "videos/v1.mp4")])
    assert dict(zip(catalog["source"].to_pylist(), catalog["error_class"].to_pylist(), strict=True)) == {
        None: "FileNotFound",
        str(home / "videos/v1.mp4"): None,
    }


@pytest.mark.slow
def test_a_shard_set_gives_its_own_flow(few, home, tmp_path):
    """No flow is computed: the networks see what training sees."""
    config = override(config_of(home, tmp_path / "out"), {"ingest.max_failed": "0"})
    loaded = load_named(config.model)
    wanted = request.wanted_of(config.clips, config.evaluation, loaded, (8, 0, 0, "pad"), ["avg_pool"])
    own = replace(config, clips=replace(config.clips, crop=32), ingest=replace(config.ingest, short_side=32))
    clips = request.clips_of(own, [few.ingest.shards], [])
    manifest = compute_features(clips.config, wanted, loaded, clips.catalog, clips.shards, silent)
    assert manifest["videos"]["present"] == manifest["videos"]["expected"] == 40
    assert "flow" not in manifest["rate"]["stages"]
    assert {row["windows"] for row in read_videos(f"{tmp_path}/out/_videos.parquet").to_pylist()} == {2}


def test_what_cannot_be_is_said_before_anything_is_done(home, tmp_path):
    config = config_of(home, tmp_path)
    loaded = load_named(config.model)
    with pytest.raises(LayerError, match=r"did you mean layer4\? --list-layers shows all"):
        request.wanted_of(config.clips, config.evaluation, loaded, (0, 0, 0, "drop"), ["layer_4"])
    with pytest.raises(ConfigError, match=r"is of resnet3d18; give --model.name resnet3d18"):
        load_named(config_of(home, tmp_path, **{"model.name": "i3d"}).model)
    with pytest.raises(ConfigError, match="no network: give --model URI"):
        load_named(Config().model)
    with pytest.raises(ConfigError, match="no videos: name files"):
        request.clips_of(config, [], [])


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("WALK"), reason="WALK=1: two more Ray clusters; test_staged.py kills a worker")
def test_a_run_that_is_killed_goes_on_and_ends_as_if_it_had_not_been(home, whole):
    """kill -9 in the middle; a file of no bytes that a lost disk left; the same command."""
    out = home / "killed"
    command = [
        sys.executable, "jobs/extract_features.py", str(home / "videos"), "--out", str(out), "--step", "4",
        "--storage", str(home / "storage"), *(
            word for name, value in {
                "model.name": "resnet3d18", "model.levels": "signed", "ingest.short_side": "40", "clips.crop": "32",
                "ingest.max_failed": "0.4", "clips.frames": "8", "ingest.clips_per_shard": "5",
                **{f"ingest.flow.{name}": value for name, value in FLOW.items()},
                **{f"model.weights.{stream}": str(home / f"{stream}.pt") for stream in ("rgb", "flow")},
            }.items() for word in (f"--{name}", value)
        ),
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    first = subprocess.Popen(command, cwd=CHECKOUT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    limit = time.monotonic() + 300
    while not any(path.stat().st_size for path in out.glob("_staging/*/*")) and time.monotonic() < limit:
        if first.poll() is not None:
            break
        time.sleep(0.05)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert not (out / "_manifest.json").exists(), first.stderr.read().decode()
    for folder in out.glob("_staging/*/"):
        if folder.is_dir():
            (folder / ("0" * 32 + ".parquet")).touch()
    second = subprocess.run(command, cwd=CHECKOUT, env=environment, capture_output=True, text=True)
    assert second.returncode == 0, second.stderr
    assert "done before" in second.stderr
    assert content(out) == content(whole)
