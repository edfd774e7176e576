"""Any layer of any network by its name, with the shape that is told before a clip is there."""

import pytest
import torch

from pipeline.features.layers import LayerError, Taps, layer_shapes, least_frames, named
from pipeline.models import create_model, list_models

SIZES = {"c3d": (16, 112), "convnet_lstm": (5, 64), "two_stream": (1, 64), "fused_two_stream": (2, 64)}


def clips_of(name: str) -> dict[str, tuple[int, ...]]:
    """Small clips for each input of a network."""
    info = next(info for info in list_models(name))
    frames, side = SIZES.get(name, (16, 64))
    ten = name in ("two_stream", "fused_two_stream")
    return {
        each: (channels, frames * (10 if ten and each == "flow" else 1), side, side)
        for each, (channels, _, _) in info.clips.items()
    }


@pytest.mark.parametrize(
    "name",
    [
        "i3d", "resnet3d18", "t3d121", "convnet_lstm", "two_stream", "fused_two_stream", "i3d_resnet50",
        pytest.param("c3d", marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_the_shapes_that_are_told_are_those_that_come(name):
    network, clips = create_model(name, 7).eval(), clips_of(name)
    shapes = layer_shapes(network, clips)
    last = [layer for layer in shapes if layer not in ("avg_pool", "logits", "probabilities")][-3:]
    layers = ("avg_pool", "logits", "probabilities", *last)
    given = {each: torch.rand(3, *shape) for each, shape in clips.items()}
    maps, means = Taps(network, layers, "none")(given), Taps(network, layers)(given)
    for layer in layers:
        assert tuple(maps[layer].shape) == (3, *shapes[layer])
        if maps[layer].ndim == 5:
            assert torch.allclose(maps[layer].mean(dim=(2, 3, 4)), means[layer], atol=1e-6)
    assert torch.allclose(means["probabilities"].sum(1), torch.ones(3))
    with torch.inference_mode():
        assert torch.allclose(means["logits"], network(*given.values()), atol=1e-6)
        if hasattr(network, "pooled_features"):
            assert torch.allclose(means["avg_pool"], network.pooled_features(*given.values()), atol=1e-6)
    assert not network._forward_hooks
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


def test_what_a_later_layer_overwrites_is_kept():
    """In I3D, ReLU works in place on the output of batch norm."""
    network = create_model("i3d", 3).eval()
    output = Taps(network, ["Conv3d_1a_7x7.bn"], "none")({"x": torch.rand(1, 3, 8, 32, 32)})["Conv3d_1a_7x7.bn"]
    assert (output < 0).any()


def test_a_wrong_name_is_answered_with_the_nearest():
    known = list(layer_shapes(create_model("i3d", 3), {"x": (3, 16, 64, 64)}))
    assert named(["mixed_5C", "AVG_POOL", "Mixed_5c"], known) == ("Mixed_5c", "avg_pool")
    with pytest.raises(LayerError, match=r"--layers mixed5c: .* did you mean Mixed_5c\? --list-layers shows all"):
        named(["mixed5c"], known)
    with pytest.raises(LayerError, match="no such layer; --list-layers shows all"):
        named(["zzzzzzzz"], known)


def test_the_least_number_of_frames_is_found():
    network = create_model("densenet3d121", 3)
    with pytest.raises(LayerError, match="at least 15 frames of 29x29, got 4 frames"):
        layer_shapes(network, {"x": (3, 4, 112, 112)})
    assert least_frames(network, {"x": (3, 4, 112, 112)}) == 15
    assert least_frames(create_model("two_stream", 3), {"rgb": (3, 1, 64, 64), "flow": (2, 10, 64, 64)}) == 1
