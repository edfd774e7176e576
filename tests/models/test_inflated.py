"""Image classifiers of torchvision, inflated: they give for a boring video what they give for its image."""

import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.export import Dim

from pipeline.models import WeightsError, create_model, load_published
from pipeline.models.activation import class_activation
from pipeline.models.boring_video import BACKBONES, boring_video_error, shake
from pipeline.models.cost import count_parameters
from pipeline.models.inflated import image_classifier, inflate
from pipeline.models.inflated_layers import InflatedMaxPool, InflationError

from .references import relative_error

FAMILIES = (
    *("vgg11", "resnet18", "densenet121", "googlenet", "mobilenet_v2", "mobilenet_v3_small"),
    *("efficientnet_b0", "convnext_tiny"),
)


@cache
def network_2d(name: str, num_classes: int = 11) -> nn.Module:
    """A network of torchvision whose every layer counts."""
    with torch.device("meta"):
        network = image_classifier(name, num_classes).eval()
    network.to_empty(device="cpu")
    shake(network)
    return network


@pytest.mark.parametrize("name", FAMILIES)
def test_a_repeated_image_gives_the_logits_of_the_image(name):
    flat = network_2d(name)
    image, other = torch.rand(2, 1, 3, 64, 64) * 2 - 1
    with torch.inference_mode():
        model, expected = inflate(flat, time_padding="replicate"), flat(image)
        assert relative_error(model(image.unsqueeze(2).expand(-1, -1, 9, -1, -1)), expected) < 1e-4
        assert relative_error(flat(other), expected) > 1e-3  # the image matters


@pytest.mark.parametrize("name", ["googlenet", "convnext_tiny"])
def test_a_file_of_torchvision_fits(name):
    flat = network_2d(name)
    model = create_model("inflated", num_classes=11, backbone=name, time_padding="replicate").eval()
    state = {**flat.state_dict(), **({"aux1.fc1.weight": torch.ones(1)} if name == "googlenet" else {})}
    report = load_published(model, state)
    assert not report.missing
    assert report.loaded["fc.weight"] == {"googlenet": "fc.weight", "convnext_tiny": "classifier.2.weight"}[name]
    expected = inflate(flat).state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in model.state_dict().items() if "num_b" not in key)
    assert model.pooled_features(torch.rand(1, 3, 8, 32, 32)).shape == (1, model.fc.in_features)


def test_zeros_at_the_ends_of_the_clip_break_the_property():
    flat, image = network_2d("resnet18"), torch.rand(1, 3, 32, 32)
    with torch.inference_mode():
        found = inflate(flat)(image.unsqueeze(2).expand(-1, -1, 8, -1, -1))
        assert relative_error(found, flat(image)) > 1e-2


def test_a_clip_that_moves_is_not_its_first_frame():
    model, clip = inflate(network_2d("mobilenet_v3_small")), torch.rand(1, 3, 8, 32, 32)
    with torch.inference_mode():
        still = model(clip[:, :, :1].expand_as(clip))
        assert relative_error(model(clip), still) > 1e-3


@pytest.mark.parametrize(
    ("options", "depths", "frames"),  # of 53 convolutions 36 are 1x1, 16 are 3x3 and one is 7x7; of 32 frames
    [
        ({}, {1: 36, 3: 16, 7: 1}, 4),
        ({"kernels": "alternate"}, {1: 44, 3: 8, 7: 1}, 4),
        ({"kernels": "none", "pacing": (1, 1, 1, 2, 2)}, {1: 53}, 8),
        ({"pacing": (2, 2, 2, 2, 2)}, {1: 36, 3: 16, 7: 1}, 1),
    ],
)
def test_kernels_and_strides_extend_over_time_by_rule(options, depths, frames):
    with torch.device("meta"):
        model = create_model("inflated", num_classes=2, backbone="resnet50", **options).eval()
        seen = []
        model.network.layer4.register_forward_hook(lambda _module, _inputs, output: seen.append(output.shape))
        model(torch.empty(1, 3, 32, 64, 64))
    assert Counter(conv.kernel_size[0] for conv in model.modules() if isinstance(conv, nn.Conv3d)) == depths
    assert seen == [(1, 2048, frames, 2, 2)]


def test_inception_keeps_the_pacing_of_i3d():
    with torch.device("meta"):
        model = create_model("inflated", num_classes=2, backbone="googlenet")
    pools = {name: module.stride for name, module in model.network.named_modules() if re.fullmatch("maxpool.", name)}
    assert pools == {"maxpool1": (1, 2, 2), "maxpool2": (1, 2, 2), "maxpool3": (2, 2, 2), "maxpool4": (2, 2, 2)}
    assert model.network.conv1.conv.stride == (2, 2, 2)


def test_a_class_activation_map_is_of_its_last_stage_with_four_places():
    model = inflate(network_2d("mobilenet_v3_small"))
    logits, (activation,) = class_activation(model, {"x": torch.rand(1, 3, 8, 64, 64)}, [1])
    assert logits.shape == (1, 11)
    assert activation.layer == "network.features.8"
    assert min(activation.maps.shape[3:]) == 4


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small"])
def test_its_layers_are_found_by_name_and_its_classifier_is_one(name):
    with torch.device("meta"):
        model = create_model("inflated", num_classes=5, backbone=name).eval()
    assert [key for key, _ in model.named_modules() if key.endswith("fc") or key == "network.fc"] == ["fc"]
    shapes = {}
    for key, module in model.named_modules():
        module.register_forward_hook(lambda _module, _inputs, output, key=key: shapes.update({key: output.shape}))
    model(torch.empty(1, 3, 8, 64, 64, device="meta"))
    assert shapes[{"resnet18": "network.layer4", "mobilenet_v3_small": "network.features.12"}[name]][2:] == (1, 2, 2)


