"""Where networks look in stored clips: maps of all frames of the test, of each stream that a network takes."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from pipeline.clips.index import ClipIndex
from pipeline.command_line import override
from pipeline.evaluation.class_activation import attention
from pipeline.evaluation.example_clips import surest
from pipeline.evaluation.protocols import protocol_of
from pipeline.evaluation.scores import Scores
from pipeline.evaluation.views import ViewSampler
from pipeline.networks import build_network
from tests.shards.sets import make_set


@pytest.fixture(scope="module")
def index(tmp_path_factory) -> ClipIndex:
    """One clip of 12 frames of 32 x 48."""
    return ClipIndex.load(make_set(tmp_path_factory.mktemp("set")).path, "val")


@pytest.mark.parametrize(
    ("fields", "name", "shown"),
    [
        ({}, "rgb", {"rgb": (12, 32, 32, 3)}),  # the whole clip
        ({"clips.frames": "4", "evaluation.protocol": "views"}, "flow", {"flow": (11, 32, 32, 2)}),
        ({"model.name": "resnet3d18", "clips.frames": "5"}, "rgb", {"rgb": (12, 32, 32, 3)}),  # the last window loops
        ({"model.name": "convnet_lstm", "clips.stride": "5"}, "rgb", {"rgb": (3, 32, 32, 3)}),
        ({"model.name": "two_stream"}, "two_stream", {"rgb": (12, 32, 32, 3), "flow": (11, 32, 32, 2)}),
    ],
)
def test_every_frame_that_the_test_shows_has_a_map(index, tiny, fields, name, shown):
    config = override(tiny, fields)
    config = replace(config, model=replace(config.model, options={}))
    torch.manual_seed(0)
    network = build_network(config.model, name, 3).eval()
    sample = ViewSampler(config.clips, protocol_of(config.evaluation, config.model))
    found = attention(name, network, sample, index, 0, [2, 1], batch_size=3)
    assert {one.stream: one.frames.shape for one in found} == shown
    for one in found:
        classes, frames, height, width = one.maps.shape
        assert (classes, frames) == (2, len(one.frames))
        assert height == width >= 4
        assert np.isfinite(one.maps).all()
        assert one.maps.any()


def test_the_surest_clips_are_taken_class_by_class():
    logits = np.array([[9, 0, 0], [8, 0, 0], [0, 2, 0], [0, 7, 0], [1, 0, 0]], np.float32)
    targets = np.array([0, 0, 1, 2, 1])
    scores = Scores("test", "d", 0, ("a", "b", "c"), np.array(list("vwxyz")), targets, {"rgb": logits})
    assert surest(scores, "rgb", right=True, count=3) == [0, 2, 1]
    assert surest(scores, "rgb", right=True, count=2) == [0, 2]
    assert surest(scores, "rgb", right=False, count=9) == [3, 4]
