"""What holds for every network of the registry."""

import os

import pytest
import torch
from torch import nn

from pipeline.models import create_model, list_models
from pipeline.models.cost import count_gmacs, count_parameters

MODELS = list_models()
NAMES = [info.name for info in MODELS]
# one of each family, small enough to compute with
FAMILIES = (
    "i3d",
    "two_stream_i3d",
    "i3d_resnet50",
    "convnet_lstm",
    "c3d",
    "two_stream",
    "fused_two_stream",
    "t3d121",
    "densenet3d121",
    "resnet3d18",
    "resnext3d101",
    "hara_densenet3d121",
)


def small_clips(info, batch=2, frames=16, size=32):
    """Inputs of a network, as small as it takes; snapshots instead of frames for those that take snapshots."""
    if info.name in ("two_stream", "fused_two_stream"):
        return {"rgb": torch.randn(batch, 3, 2, size, size), "flow": torch.randn(batch, 2, 20, size, size)}
    if info.name == "convnet_lstm":
        frames = 3  # a step each, and a graph of its own each
    return {name: torch.randn(batch, channels, frames, size, size) for name, (channels, _, _) in info.clips.items()}


def small_model(info, num_classes=4):
    """With batch norm of torch's usual momentum, so that one batch shows in the statistics."""
    options = {"size": 32} if info.name == "c3d" else {}
    if "batch_norm_momentum" in info.options:
        options["batch_norm_momentum"] = 0.1
    return create_model(info.name, num_classes=num_classes, **options)


@pytest.fixture(scope="module", params=FAMILIES)
def family(request):
    torch.manual_seed(0)
    (info,) = list_models(request.param)
    return info, small_model(info)


@pytest.mark.parametrize("info", MODELS, ids=NAMES)
def test_parameters_and_multiply_adds(info):
    with torch.device("meta"):
        model = create_model(info.name, num_classes=400).eval()
        clips = {name: torch.empty(1, c, t, s, s) for name, (c, t, s) in info.clips.items()}
    assert count_parameters(model) == info.parameters
    assert count_gmacs(model, **clips) == pytest.approx(info.gmacs, abs=5e-4)


@pytest.mark.parametrize("info", MODELS, ids=NAMES)
def test_shapes_and_gradients(info):
    size = 32 if info.name == "c3d" else 45  # fully connected layers are made for one size
    with torch.device("meta"):
        model = small_model(info, num_classes=7)
        clips, others = small_clips(info), small_clips(info, batch=1, frames=17, size=size)
    logits = model(**clips)
    assert logits.shape == (2, 7)
    logits.sum().backward()
    assert all(p.grad is not None for p in model.parameters())
    assert model.eval()(**others).shape == (1, 7)


@pytest.mark.slow
@pytest.mark.parametrize("info", MODELS, ids=NAMES)
def test_export(info):
    """The deeper networks of a family differ from the first in their numbers of blocks, so one a family is exported."""
    if info.name not in FAMILIES and not os.environ.get("EVERY_EXPORT"):
        pytest.skip("takes long: EVERY_EXPORT=1 exports them")
    with torch.device("meta"):
        model, clips = small_model(info, num_classes=7).eval(), small_clips(info)
    exported = torch.export.export(model, (), clips)
    (output,) = exported.graph_signature.user_outputs
    (node,) = (node for node in exported.graph.nodes if node.name == output)
    assert node.meta["val"].shape == (2, 7)


def test_training_and_evaluation(family):
    info, model = family
    clips = small_clips(info, batch=3)
    before = [m.running_mean.clone() for m in model.modules() if hasattr(m, "running_mean")]
    loss = nn.functional.cross_entropy(model.train()(**clips), torch.tensor([0, 1, 2]))
    loss.backward()
    zero = [n for n, p in model.named_parameters() if not (p.grad.isfinite().all() and p.grad.abs().sum() > 0)]
    assert not zero
    after = [m.running_mean for m in model.modules() if hasattr(m, "running_mean")]
    assert any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))
    with torch.inference_mode():
        trained, tested = model(**clips), model.eval()(**clips)
        assert not torch.allclose(trained, tested)  # batch norm, and dropout where there is some
        torch.testing.assert_close(model(**clips), tested)  # evaluation has no chance in it
        alone = {key: value[:1] for key, value in clips.items()}
        torch.testing.assert_close(model(**alone), tested[:1], atol=1e-4, rtol=1e-4)  # nor does it mix clips


def test_classifier_sees_the_pooled_features(family):
    info, model = family
    head = model.get_submodule(model.trunks[0] + model.head if "logits" in model.head else model.head)
    assert head.weight.shape[0] == 4
    if hasattr(model, "pooled_features"):
        with torch.inference_mode():
            assert model.eval().pooled_features(**small_clips(info)).shape == (2, head.weight.shape[1])


@pytest.mark.slow
def test_channels_last_and_bfloat16(family):
    info, model = family
    clips = small_clips(info, batch=2)
    last = {key: value.to(memory_format=torch.channels_last_3d) for key, value in clips.items()}
    with torch.inference_mode():
        expected = model.eval()(**clips)
        torch.testing.assert_close(
            model.to(memory_format=torch.channels_last_3d)(**last), expected, atol=1e-3, rtol=1e-3
        )
        with torch.autocast("cpu", torch.bfloat16):
            half = model(**clips)
    assert (half - expected).abs().max() < 0.1 * expected.abs().max().clamp(min=1)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["convnet_lstm", "resnet3d18"])
def test_compiles_as_one_graph(name):
    (info,) = list_models(name)
    with torch.device("meta"):
        model, clips = small_model(info).eval(), small_clips(info)
        compiled = torch.compile(model, fullgraph=True, backend="eager")
        with torch.no_grad():
            assert compiled(**clips).shape == (2, 4)
    torch.compiler.reset()


def test_exported_program_gives_the_same_output_for_any_batch():
    (info,) = list_models("i3d")
    model, clips = small_model(info).eval(), small_clips(info, batch=3)
    exported = torch.export.export(model, (), clips, dynamic_shapes={"x": {0: torch.export.Dim("batch")}})
    with torch.inference_mode():
        torch.testing.assert_close(exported.module()(x=clips["x"][:2]), model(clips["x"][:2]))
