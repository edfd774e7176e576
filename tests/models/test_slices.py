"""A long clip through I3D in slices: the logits of the whole clip, step by step."""

import pytest
import torch

from pipeline.models import create_model
from pipeline.models.slices import sliceable, slices


@pytest.mark.parametrize(
    ("options", "lengths"),
    [
        ({}, {144: 1, 201: 3, 206: 3}),
        ({"stem_padding": "symmetric"}, {201: 3}),
        ({"time_padding": "replicate"}, {203: 3}),
    ],
    ids=str,
)
def test_the_steps_of_all_slices_are_those_of_the_clip(options, lengths):
    torch.manual_seed(0)
    network = create_model("i3d", 3, **options).eval()
    for length, count in lengths.items():
        clip = torch.randn(1, 3, length, 8, 8)
        with torch.inference_mode():
            whole = network.logits_over_time(clip)
            steps = [network.logits_over_time(clip[:, :, part.frames])[..., part.steps] for part in slices(length, 144)]
        assert len(steps) == count
        torch.testing.assert_close(torch.cat(steps, dim=2), whole, rtol=1e-4, atol=1e-5 * whole.abs().max().item())


@pytest.mark.parametrize("length", range(520, 528))
def test_no_slice_is_longer_than_what_fits_in_memory(length):
    assert all(part.frames.stop - part.frames.start <= 512 for part in slices(length))


@pytest.mark.slow
def test_networks_whose_logits_are_no_mean_over_time_are_not_sliced():
    assert sliceable(create_model("i3d", 2), ["rgb"]).keys() == {"rgb"}
    assert sliceable(create_model("two_stream_i3d", 2), ["rgb", "flow"]).keys() == {"rgb", "flow"}
    assert sliceable(create_model("c3d", 2), ["rgb"]) == {}


def test_of_a_long_clip_an_lstm_sees_some_frames_at_a_time_and_says_the_same():
    torch.manual_seed(0)
    network, clip = create_model("convnet_lstm", 3).eval(), torch.randn(1, 3, 130, 16, 16)
    with torch.no_grad():
        whole = network(clip)
    with torch.inference_mode():
        torch.testing.assert_close(network(clip), whole)
