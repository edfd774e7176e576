"""Supervision transfer: pairs, the network that tells them apart, and what is kept of it."""

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.models import densenet121

from pipeline.clips.index import ClipIndex
from pipeline.clips.loader import Batch
from pipeline.clips.pairs import PairSampler, matched, partners
from pipeline.command_line import override
from pipeline.config import Config, ConfigError, ModelConfig
from pipeline.networks import build_network
from pipeline.runs.supervision_transfer import check_transfer, transfer
from pipeline.shards import ShardError
from pipeline.training.checkpoints import State
from pipeline.training.initial_weights import load_start
from pipeline.training.matching_network import MATCHING, build_matching, student_state
from pipeline.training.optimisers import build_optimiser
from pipeline.training.rank import Rank
from pipeline.training.step import train_step
from pipeline.training.tasks import task_of


def index_of(videos):
    """An index of unlabelled clips, several of a video."""
    ids = np.array([f"youtube8m.{video}.{10 * number}-{10 * number + 10}" for number, video in enumerate(videos)])
    count = len(ids)
    return ClipIndex(
        shards="shards", split="train", digest="digest", labels=(), files=("f",), clip_ids=ids,
        file=np.zeros(count, np.int32), row_group=np.arange(count, dtype=np.int32), label=np.full(count, -1),
        num_frames=np.full(count, 40), num_flow=np.full(count, 39), size=np.full((count, 2), 32, np.int32),
    )  # fmt: skip


VIDEOS = [*"aabacdddde", "f-_", "f", *"ggh"]


def test_half_of_the_pairs_are_of_one_clip_and_the_others_never_of_one_video():
    index = index_of(VIDEOS)
    rows = np.stack([partners(index, seed=0, epoch=epoch) for epoch in range(300)])
    own = np.arange(len(VIDEOS))
    same = rows == own
    assert (same.sum(axis=1) == 8).all()  # of 15
    different = rows[~same], np.broadcast_to(own, rows.shape)[~same]
    assert all(VIDEOS[a] != VIDEOS[b] for a, b in zip(*different, strict=True))
    for clip in own:  # and any of another video may be met
        met = set(rows[:, clip][~same[:, clip]].tolist())
        assert met == {other for other in own.tolist() if VIDEOS[other] != VIDEOS[clip]}


def test_pairs_are_a_function_of_seed_and_epoch_and_those_of_the_validation_stay():
    index = index_of(VIDEOS)
    assert np.array_equal(partners(index, 3, 5), partners(index, 3, 5))
    assert not np.array_equal(partners(index, 3, 5), partners(index, 3, 6))
    assert not np.array_equal(partners(index, 3, 5), partners(index, 4, 5))
    assert not np.array_equal(partners(index, 3, None), partners(index, 3, 0))


def test_clips_of_one_video_alone_cannot_be_paired():
    with pytest.raises(ShardError, match="all 3 clips of 'train' are of one video"):
        partners(index_of("aaa"), 0, 0)


def test_labels_say_which_pairs_match_and_both_sides_of_one_are_the_same_window():
    index = index_of(VIDEOS)
    rows = partners(index, 0, 0)
    assert matched(index, rows).label.tolist() == (rows == np.arange(len(rows))).astype(int).tolist()
    sampler = PairSampler(lambda index, row, stream: (row, stream), rows)
    for row in range(len(rows)):
        assert sampler(index, row, "rgb") == (row, "rgb")
        assert sampler(index, row, "frames") == (rows[row], "rgb")


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """A file of DenseNet-121 as torchvision publishes it, with dots in its names and classes of its own."""
    torch.manual_seed(0)
    state = densenet121(weights=None, num_classes=7).state_dict()
    old = {name.replace("norm1.", "norm.1.").replace("conv2.", "conv.2."): value for name, value in state.items()}
    path = tmp_path_factory.mktemp("teacher") / "densenet121.pth"
    torch.save(old, path)
    return str(path)


