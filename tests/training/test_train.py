"""Training under Ray Train: exact validation, checkpoints, resume equal to an uninterrupted run."""

import json
import math
from pathlib import Path

import pytest
import torch
from torch.optim import SGD

from pipeline.clips.loader import Batch
from pipeline.command_line import override
from pipeline.config import Config, load
from pipeline.evaluation.score_clips import FUSED, evaluate
from pipeline.ingest.catalog import configured_catalog
from pipeline.ingest.run import ingest
from pipeline.networks import build_network, load_network
from pipeline.tracking.runs import Run, tracked_run
from pipeline.training.checkpoints import State
from pipeline.training.rank import Rank
from pipeline.training.step import train_step
from pipeline.training.trainer import Trained, train_stream

pytestmark = pytest.mark.ray


def fit(config: Config, folder: Path, stream: str = "flow") -> tuple[Trained, Run]:
    """Train under an MLflow run of its own store."""
    uri = f"sqlite:///{folder}/mlflow.db"
    with tracked_run(uri, "test", "run", artifacts=str(folder / "artifacts")) as run:
        return train_stream(config, stream, run, str(folder)), run


@pytest.fixture(scope="module")
def two_epochs(shards, tmp_path_factory) -> tuple[Config, Trained, Run]:
    """Two epochs on two workers, not interrupted; with all that a training may carry from epoch to epoch."""
    carried = {
        "training.epochs": "2", "training.average": "0.5", "training.mixup": "0.4", "training.accumulate": "2",
        "schedule.name": "step", "schedule.milestones": "1", "tracking.every_steps": "1",
    }  # fmt: skip
    config = override(shards, carried)
    return config, *fit(config, tmp_path_factory.mktemp("two_epochs"))


def test_validation_counts_101_clips_once_on_two_workers(two_epochs):
    _, trained, _ = two_epochs
    assert [row["val/clips"] for row in trained.history] == [101, 101]
    assert [row["perf/workers"] for row in trained.history] == [2, 2]
    assert [row["train/clips"] for row in trained.history] == [16, 16]


def test_the_best_checkpoint_is_the_one_with_the_lowest_validation_loss(two_epochs):
    config, trained, _ = two_epochs
    assert trained.best["val/loss"] == min(row["val/loss"] for row in trained.history)
    folder = Path(trained.checkpoint)
    assert load(Config, folder / "config.yaml") == config
    history = json.loads((folder / "history.json").read_text())
    assert history[-1]["val/loss"] == trained.best["val/loss"]
    network = load_network(config.model, "flow", 8, folder / "model.pt")
    assert network(torch.zeros(1, 2, 4, 32, 32)).shape == (1, 8)


def test_every_epoch_is_in_mlflow_under_one_finished_run(two_epochs):
    _, trained, run = two_epochs
    logged = run.client.get_metric_history(run.run_id, "val/loss")
    assert [(metric.step, metric.value) for metric in logged] == [
        (epoch, row["val/loss"]) for epoch, row in enumerate(trained.history, start=1)
    ]
    assert run.client.get_run(run.run_id).info.status == "FINISHED"


def test_every_step_is_a_point_of_curves_in_mlflow(two_epochs):
    _, trained, run = two_epochs
    steps = {name: run.client.get_metric_history(run.run_id, f"step/{name}") for name in ("loss", "lr", "data_wait")}
    assert [point.step for point in steps["loss"]] == [1, 2]  # 16 clips: two workers, two batches of four each
    for point, epoch in zip(steps["loss"], trained.history, strict=True):
        assert point.value == pytest.approx(epoch["train/loss"], rel=0.3)  # of mixed clips, which the epoch's is not
    assert [point.value for point in steps["lr"]] == [epoch["lr"] for epoch in trained.history]
    assert all(0 <= point.value <= 1 for point in steps["data_wait"])
    rates = run.client.get_metric_history(run.run_id, "step/clips_per_second")
    assert all(point.value > 0 for point in rates)


@pytest.mark.slow
def test_a_run_that_a_crash_stopped_ends_as_one_that_ran_through(two_epochs, shards, tmp_path):
    config, whole, _ = two_epochs
    fit(override(config, {"training.epochs": "1"}), tmp_path)  # all that is left of it: the first epoch's checkpoint
    resumed, _ = fit(config, tmp_path)
    assert len(resumed.history) == 2
    for one, other in zip(resumed.history, whole.history, strict=True):
        for name in ("train/loss", "val/loss", "train/top1", "val/top1", "lr"):
            assert one[name] == pytest.approx(other[name], rel=1e-5), name


