import pytest
import torch
from torch import nn

from pipeline.models import create_model
from pipeline.models.t3d import TemporalTransition


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
