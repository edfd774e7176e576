"""The registered model's code, for what a network may take; through MLflow it runs in tests/jobs."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from pipeline.command_line import override
from pipeline.config import Config, to_dict
from pipeline.networks import build_network
from pipeline.shards import encode_video
from pipeline.tracking.video_classifier import VideoClassifier

SMALL = {
    "ingest.short_side": "32", "ingest.flow.nscales": "1", "ingest.flow.warps": "1", "ingest.flow.epsilon": "0.1",
    "clips.crop": "32",
}  # fmt: skip


@pytest.fixture(scope="module")
def video():
    """12 frames of 32 x 48."""
    frames = np.random.default_rng(0).integers(0, 256, (12, 32, 48, 3), dtype=np.uint8)
    return encode_video(frames, 25, 17, 6)


def classifier(tmp_path, fields, stream):
    config = override(Config(), {**SMALL, **fields})
    torch.manual_seed(0)
    torch.save(build_network(config.model, stream, 3).state_dict(), tmp_path / "network.pt")
    stored = {"labels": ["a", "b", "c"], "streams": [stream], "config": to_dict(config)}
    (tmp_path / "model.json").write_text(json.dumps(stored))
    model = VideoClassifier()
    artifacts = {"model": str(tmp_path / "model.json"), stream: str(tmp_path / "network.pt")}
    model.load_context(SimpleNamespace(artifacts=artifacts))
    return model


def test_a_network_of_both_streams_sees_whole_stacks_of_flow_and_their_frames(tmp_path, video):
    fields = {"model.name": "two_stream", "clips.frames": "10", "clips.rgb_every": "10"}
    model = classifier(tmp_path, fields, "two_stream")
    windows = model.windows(video)  # of 11 fields of flow one stack
    assert {stream: tuple(window.shape) for stream, window in windows.items()} == {
        "rgb": (1, 32, 32, 3),
        "flow": (10, 32, 32, 2),
    }
    (actions,) = model.predict([video])
    assert sum(actions.probabilities) == pytest.approx(1, abs=1e-5)


def test_a_network_of_many_scales_sees_the_whole_shorter_side_and_no_flow(tmp_path, video):
    fields = {"model.name": "resnet3d18", "model.streams": "rgb", "model.levels": "activitynet", "clips.crop": "16",
              "clips.augment": "multi_scale_corner_crop"}  # fmt: skip
    windows = classifier(tmp_path, fields, "rgb").windows(video)
    assert {stream: tuple(window.shape) for stream, window in windows.items()} == {"rgb": (12, 16, 16, 3)}