def test_a_loss_that_is_not_finite_leaves_the_network_as_it_was_and_names_the_step(tiny):
    network = build_network(tiny.model, "flow", 8)
    with torch.no_grad():
        network.logits.conv3d.bias.fill_(math.inf)
    state = State(network, SGD(network.parameters(), lr=1.0), step=7)
    before = {name: value.clone() for name, value in network.named_parameters()}
    here = Rank(0, 1, torch.device("cpu"), None)
    batch = Batch({"flow": torch.zeros(2, 4, 32, 32, 2, dtype=torch.uint8)}, torch.zeros(2).long(), torch.arange(2))
    with pytest.raises(FloatingPointError, match=r"flow: loss is nan at step 7; lower optimiser\.lr"):
        train_step(tiny.training, tiny.seed, network, [batch], ("flow",), here, state)
    assert all(torch.equal(before[name], value) for name, value in network.named_parameters())


@pytest.mark.slow
def test_evaluation_agrees_with_validation_and_fuses_the_streams(two_epochs):
    config, trained, _ = two_epochs
    weights = {"rgb": rgb_weights(config, Path(trained.checkpoint)), "flow": trained.weights}
    scores = evaluate(config, weights, "val")
    assert len(set(scores.clip_ids)) == len(scores.clip_ids) == 101
    for name in ("rgb", "flow", FUSED):
        assert scores.accuracy(name).clips == scores.confusion(name).sum() == 101
    fused = (scores.logits["rgb"] + scores.logits["flow"]) / 2
    assert torch.allclose(torch.tensor(scores.all_logits[FUSED]), torch.tensor(fused))
    assert scores.accuracy("flow").top1 == pytest.approx(trained.best["val/top1"])
    assert scores.accuracy("flow").digest == scores.digest


def rgb_weights(config: Config, folder: Path) -> str:
    """An untrained RGB network."""
    torch.manual_seed(0)
    torch.save(build_network(config.model, "rgb", 8).state_dict(), folder / "rgb.pt")
    return str(folder / "rgb.pt")


@pytest.mark.slow
def test_a_network_of_both_streams_trains_on_both_at_once(shards, tmp_path):
    fields = {
        "model.name": "two_stream", "clips.frames": "10", "clips.rgb_every": "10", "evaluation.val_frames": "10",
        "resources.workers": "1", "training.batch_size": "8", "training.precise_batch_norm": "1",
        "training.train_fraction": "0.5",  # a clip of each class, of two
    }  # fmt: skip
    trained, _ = fit(override(shards, fields), tmp_path, "two_stream")
    assert (trained.best["train/clips"], trained.best["val/clips"]) == (8, 101)


@pytest.mark.slow
def test_full_size_windows_of_real_clips_train(cluster, clips_dir, tmp_path):
    """I3D as the paper trains it, 64 frames of 224 x 224, batch 1, for two steps on one worker."""
    for label, name in (("a", "arm_wrestling.mp4"), ("b", "mpeg4_320x240.avi")):
        for split in ("train", "val"):
            (tmp_path / "videos" / split / label).mkdir(parents=True)
            (tmp_path / "videos" / split / label / name).write_bytes((clips_dir / name).read_bytes())
    config = override(
        Config(),
        {
            "storage": str(tmp_path), "catalog.dataset": "folder", "catalog.videos": str(tmp_path / "videos"),
            "ingest.streams": "rgb", "ingest.allow_leaks": "true", "model.streams": "rgb",
            "clips.frames": "64", "clips.crop": "224",
            "training.batch_size": "1", "training.steps": "2", "training.epochs": "1", "evaluation.val_frames": "16",
            "resources.workers": "1", "resources.worker_cpus": "0.5", "resources.loader_cpus": "0.5",
        },
    ).resolved()  # fmt: skip
    ingest(config, configured_catalog(config), write=lambda line: None)
    trained, _ = fit(config, tmp_path, "rgb")
    assert trained.best["train/clips"] == 2
    assert math.isfinite(trained.best["val/loss"])
