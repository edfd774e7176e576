"""The networks that a config names, and what they are given."""

import copy

import pytest
import torch
from torch import nn

from pipeline.config import ConfigError, ModelConfig
from pipeline.models import list_models
from pipeline.networks import LEVELS, _set_levels, build_network, network_inputs


def test_a_network_a_stream_or_one_that_takes_both():
    assert network_inputs(ModelConfig(name="i3d")) == {"rgb": ("rgb",), "flow": ("flow",)}
    assert network_inputs(ModelConfig(name="fused_two_stream")) == {"two_stream": ("rgb", "flow")}
    with pytest.raises(ConfigError, match=r"model\.streams: two_stream takes rgb,flow at once, not rgb"):
        network_inputs(ModelConfig(name="two_stream", streams=("rgb",)))


def test_one_stream_does_not_feed_a_network_that_takes_both():
    with torch.device("meta"), pytest.raises(ConfigError, match="two_stream takes rgb and flow at once, not flow"):
        build_network(ModelConfig(name="two_stream"), "flow", 3)


def test_a_network_without_dropout_takes_none():
    with torch.device("meta"):
        assert build_network(ModelConfig(name="resnet3d18", dropout=0.5), "rgb", 3).fc.out_features == 3


class Seen(nn.Module):
    """Gives back what it is given."""

    def forward(self, rgb, flow=None):
        return rgb, flow


@pytest.mark.parametrize(
    ("levels", "black", "white"),
    [
        ("activitynet", (-114.7748, -107.7354, -99.4750), (140.2252, 147.2646, 155.5250)),  # 0 and 255 less the mean
        ("imagenet", (-2.117904, -2.035714, -1.804444), (2.248908, 2.428571, 2.640000)),  # (0 - m) / s, (1 - m) / s
    ],
)
def test_levels_are_those_that_the_papers_networks_were_trained_on(levels, black, white):
    network = Seen()
    _set_levels(network, *LEVELS[levels])
    for each in (network, copy.deepcopy(network)):  # the moving average is a copy
        dark, flow = each(torch.full((1, 3, 1, 1, 1), -1.0), torch.tensor(7.0))
        light, _ = each(rgb=torch.full((1, 3, 1, 1, 1), 1.0), flow=flow)
        torch.testing.assert_close(dark.flatten(), torch.tensor(black), rtol=0, atol=1e-4)
        torch.testing.assert_close(light.flatten(), torch.tensor(white), rtol=0, atol=1e-4)
        assert flow == 7.0


@pytest.mark.parametrize(
    "name",
    [
        "i3d", "resnet3d18", "t3d121", "densenet3d121", "i3d_resnet50", "convnet_lstm",
        pytest.param("c3d", marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_a_clip_given_by_its_name_gets_the_same_levels_as_one_given_by_its_place(name):
    network = build_network(ModelConfig(name=name, streams=("rgb",), levels="imagenet"), "rgb", 2).eval()
    (clip,) = create_inputs(name)
    with torch.inference_mode():
        torch.testing.assert_close(network(x=clip), network(clip), rtol=0, atol=0)


def create_inputs(name: str) -> tuple[torch.Tensor, ...]:
    """The smallest clips that a network takes, by place."""
    info = next(info for info in list_models() if info.name == name)
    return tuple(torch.rand(1, channels, min(frames, 16), 112, 112) for channels, frames, _ in info.clips.values())


def test_flow_keeps_its_levels():
    with torch.device("meta"):
        network = build_network(ModelConfig(name="i3d", levels="imagenet"), "flow", 3)
        assert not network._forward_pre_hooks
        assert len(build_network(ModelConfig(name="i3d", levels="imagenet"), "rgb", 3)._forward_pre_hooks) == 1