def test_an_exported_pooling_is_the_same_at_any_size():
    pool, axes = InflatedMaxPool((3, 3, 3), (2, 2, 2), (0, 0), (1, 1), ceil_mode=True), {2: Dim.DYNAMIC, 3: Dim.DYNAMIC}
    program = torch.export.export(pool, (torch.rand(1, 2, 18, 14, 14),), dynamic_shapes={"x": axes}).module()
    for shape in ((1, 2, 18, 14, 14), (1, 2, 9, 15, 14), (1, 2, 4, 8, 14)):
        clip = torch.rand(shape)
        assert torch.equal(program(clip), pool(clip))


def test_flow_and_an_own_checkpoint_fit():
    flat = network_2d("mobilenet_v3_small")
    flow = create_model("inflated", num_classes=11, backbone="mobilenet_v3_small", in_channels=2)
    report = load_published(flow, flat.state_dict())
    assert "3 channels averaged to 2" in report.converted["network.features.0.0.weight"]
    again = create_model("inflated", num_classes=11, backbone="mobilenet_v3_small", in_channels=2)
    load_published(again, flow.state_dict())
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in flow.state_dict().items())


def test_a_file_of_another_network_does_not_fit():
    with torch.device("meta"):
        model = create_model("inflated", num_classes=11, backbone="vgg11")
    with pytest.raises(WeightsError, match="image network, as inflated vgg11"):
        load_published(model, network_2d("mobilenet_v2").state_dict())


def test_the_2d_network_stays_as_it_was():
    flat, image = network_2d("mobilenet_v3_small"), torch.rand(1, 3, 32, 32)
    with torch.inference_mode():
        before = flat(image)
        model = inflate(flat).train()
        model(torch.rand(2, 3, 8, 32, 32))
        assert torch.equal(flat(image), before)
    assert isinstance(flat.features[0][0], nn.Conv2d)


class Flattening(nn.Sequential):
    """LeNet's way."""

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(3, 4, 3, stride=32), nn.Flatten(), nn.Linear(4 * 7 * 7, 5))


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (
            lambda: image_classifier("vit_b_32", 3),
            r"vit_b_32.* self_attention \(MultiheadAttention\), which has no form",
        ),
        (lambda: image_classifier("swin_t", 3), r"features\.1\.0\.attn \(ShiftedWindowAttention\), whose relative_pos"),
        (lambda: image_classifier("squeezenet1_0", 3), r"ends in classifier\.3 \(AdaptiveAvgPool2d\), not in a linear"),
        (lambda: image_classifier("shufflenet_v2_x0_5", 3), r"stage2\.0 \(InvertedResidual\), which calls size"),
        (Flattening, r"Flattening.* 2 \(Linear\) does not take an input of .*, does it flatten its maps\?"),
        (lambda: nn.Sequential(nn.Linear(3, 3)), "Sequential cannot be inflated"),
    ],
    ids=["vit", "swin", "squeezenet", "shufflenet", "flattening", "no network of images"],
)
def test_what_cannot_be_inflated_is_said_by_the_name_of_the_module(build, says):
    with torch.device("meta"):
        network = build()
    with pytest.raises(InflationError, match=says.replace(" self_", r".*self_")) as error:
        inflate(network, name="vit_b_32" if says.startswith("vit") else "")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"backbone": "resnet19"}, 'backbone is "resnet19"'),
        ({"kernels": "some"}, 'kernels is "some", must be one of all, alternate, none'),
        ({"pacing": (2, 2)}, r"pacing is \(2, 2\), must be five numbers"),
    ],
)
def test_a_wrong_option_is_said(options, says):
    with torch.device("meta"), pytest.raises(ValueError, match=says):
        create_model("inflated", num_classes=2, **{"backbone": "mobilenet_v3_small", **options})


def test_a_clip_that_is_too_short_is_said():
    with torch.device("meta"):
        model = create_model("inflated", num_classes=2, backbone="resnet18")
        with pytest.raises(ValueError, match="inflated resnet18: clip must be at least 8 frames of 32x32"):
            model(torch.empty(1, 3, 7, 32, 32))


README = (Path(__file__).parents[2] / "pipeline/models/README.md").read_text()
ROWS = {
    cells[0].strip("`"): cells
    for cells in (re.split(r" \| ", line.strip("| ")) for line in README.splitlines())
    if cells[0].strip("`") in BACKBONES and len(cells) == 5
}


def test_every_network_of_the_table_has_a_row_and_keeps_the_property():
    assert list(ROWS) == list(BACKBONES)
    assert all(float(cells[4]) < 1e-6 for cells in ROWS.values())


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small"])
def test_the_table_is_what_is_measured(name):
    with torch.device("meta"):
        flat = image_classifier(name, 400)
        counts = [count_parameters(flat), count_parameters(inflate(flat))]
    assert ROWS[name][1:3] == [f"{count / 1e6:.2f} M" for count in counts]
    assert boring_video_error(network_2d(name), side=32) < 1e-10
