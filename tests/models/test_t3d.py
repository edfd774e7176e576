from pathlib import Path

import pytest
import torch
from torch import nn

from pipeline.models import create_model
from pipeline.models.cost import count_parameters
from pipeline.models.slices import sliceable
from pipeline.models.temporal_transition import TemporalTransition


def test_sizes_of_table_1():
    sizes = {}
    with torch.device("meta"):
        model = create_model("t3d121", num_classes=400)
        for name, module in model.features.named_children():
            module.register_forward_hook(lambda _m, _x, y, name=name: sizes.update({name: tuple(y.shape[1:])}))
        model(torch.empty(1, 3, 32, 224, 224))
    assert sizes["conv0"] == (64, 16, 112, 112)
    assert sizes["pool0"] == (64, 16, 56, 56)
    assert sizes["denseblock1"] == (256, 16, 56, 56)
    assert sizes["transition1"] == (384, 8, 28, 28)
    assert sizes["transition2"] == (384, 4, 14, 14)
    assert sizes["transition3"] == (384, 2, 7, 7)
    assert sizes["denseblock4"] == (896, 2, 7, 7)


def test_kernels_of_table_1():
    with torch.device("meta"):
        features = create_model("t3d169", num_classes=400).features
    kernels = [
        [branch.conv.kernel_size for branch in features.get_submodule(f"transition{i}").branches] for i in (1, 2, 3)
    ]
    assert kernels == [
        [(1, 1, 1), (3, 3, 3), (6, 3, 3)],
        [(1, 1, 1), (3, 3, 3), (4, 3, 3)],
        [(1, 1, 1), (3, 3, 3), (4, 3, 3)],
    ]


def test_even_depth_pads_one_step_more_at_the_end():
    layer = TemporalTransition(1, depths=(4,), widths=1, pool=1).eval()
    conv = layer.branches[0].conv
    nn.init.zeros_(conv.weight)
    conv.weight.data[0, 0, 0, 1, 1] = 1.0  # picks the earliest of the four frames
    x = torch.arange(1.0, 6.0).reshape(1, 1, 5, 1, 1)
    assert layer(x).flatten().round().tolist() == [0, 1, 2, 3, 4]


def test_temporal_transition_works_in_a_resnet():
    backbone = create_model("resnet3d18", num_classes=4)
    layer = TemporalTransition(64, depths=(1, 2, 5), widths=(16, 16, 32), pool=1)
    backbone.layer1.append(layer)
    clip = torch.randn(2, 3, 8, 32, 32)
    loss = backbone(clip).logsumexp(dim=1).sum()
    loss.backward()
    assert layer.outputs == 64
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in layer.parameters())


def test_options_of_the_transition():
    model = create_model("t3d121", num_classes=2, temporal_depths=((1, 2), (1, 3), (2, 3)), branch_width=(32, 64))
    assert model.features.transition2.outputs == 96
    with pytest.raises(ValueError, match="must be as many"):
        TemporalTransition(8, depths=(1, 3), widths=(4,))
    with pytest.raises(ValueError, match="must have 3, one a transition"):
        create_model("t3d121", num_classes=2, temporal_depths=((1, 3),))


@pytest.mark.parametrize(
    ("name", "inputs"),
    [
        ("resnet3d50", {"transition1": 256, "transition2": 512, "transition3": 1024}),
        ("resnet3d18", {"transition1": 64, "transition2": 128, "transition3": 256}),
        ("preact_resnet3d200", {"transition1": 256, "transition2": 512, "transition3": 1024}),
        ("i3d_resnet50", {"transition1": 256, "transition2": 512, "transition3": 1024}),
        ("i3d", {"Transition_3": 480, "Transition_4": 832}),
    ],
)
def test_any_network_takes_temporal_transition_layers_behind_its_stages(name, inputs):
    with torch.device("meta"):
        plain, model = (create_model(name, 7, temporal_transitions=chosen).eval() for chosen in (False, True))
        found = {key: each for key, each in model.named_modules() if isinstance(each, TemporalTransition)}
        assert list(found) == list(inputs)
        for (key, layer), depths in zip(found.items(), [(1, 27, 54), (1, 27, 36), (1, 27, 36)], strict=False):
            convolutions = inputs[key] * 128 * sum(depths)  # 1x1x1, 3x3x3, and 6x3x3 or 4x3x3
            assert sum(p.numel() for p in layer.parameters()) == convolutions + 3 * 2 * inputs[key]
        clip = torch.empty(2, 3, 16, 64, 64)
        assert model(clip).shape == (2, 7)
        assert model.features(clip).shape[1:3] == plain.features(clip).shape[1:3]
        assert (name == "i3d") == bool(sliceable(plain, ("rgb",)))
        assert not sliceable(model, ("rgb",))


def test_a_network_with_temporal_transition_layers_learns_in_all_of_them():
    model = create_model("i3d", 3, temporal_transitions=True)
    model(torch.randn(2, 3, 8, 32, 32)).square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.parameters())
    assert model.Transition_3.branches[0].norm.momentum == 0.001  # that of the network


@pytest.mark.parametrize(("name", "parameters"), [("resnet3d50", "60.58 M"), ("i3d", "24.27 M")])
def test_the_readme_says_what_a_network_with_temporal_transition_layers_costs(name, parameters):
    with torch.device("meta"):
        model = create_model(name, 400, temporal_transitions=True)
    assert f"{count_parameters(model) / 1e6:.2f} M" == parameters
    assert parameters in (Path(__file__).parents[2] / "pipeline/models/README.md").read_text()
