from functools import cache

import pytest
import torch
import torchvision

from pipeline.models import WeightsError, create_model, imagenet_weights, inflation, load_published
from pipeline.models.inflation import inflate_weight

from .references import relative_error, rule_weight


@cache
def network_2d(name):
    """A torchvision network whose every layer counts, in test."""
    options = {"aux_logits": False, "init_weights": False} if name == "googlenet" else {}
    model = torchvision.models.get_model(name, weights=None, num_classes=11, **options).eval()
    for key, value in model.state_dict().items():
        value.copy_(rule_weight(key, tuple(value.shape)))
    return model


# "Boring video", section 2.4: pooled features and logits of a repeated image are those of the 2D network.
@pytest.mark.parametrize(
    ("name", "options", "name_2d", "frames", "size"),
    [
        ("i3d", {"stem_padding": "symmetric"}, "googlenet", 4, 224),
        ("i3d", {}, "googlenet", 2, 223),  # where SAME is symmetric too
        ("i3d_resnet50", {}, "resnet50", 5, 64),
        ("resnet3d18", {"shortcut": "B"}, "resnet18", 9, 64),
        ("resnet3d50", {}, "resnet50", 3, 45),
        ("densenet3d121", {}, "densenet121", 16, 32),
        ("hara_densenet3d121", {}, "densenet121", 15, 45),
    ],
)
def test_repeated_image_gives_the_outputs_of_the_2d_network(name, options, name_2d, frames, size):
    flat = network_2d(name_2d)
    inflated = create_model(name, num_classes=11, time_padding="replicate", **options).eval()
    report = load_published(inflated, flat.state_dict())
    assert not report.missing
    image = torch.rand(1, 3, size, size) * 2 - 1
    clip = image.unsqueeze(2).expand(-1, -1, frames, -1, -1)
    with torch.inference_mode():
        pooled, expected = pooled_features(inflated, clip), pooled_features(flat, image)
        assert relative_error(pooled, expected) < 1e-4
        assert relative_error(inflated(clip), flat(image)) < 1e-4


def pooled_features(model, x):
    """Input of the classifier, averaged over what time and space are left."""
    seen = {}
    head = next(m for n, m in model.named_modules() if n in ("fc", "classifier", "logits.conv3d"))
    with torch.inference_mode():
        hook = head.register_forward_pre_hook(lambda _m, inputs: seen.update(x=inputs[0]))
        model(x)
        hook.remove()
    return seen["x"].flatten(2).mean(dim=2) if seen["x"].ndim > 2 else seen["x"]


def test_zeros_at_the_ends_of_the_clip_break_the_property_and_the_middle_keeps_it():
    flat = network_2d("resnet18")
    inflated = create_model("resnet3d18", num_classes=11, shortcut="B").eval()
    load_published(inflated, flat.state_dict())
    image = torch.rand(1, 3, 32, 32)
    with torch.inference_mode():
        maps = inflated.features(image.unsqueeze(2).expand(-1, -1, 512, -1, -1))
        expected = torch.nn.Sequential(*list(flat.children())[:-2])(image)
    assert relative_error(maps[:, :, maps.shape[2] // 2], expected) < 1e-4
    assert relative_error(maps[:, :, 0], expected) > 1e-2


def test_weights_are_repeated_and_divided():
    weight = torch.randn(4, 3, 5, 5)
    inflated = inflate_weight(weight, depth=7)
    assert inflated.shape == (4, 3, 7, 5, 5)
    torch.testing.assert_close(inflated.sum(dim=2), weight)
    torch.testing.assert_close(inflated[:, :, 0], weight / 7)


@pytest.mark.parametrize("channels", [2, 20])
def test_first_convolution_adapts_to_flow(channels):
    weight = torch.randn(4, 3, 5, 5)
    inflated = inflate_weight(weight, depth=3, in_channels=channels)
    assert inflated.shape == (4, channels, 3, 5, 5)
    torch.testing.assert_close(inflated.sum(dim=(1, 2)), weight.sum(dim=1))


@pytest.mark.parametrize("name", ["two_stream_i3d", "two_stream", "fused_two_stream"])
def test_googlenet_fills_each_stream(name):
    flat = network_2d("googlenet")
    model = create_model(name, num_classes=5)
    with pytest.raises(WeightsError, match="does not fit"):
        load_published(model, flat.state_dict())
    new = name == "fused_two_stream"  # which has layers beyond Inception-v1
    state = {**flat.state_dict(), "aux1.fc1.weight": torch.ones(1)}
    report = load_published(model, state, replace_classifier=True, partial=new)
    assert set(report.ignored) == {"fc.weight", "fc.bias", "aux1.fc1.weight"}
    assert {key.split(".")[0] for key in report.missing} <= {"fc", "fusion"}
    expected = flat.state_dict()["inception4b.branch2.1.conv.weight"]
    for trunk in model.trunks:
        torch.testing.assert_close(model.get_parameter(f"{trunk}Mixed_4c.b1b.conv3d.weight").sum(dim=2), expected)


def test_frame_by_frame_network_equals_googlenet():
    flat = network_2d("googlenet")
    model = create_model("convnet_lstm", num_classes=5, stem_padding="symmetric").eval()
    load_published(model, flat.state_dict(), partial=True)
    frames = torch.rand(2, 3, 224, 224) * 2 - 1  # two different ones
    with torch.inference_mode():
        maps = model.inception(frames.transpose(0, 1).unsqueeze(0))
    assert relative_error(maps.mean(dim=(3, 4))[0].T, pooled_features(flat, frames)) < 1e-4


def test_wide_resnet_has_the_shapes_of_torchvisions():
    with torch.device("meta"):
        flat = torchvision.models.wide_resnet50_2(num_classes=11).state_dict()
        inflated = create_model("wide_resnet3d50", num_classes=11).state_dict()
    without_time = {k: v.shape[:2] + v.shape[3:] if v.ndim == 5 else v.shape for k, v in inflated.items()}
    assert without_time == {key: value.shape for key, value in flat.items()}


def test_two_dimensional_shortcuts_do_not_fit_shortcut_a():
    with pytest.raises(WeightsError, match='seems to need create_model with shortcut="B"'):
        load_published(create_model("resnet3d18", num_classes=11), network_2d("resnet18").state_dict())


def test_a_name_or_version_that_torchvision_lacks_is_said():
    with pytest.raises(ValueError, match='torchvision has no weights "V9" of a network "resnet18"'):
        inflation.imagenet_weights("resnet18", "V9")
    with pytest.raises(ValueError, match='of a network "resnet19"'):
        imagenet_weights("resnet19")
