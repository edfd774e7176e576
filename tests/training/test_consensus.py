"""Segments with consensus: the loss of a clip is that of the mean of its windows' logits, and of nothing else."""

import pytest
import torch

from pipeline.models import create_model
from pipeline.training.consensus import Consensus, with_consensus


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return create_model("resnet3d18", 5).eval()


def test_the_logits_of_a_clip_are_the_mean_of_those_of_its_windows(network):
    clips = torch.randn(2, 3, 3 * 8, 32, 32)
    each = torch.stack([network(clips[:, :, 8 * part : 8 * part + 8]) for part in range(3)])
    together = Consensus(network, 3)(clips)
    torch.testing.assert_close(together, each.mean(dim=0), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(together, network(clips), atol=1e-3)  # one long window is something else


def test_every_window_gets_its_share_of_the_gradient(network):
    clips = torch.randn(1, 3, 2 * 8, 32, 32, requires_grad=True)
    loss = torch.nn.functional.cross_entropy(Consensus(network, 2)(clips), torch.tensor([1]))
    loss.backward()
    first, second = clips.grad[:, :, :8], clips.grad[:, :, 8:]
    assert first.abs().max() > 0
    assert second.abs().max() > 0


def test_one_segment_is_the_network_itself(network):
    assert with_consensus(network, 1) is network
    assert with_consensus(network, 3).get_submodule("network") is network
