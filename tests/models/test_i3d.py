import pytest
import torch

from pipeline.models import create_model
from pipeline.models.i3d import I3D, TABLE


def test_scale_of_batch_norm_can_be_left_out_as_in_tensorflow():
    with torch.device("meta"):
        model = create_model("i3d", num_classes=400, batch_norm_scale=False)
    # the trainable variables of DeepMind's rgb_imagenet checkpoint
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == 12_689_984


@pytest.mark.parametrize(("frames", "steps"), [(8, 1), (16, 1), (64, 7), (79, 9), (250, 31)])
def test_time_steps_of_the_paper(frames, steps):
    with torch.device("meta"):
        model = create_model("i3d", num_classes=5).eval()
        assert model.logits_over_time(torch.empty(1, 3, frames, 224, 224)).shape == (1, 5, steps)


@pytest.mark.parametrize("size", [(1, 1, 1), (8, 32, 32), (9, 57, 43), (16, 56, 56), (8, 256, 340)])
def test_any_length_and_size(size):
    with torch.device("meta"):
        model = create_model("i3d", num_classes=5, in_channels=2)
        assert model(torch.empty(2, 2, *size)).shape == (2, 5)


def test_endpoints_bear_the_papers_names_and_shapes():
    with torch.device("meta"):
        maps = create_model("i3d", num_classes=5).endpoints(torch.empty(1, 3, 64, 224, 224), tuple(TABLE))
    assert list(maps) == list(TABLE)
    assert maps["Conv3d_1a_7x7"].shape == (1, 64, 32, 112, 112)
    assert maps["Mixed_3c"].shape == (1, 480, 32, 28, 28)
    assert maps["Mixed_4f"].shape == (1, 832, 16, 14, 14)
    assert maps["Mixed_5c"].shape == (1, 1024, 8, 7, 7)
    with pytest.raises(ValueError, match="no endpoint"):
        create_model("i3d", num_classes=5).endpoints(torch.empty(1, 3, 8, 32, 32), ("Mixed_9z",))


def test_wrong_clip_is_refused():
    model = create_model("two_stream_i3d", num_classes=5).eval()
    with pytest.raises(ValueError, match=r"must be \(N, 2, T, H, W\), got \(1, 3, 8, 32, 32\)"):
        model(torch.zeros(1, 3, 8, 32, 32), torch.zeros(1, 3, 8, 32, 32))


def test_two_streams_are_averaged():
    model = create_model("two_stream_i3d", num_classes=5).eval()
    rgb, flow = torch.randn(1, 3, 8, 32, 32), torch.randn(1, 2, 8, 32, 32)
    expected = (model.rgb(rgb) + model.flow(flow)) / 2
    torch.testing.assert_close(model(rgb, flow), expected)


def test_short_run_learns_and_keeps_usable_statistics():
    torch.manual_seed(0)
    model = create_model("i3d", num_classes=2, in_channels=2, dropout=0.0, batch_norm_momentum=0.1)
    clips, labels = torch.randn(4, 2, 8, 32, 32), torch.tensor([0, 1, 0, 1])
    optimiser = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    losses = []
    for _ in range(8):
        loss = torch.nn.functional.cross_entropy(model(clips), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2
    assert torch.isfinite(model.eval()(clips)).all()


@pytest.mark.parametrize("size", [(1, 1, 1), (2, 32, 33), (9, 97, 33), (17, 33, 225), (3, 260, 40)])
def test_an_exported_network_pools_as_the_network_does_at_any_size(size):
    torch.manual_seed(0)
    network = I3D(num_classes=3).eval()
    clip = torch.randn(1, 3, *size)
    with torch.inference_mode():
        torch.testing.assert_close(network._logits_at_any_size(clip), network(clip), atol=1e-6, rtol=1e-4)