def test_a_step_moves_the_student_and_leaves_the_teacher(teacher, tmp_path):
    config = Config(model=ModelConfig(name="i3d", streams=("rgb",), inflate=teacher, dropout=0.0))
    network = build_matching(config.model).train()
    assert not any(module.training for module in network.teacher.modules())
    assert isinstance(network.classifier[0], nn.Linear)
    assert [layer.weight.shape for layer in network.classifier if isinstance(layer, nn.Linear)] == [
        (512, 2048), (128, 512), (2, 128),
    ]  # fmt: skip
    before = {name: value.clone() for name, value in network.state_dict().items()}
    windows = torch.randint(256, (2, 4, 32, 32, 3), dtype=torch.uint8)
    batch = Batch({"frames": windows, "rgb": windows.flip(0)}, torch.tensor([0, 1]), torch.arange(2))
    state = State(network, build_optimiser(config.optimiser, network))
    here, streams = Rank(0, 1, torch.device("cpu"), None), task_of(config, MATCHING).streams
    logits = train_step(config.training, config.seed, network, [batch], streams, here, state)
    assert logits.shape == (2, 2)
    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert changed
    assert not any(name.startswith("teacher.") for name in changed)
    assert "student.Conv3d_1a_7x7.conv3d.weight" in changed

    torch.save(student_state(network.state_dict()), tmp_path / "student.pt")
    model = ModelConfig(name="i3d", fine_tune="full", weights={"rgb": str(tmp_path / "student.pt")})
    tuned = build_network(model, "rgb", 5)
    report = load_start(model, "rgb", tuned)
    assert torch.equal(tuned.Mixed_5c.b0.conv3d.weight, network.student.Mixed_5c.b0.conv3d.weight)
    assert set(report.kept.values()) == {"fresh classifier"}
    assert not report.missing


def test_the_frames_features_are_the_mean_over_time(teacher):
    network = build_matching(ModelConfig(name="i3d", streams=("rgb",), inflate=teacher))
    frames = torch.rand(1, 3, 2, 32, 32) * 2 - 1
    alone = [network.taught(frames[:, :, step : step + 1]) for step in range(2)]
    both = network.taught(frames)
    assert both.shape == (1, 1024)
    torch.testing.assert_close(both, (alone[0] + alone[1]) / 2, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("weights", ["", "resnet50", "/nowhere.pth"])
def test_another_teacher_is_refused_by_its_field(weights, monkeypatch):
    config = Config(model=ModelConfig(name="i3d", streams=("rgb",), inflate=weights))
    monkeypatch.setattr(
        "pipeline.training.matching_network.imagenet_weights", lambda name: {"conv1.weight": torch.zeros(1)}
    )
    with pytest.raises(ConfigError, match=r"model\.inflate: supervision transfer needs densenet121"):
        build_matching(config.model)


@pytest.mark.ray
@pytest.mark.slow
def test_a_job_on_clips_leaves_a_network_that_a_training_on_labels_starts_from(shards, teacher, tmp_path):
    fields = {
        "name": "transfer", "storage": str(tmp_path), "tracking.uri": f"sqlite:///{tmp_path}/mlflow.db",
        "model.streams": "rgb", "model.inflate": teacher, "evaluation.split": "val", "evaluation.val_frames": "4",
        "resources.workers": "1", "training.batch_size": "8",
    }  # fmt: skip
    config = override(shards, fields)
    check_transfer(config, {"train", "val", "test"})
    result = transfer(config)
    (epoch,) = result.trained.history
    assert (epoch["train/clips"], epoch["val/clips"]) == (16, 101)
    model = ModelConfig(name="i3d", fine_tune="full", weights={"rgb": result.student}, options=config.model.options)
    report = load_start(model, "rgb", build_network(model, "rgb", 8))
    assert set(report.kept) == {"logits.conv3d.weight", "logits.conv3d.bias"}
