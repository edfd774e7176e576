import pytest
import torch
from torch import nn

from pipeline.models import create_model
from pipeline.models.c3d import _over_steps
from pipeline.models.layers import SameMaxPool3d


def test_eight_convolutions_five_poolings_and_norm_after_each_layer():
    with torch.device("meta"):
        model = create_model("c3d", num_classes=400)
    kinds = [type(m) for m in model.modules()]
    assert kinds.count(nn.Conv3d) == 8
    assert kinds.count(SameMaxPool3d) == 5
    assert kinds.count(nn.BatchNorm3d) == 8 + 2
    assert model.features.pool1.stride == (2, 2, 2)


@pytest.mark.parametrize(("frames", "steps"), [(16, 1), (32, 1), (33, 2), (240, 8)])
def test_long_clips_give_several_steps(frames, steps):
    with torch.device("meta"):
        model = create_model("c3d", num_classes=5).eval()
        assert model.logits_over_time(torch.empty(2, 3, frames, 112, 112)).shape == (2, 5, steps)
        assert model(torch.empty(2, 3, frames, 128, 97)).shape == (2, 5)


def test_other_sizes_need_the_option():
    with torch.device("meta"):
        assert create_model("c3d", num_classes=5, size=56)(torch.empty(2, 3, 16, 56, 56)).shape == (2, 5)
        with pytest.raises(ValueError, match="made for 112x112, got 112x160: use the option size"):
            create_model("c3d", num_classes=5)(torch.empty(2, 3, 16, 112, 160))


def test_norm_of_fully_connected_layers_is_over_clips_and_steps():
    x = 3 + torch.randn(4, 5, 6)  # clips, steps, features
    y = _over_steps(nn.BatchNorm3d(6), x)
    torch.testing.assert_close(y.mean(dim=(0, 1)), torch.zeros(6), atol=1e-5, rtol=0)
    torch.testing.assert_close(y.std(dim=(0, 1), correction=0), torch.ones(6), atol=1e-3, rtol=0)
