"""Class-activation maps: exact where the classifier is linear, and high where the thing is."""

import pytest
import torch
from torch import nn

from pipeline.models import create_model, list_models
from pipeline.models.activation import class_activation, map_layers, upsample

from .test_every_model import FAMILIES, small_clips, small_model

AFFINE = [name for name in FAMILIES if name not in ("c3d", "convnet_lstm", "fused_two_stream")]


def biases(model):
    """What a classifier adds, averaged over the streams."""
    head = [trunk + model.head for trunk in model.trunks] if "logits" in model.head else [model.head]
    return torch.stack([model.get_submodule(name).bias for name in head]).mean(dim=0)


@pytest.fixture(scope="module", params=FAMILIES)
def family(request):
    torch.manual_seed(0)
    (info,) = list_models(request.param)
    model = small_model(info).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):  # else most of them are zero
                parameter.normal_(std=0.1)
    size = 32 if info.name == "c3d" else 64
    return info, model, small_clips(info, size=size)


def test_every_network_has_a_map_of_every_stream_and_stays_as_it_was(family):
    _, model, clips = family
    before = [(parameter.requires_grad, parameter.grad) for parameter in model.parameters()]
    logits, activations = class_activation(model, clips, [2, 0])
    with torch.inference_mode():
        torch.testing.assert_close(logits, model(**clips), atol=1e-5, rtol=1e-5)
    assert [(parameter.requires_grad, parameter.grad) for parameter in model.parameters()] == before
    assert not any(module._forward_hooks for module in model.modules())
    assert len(activations) == len(model.trunks) == len(clips)
    for activation, clip in zip(activations, clips.values(), strict=True):
        assert activation.maps.shape[:2] == (2, 2)
        assert min(activation.maps.shape[3:]) >= 4
        assert activation.maps.abs().max() > 0
        size = tuple(clip.shape[2:])
        assert upsample(activation.maps, size).shape == (2, 2, *size)


def test_the_mean_of_the_map_and_the_bias_are_the_logit_where_the_classifier_is_linear(family):
    info, model, clips = family
    if info.name not in AFFINE:
        pytest.skip("its classifier is not linear")
    *_, last = [name for name, _ in model.named_modules() if name in LAST]
    layers = [trunk + last.removeprefix(model.trunks[-1]) for trunk in model.trunks]
    logits, activations = class_activation(model, clips, [0, 1, 2, 3], layers)
    mean = sum(activation.maps.mean(dim=(2, 3, 4)) for activation in activations)
    torch.testing.assert_close(mean + biases(model), logits, atol=1e-4, rtol=1e-4)


# The last volume of each family.
LAST = ("Mixed_5c", "rgb.Mixed_5c", "flow.Mixed_5c", "layer4", "features.norm5")


def test_the_map_is_the_volume_times_the_classifiers_weights():
    model, clip = create_model("resnet3d18", 3).eval(), torch.randn(2, 3, 32, 112, 112)
    _, (activation,) = class_activation(model, {"x": clip}, [1])
    with torch.no_grad():
        expected = torch.einsum("ncthw,c->nthw", model.features(clip), model.fc.weight[1])
    assert activation.layer == "layer4"
    torch.testing.assert_close(activation.maps[:, 0], expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("size", "layer"), [(224, "Mixed_5c"), (112, "Mixed_5c"), (64, "Mixed_4f"), (28, "Mixed_3c"), (8, "Conv3d_1a_7x7")]
)
def test_of_a_small_picture_an_earlier_layer_is_mapped(size, layer):
    model = create_model("i3d", 3).eval()
    assert map_layers(model, {"x": torch.zeros(1, 3, 2, size, size)}) == [layer]


def test_a_network_in_training_is_refused():
    with pytest.raises(ValueError, match="in training mode"):
        class_activation(create_model("resnet3d18", 3), {"x": torch.zeros(1, 3, 4, 32, 32)}, [0])


class Small(nn.Module):
    """Two 3D convolutions, the mean over space and time, a linear classifier."""

    trunks, head = ("",), "fc"

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential()
        for number, (inputs, outputs) in enumerate(((1, 8), (8, 16))):
            self.features.add_module(f"conv{number}", nn.Conv3d(inputs, outputs, 3, padding=1))
            self.features.add_module(f"relu{number}", nn.ReLU(inplace=True))
        self.fc = nn.Linear(16, 2)

    def forward(self, x):
        return self.fc(self.features(x).mean(dim=(2, 3, 4)))


def moving(steps, top, left, frames=8, size=20, side=4):
    """(frames, size, size): a square that moves by so many pixels a frame to the right."""
    clip = torch.zeros(frames, size, size)
    for frame in range(frames):
        clip[frame, top : top + side, left + steps * frame : left + steps * frame + side] = 1
    return clip


def test_of_a_trained_network_the_map_goes_with_the_thing_that_moves():
    torch.manual_seed(0)
    model, labels = Small(), torch.arange(16) % 2
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(40):
        tops = torch.randint(0, 16, (16,)).tolist()
        clips = [moving(1, t, 3) if right else moving(-1, t, 13) for t, right in zip(tops, labels, strict=True)]
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(model(torch.stack(clips)[:, None]), labels)
        loss.backward()
        optimiser.step()
    assert loss < 0.1
    shown = torch.stack([moving(1, 2, 3), moving(-1, 14, 13)])[:, None]
    logits, (activation,) = class_activation(model.eval(), {"x": shown}, [0, 1])
    assert logits.argmax(dim=1).tolist() == [1, 0]
    for clip, right in ((0, 1), (1, 0)):
        evidence = activation.maps[clip, right].clamp(min=0)
        near = nn.functional.max_pool3d(shown[clip], (1, 5, 5), 1, (0, 2, 2))[0].bool()  # two pixels around the square
        share = evidence[near].sum() / evidence.sum()
        assert near.float().mean() < 0.2
        assert share > 0.6  # the rest is what the biases leave everywhere
        for frame in range(1, 7):
            assert near[frame].flatten()[evidence[frame].argmax()]
