import pytest
import torch

from pipeline.models import create_model


def test_counts_of_the_papers_table():
    with torch.device("meta"):
        two_stream = create_model("two_stream", num_classes=400)
        fused = create_model("fused_two_stream", num_classes=400)
    trunks = 5_592_624 + 5_645_936 + 2 * 7_280  # RGB, flow of 20 channels; and the scales of batch norm
    assert sum(p.numel() for p in two_stream.parameters()) == trunks + 2 * (1024 * 400 + 400)
    assert sum(p.numel() for p in fused.parameters()) == trunks + 2048 * 512 * 27 + 2 * 512 + 512 * 400 + 400


@pytest.mark.parametrize("name", ["two_stream", "fused_two_stream"])
@pytest.mark.parametrize("snapshots", [1, 5, 25])
def test_any_number_of_snapshots(name, snapshots):
    with torch.device("meta"):
        model = create_model(name, num_classes=7)
        rgb, flow = torch.empty(2, 3, snapshots, 64, 48), torch.empty(2, 2, 10 * snapshots, 64, 48)
        assert model(rgb, flow).shape == (2, 7)


def test_snapshots_and_streams_are_averaged():
    model = create_model("two_stream", num_classes=7).eval()
    rgb, flow = torch.randn(1, 3, 2, 32, 32), torch.randn(1, 2, 20, 32, 32)
    apart = [model(rgb[:, :, i : i + 1], flow[:, :, 10 * i : 10 * i + 10]) for i in range(2)]
    torch.testing.assert_close(model(rgb, flow), (apart[0] + apart[1]) / 2)


def test_flow_frames_are_stacked_in_time_order_x_before_y():
    model = create_model("two_stream", num_classes=7)
    seen = {}
    model.flow.register_forward_pre_hook(lambda _m, x: seen.update(x=x[0]))
    flow = torch.arange(2 * 20.0).reshape(1, 2, 20, 1, 1).expand(1, 2, 20, 32, 32)
    model.eval()(torch.zeros(1, 3, 2, 32, 32), flow)
    assert seen["x"].shape == (1, 20, 2, 32, 32)
    assert seen["x"][0, :4, 0, 0, 0].tolist() == [0, 20, 1, 21]  # x of frame 0, y of frame 0, x of frame 1, ...
    assert seen["x"][0, :2, 1, 0, 0].tolist() == [10, 30]


def test_flow_must_have_ten_frames_for_each_rgb_frame():
    model = create_model("two_stream", num_classes=7)
    with pytest.raises(ValueError, match="2 RGB frames need 20 flow frames, 10 each, got 10"):
        model(torch.zeros(1, 3, 2, 32, 32), torch.zeros(1, 2, 10, 32, 32))


def test_fused_sees_time():
    model = create_model("fused_two_stream", num_classes=7).eval()
    rgb, flow = torch.randn(1, 3, 5, 64, 64), torch.randn(1, 2, 50, 64, 64)
    assert not torch.allclose(model(rgb, flow), model(rgb.flip(2), flow), rtol=1e-6, atol=0)


def test_a_single_stream_is_what_two_stream_has_of_it():
    both = create_model("two_stream", num_classes=5, batch_norm_momentum=0.1).eval()
    rgb, flow = torch.randn(2, 3, 3, 32, 32), torch.randn(2, 2, 30, 32, 32)
    logits = []
    for channels, clip, trunk in ((3, rgb, both.rgb), (2, flow, both.flow)):
        single = create_model("single_stream", num_classes=5, in_channels=channels).eval()
        single.inception.load_state_dict(trunk.state_dict())
        with torch.inference_mode():
            logits.append(single(clip))
            assert single.pooled_features(clip).shape == (2, 1024)
    with torch.inference_mode():
        torch.testing.assert_close(sum(logits) / 2, both(rgb, flow))
    with pytest.raises(ValueError, match="flow comes in stacks of 10 frames, got 16"):
        single(torch.randn(1, 2, 16, 32, 32))


@pytest.mark.parametrize(("channels", "frames"), [(3, 5), (2, 50)])
def test_a_single_stream_of_3d_fused_is_its_inception_and_half_of_its_convolution(channels, frames):
    torch.manual_seed(0)
    stream = "rgb" if channels == 3 else "flow"
    both = create_model("fused_two_stream", num_classes=5, batch_norm_momentum=0.1).eval()
    single = create_model("fused_single_stream", num_classes=5, in_channels=channels).eval()
    single.inception.load_state_dict(both.get_submodule(stream).state_dict())
    half = slice(0, 1024) if stream == "rgb" else slice(1024, None)
    rest = {name: value for name, value in both.state_dict().items() if name.startswith(("fusion.", "fc."))}
    rest["fusion.conv3d.weight"] = rest["fusion.conv3d.weight"][:, half]
    assert {name.partition(".")[0] for name in single.load_state_dict(rest, strict=False).missing_keys} == {"inception"}
    clip = torch.randn(2, channels, frames, 64, 64)
    silent = {"rgb": torch.zeros(2, 1024, 5, 2, 2), "flow": torch.zeros(2, 1024, 5, 2, 2), stream: single.maps(clip)}
    joined = both.pool(both.fusion(torch.cat([silent["rgb"], silent["flow"]], dim=1))).mean(dim=(2, 3, 4))
    torch.testing.assert_close(single(clip), both.fc(joined), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(single(clip), single(clip.flip(2)), rtol=1e-5, atol=0)  # it sees the order of its frames
