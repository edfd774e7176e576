"""The benchmark of ingest measures what it says it does; its figures are not looked at."""

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from pipeline.benchmarks import throughput
from pipeline.benchmarks.ingest import access, stage_costs
from pipeline.benchmarks.peer import found
from pipeline.benchmarks.throughput import compare, copies, memory
from pipeline.config import FlowConfig, IngestConfig
from pipeline.ingest.decode.clip import decode_clip
from pipeline.shards import read_manifest
from tests.ingest.videos import make_video

FAST = IngestConfig(short_side=48, flow=FlowConfig(nscales=1, warps=1, epsilon=0.1))


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("files")
    return [make_video(folder / "a.mp4"), make_video(folder / "b.mkv", "libx265")]


def test_every_stage_of_every_clip_has_its_cost(files):
    peers = found()
    costs = list(stage_costs(files, FAST, pairs=3, repeats=1, peers=peers))
    stages = ["decode", "rgb encode", "flow", "flow encode", *peers]
    assert [(cost.clip, cost.stage) for cost in costs] == [(file.name, stage) for file in files for stage in stages]
    for file in files:
        shares = [cost.share for cost in costs if cost.clip == file.name and cost.stage not in peers]
        assert math.isclose(sum(shares), 100)
    assert all(cost.per_s > 0 for cost in costs)
    assert [cost.stage for cost in costs if cost.kb_a_frame] == ["rgb encode", "flow encode"] * 2
    assert all(cost.psnr_db >= FAST.min_psnr for cost in costs if cost.stage == "rgb encode")


def test_windows_are_read_from_both_kinds_of_key_frames(files):
    short, long = (access(files, FAST, frames=frames, windows=2, repeats=1) for frames in (8, 99))
    assert [line.frames for line in (*short, *long)] == [8, 8, 30, 30]
    (line,) = access(files[:1], FAST, frames=8, windows=2, repeats=2)
    assert line.source_kb == decode_clip(str(files[0]), None, None, 25, 48)[1].source_bytes / 30 / 1000
    assert line.long_gop_kb < 1.05 * line.stored_kb  # of so small a clip key frames cost next to nothing
    assert all(math.isfinite(value) for value in list(asdict(line).values())[1:])


@pytest.mark.ray
def test_ray_and_the_pool_do_the_same_clips(cluster, files, tmp_path):
    figures = compare(replace(FAST, streams=("rgb",)), copies(files, 2, 0.6), tmp_path, repeats=1)
    assert (figures.streams, figures.clips, figures.processes) == ("rgb", 2, 4)
    assert math.isclose(figures.ratio, figures.ray_per_s / figures.pool_per_s)
    (split,) = read_manifest(str(tmp_path / "rgb" / "ray-1"))["splits"].values()
    assert (split["present"], split["frames"]) == (2, 2 * 15)
    assert len(list((tmp_path / "rgb" / "pool").glob("*.parquet"))) == 2


def test_a_clip_that_fails_is_no_figure(files, tmp_path):
    (tmp_path / "text.mp4").write_text("not a video")
    with (
        ThreadPoolExecutor(1, initializer=throughput._prepare, initargs=(FAST, str(tmp_path / "pool"))) as pool,
        pytest.raises(throughput.BenchmarkError, match="1 of 2 clips cannot be ingested"),
    ):
        throughput._on_pool(pool, copies([files[0], tmp_path / "text.mp4"], 2, 0.2))


@pytest.mark.ray
def test_memory_is_sampled_over_the_run(cluster, tmp_path):
    rate, quarters = memory(24, tmp_path, every_s=0.01)
    assert rate > 0
    assert [part.quarter for part in quarters] == [1, 2, 3, 4]
    assert all(part.driver_mb > 10 and part.object_store_mb >= 0 for part in quarters)
