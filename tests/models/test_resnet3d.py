import pytest
import torch

from pipeline.models import create_model
from pipeline.models.cost import count_parameters


@pytest.mark.parametrize(
    ("name", "shortcut", "parameters"),
    [
        ("resnet3d18", "B", 33_409_104),
        ("resnet3d34", "B", 63_718_736),
        ("resnet3d50", "A", 44_242_000),
    ],
)
def test_parameters_with_the_other_shortcut(name, shortcut, parameters):
    with torch.device("meta"):
        assert count_parameters(create_model(name, num_classes=400, shortcut=shortcut)) == parameters


def test_parameters_of_the_2020_files():
    with torch.device("meta"):
        model = create_model("resnet3d18", num_classes=700, shortcut="B")
        wide = create_model("wide_resnet3d50", num_classes=700, stem_width=128)
    assert count_parameters(model) == 33_563_004
    assert wide.conv1.weight.shape[0] == 128


def test_gradient_flows_through_shortcut_a_unless_told_otherwise():
    x = torch.randn(1, 4, 2, 4, 4, requires_grad=True)
    for gradient in (True, False):
        model = create_model("resnet3d18", num_classes=2, shortcut_gradient=gradient)
        block = model.layer2[0].downsample
        y = block(x.repeat(1, 16, 1, 1, 1))
        assert y.shape == (1, 128, 1, 2, 2)
        assert y.requires_grad == gradient
    assert torch.equal(y[:, 64:], torch.zeros(1, 64, 1, 2, 2))


@pytest.mark.parametrize(
    ("size", "map_size"), [((16, 112, 112), (1, 4, 4)), ((17, 113, 40), (2, 4, 2)), ((1, 1, 1),) * 2]
)
def test_sizes_of_conv5_round_up(size, map_size):
    with torch.device("meta"):
        model = create_model("resnet3d50", num_classes=3).eval()
        assert model.features(torch.empty(1, 3, *size)).shape[2:] == map_size


def test_preactivation_ends_without_norm_as_published():
    with torch.device("meta"):
        published = create_model("preact_resnet3d200", num_classes=400)
        finished = create_model("preact_resnet3d200", num_classes=400, final_norm=True)
    assert count_parameters(published) == 127_419_088
    assert count_parameters(finished) - count_parameters(published) == 2 * 2048


def test_wrong_options_are_refused():
    with pytest.raises(ValueError, match='shortcut is "C", must be "A" or "B"'):
        create_model("resnet3d18", num_classes=2, shortcut="C")
    with pytest.raises(ValueError, match="stem_depth is 4, must be odd"):
        create_model("resnet3d18", num_classes=2, stem_depth=4)
    with pytest.raises(ValueError, match="time_padding"):
        create_model("resnet3d18", num_classes=2, time_padding="reflect")
