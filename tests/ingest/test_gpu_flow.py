"""Which backend computes a set's flow, that no set mixes two, and the way over the cluster's actors."""

import json
from pathlib import Path

import numpy as np
import pytest
import ray

from pipeline.command_line import override
from pipeline.config import Config
from pipeline.flow import quantise, tvl1
from pipeline.ingest.catalog import configured_catalog
from pipeline.ingest.decode.child_process import decode_in_child
from pipeline.ingest.gpu_flow import on_gpus
from pipeline.ingest.run import IngestError, ingest
from pipeline.ingest.stages import make_convert
from pipeline.shards import decode_flow, read_clips

pytestmark = pytest.mark.ray


def silent(line: str) -> None:
    """Progress of a test goes nowhere."""


def again(config: Config, folder: Path, **changes: str) -> Config:
    """The same clips into another folder, fewer of them."""
    names = {"storage": str(folder), "ingest.shards": str(folder / "shards"), "catalog.limit": "2"}
    return override(config, names | {name.replace("__", "."): value for name, value in changes.items()})


def begun(config: Config, backend: str, complete: bool = False) -> None:
    """A set that another machine began, as its plan says."""
    ingest(override(config, {"ingest.flow.backend": "cpu"}), configured_catalog(config), silent)
    folder = Path(config.ingest.shards)
    plan = json.loads((folder / "_plan.json").read_text())
    plan["settings"]["flow"]["backend"] = backend
    (folder / "_plan.json").write_text(json.dumps(plan))
    if not complete:
        (folder / "_manifest.json").unlink()


def test_actors_give_what_the_backend_gives_slice_by_slice(cluster, tiny, monkeypatch):
    (row, *_) = configured_catalog(tiny).to_pylist()
    frames, _ = decode_in_child(row["source"], None, None, 25, 32)
    compute = on_gpus(count=2, memory_gib=0.5, gpus_each=0)  # torch finds no GPU there and computes on the CPU
    expected = tvl1(frames, "cuda", nscales=1, warps=1)
    for _ in range(3):
        assert np.array_equal(compute(frames, "cuda", nscales=1, warps=1), expected)
    monkeypatch.setattr("pipeline.ingest.stages.GPU_PICTURES", 5)
    ingest_config = override(tiny, {"ingest.flow.backend": "cuda"}).ingest
    staged = make_convert(ingest_config, compute)({**row, "status": None})
    assert staged["status"] is None, staged["error_message"]
    assert staged["flow_backend"] == "cuda"
    assert staged["flow_version"].startswith("cuda")
    whole = tvl1(frames, "cuda", **ingest_config.flow.parameters)
    levels = decode_flow(staged["flow"].read(), np.arange(len(whole)))
    assert np.array_equal(levels, quantise(whole, ingest_config.flow.bound))


def test_an_actor_that_fails_costs_one_clip(cluster, tiny):
    compute = on_gpus(count=1, memory_gib=1e-6, gpus_each=0)
    (row, *_) = configured_catalog(tiny).to_pylist()
    failed = make_convert(override(tiny, {"ingest.flow.backend": "cuda"}).ingest, compute)({**row, "status": None})
    assert failed["status"] == "failed"
    assert "memory_gib" in failed["error_message"]


def test_a_killed_actor_begins_anew(cluster):
    frames = np.random.default_rng(0).integers(0, 256, (3, 24, 32, 3), np.uint8)
    compute = on_gpus(count=1, memory_gib=0.5, gpus_each=0)
    before = compute(frames, "cuda", nscales=1, warps=1)
    ray.kill(compute.actors[0], no_restart=False)
    assert np.array_equal(compute(frames, "cuda", nscales=1, warps=1), before)


def test_auto_is_the_cpu_where_there_is_no_gpu(cluster, tiny, tmp_path):
    config = again(tiny, tmp_path)
    ingest(config, configured_catalog(config), silent)
    rows = read_clips(config.ingest.shards).to_pylist()
    assert {row["flow_backend"] for row in rows} == {"cpu"}
    assert len({row["flow_version"] for row in rows}) == 1


@pytest.mark.parametrize(("gpu", "message"), [("auto", "needs|has no GPU"), ("no", "resources.gpu is no")])
def test_cuda_without_a_gpu_is_refused_before_anything_is_written(cluster, tiny, tmp_path, gpu, message):
    config = again(tiny, tmp_path, ingest__flow__backend="cuda", resources__gpu=gpu)
    with pytest.raises(IngestError, match=message):
        ingest(config, configured_catalog(config), silent)
    assert not (tmp_path / "shards").exists()


def test_auto_is_cuda_where_there_are_gpus(cluster, tiny, tmp_path, monkeypatch):
    """Ray is told that it has two; that an actor each cannot start there is not what is tested."""
    found = ray.cluster_resources()
    monkeypatch.setattr(ray, "cluster_resources", lambda: {**found, "GPU": 2.0})
    monkeypatch.setattr("pipeline.ingest.product.on_gpus", lambda count, gib, each: on_gpus(count, gib, gpus_each=0))
    config = again(tiny, tmp_path)
    ingest(config, configured_catalog(config), silent)
    assert set(read_clips(config.ingest.shards)["flow_backend"].to_pylist()) == {"cuda"}


def test_a_set_that_was_begun_with_one_backend_is_not_finished_with_another(cluster, tiny, tmp_path):
    config = again(tiny, tmp_path)
    begun(config, "opencv")
    with pytest.raises(IngestError, match=r"made with settings\.flow\.backend = opencv, now asked for cpu"):
        ingest(override(config, {"ingest.flow.backend": "cpu"}), configured_catalog(config), silent)
    with pytest.raises(IngestError, match=r"made with flow_version = cpu.*, now asked for opencv"):
        ingest(config, configured_catalog(config), silent)  # auto takes up opencv, and finds another version


def test_a_set_that_was_begun_with_cuda_waits_for_a_gpu(cluster, tiny, tmp_path):
    config = again(tiny, tmp_path)
    begun(config, "cuda")
    with pytest.raises(IngestError, match="to be computed by cuda, and Ray has no GPU"):
        ingest(config, configured_catalog(config), silent)


def test_a_complete_set_is_read_whatever_made_it(cluster, tiny, tmp_path):
    config = again(tiny, tmp_path)
    begun(config, "cuda", complete=True)
    assert ingest(config, configured_catalog(config), silent)["splits"]["val"]["present"] == 2
