"""Mixed clips and labels, against sums worked by hand."""

import pytest
import torch
import torch.nn.functional as F

from pipeline.training.losses import cross_entropy
from pipeline.training.mixup import Mixing


def test_a_clip_is_mixed_with_the_one_before_it():
    x = torch.tensor([[0.0], [10.0], [20.0]])
    assert Mixing(0.75).clips(x).flatten().tolist() == [5.0, 7.5, 17.5]  # 0.75 * 0 + 0.25 * 20, ...


def test_the_loss_counts_both_labels_by_their_shares():
    logits, labels = torch.randn(3, 5), torch.tensor([0, 1, 2])
    own, before = F.cross_entropy(logits, labels), F.cross_entropy(logits, torch.tensor([2, 0, 1]))
    assert cross_entropy(logits, labels, share=0.75).item() == pytest.approx((0.75 * own + 0.25 * before).item())


def test_no_mixing_leaves_clips_and_loss_as_they_are():
    x, logits, labels = torch.randn(2, 3), torch.randn(2, 4), torch.tensor([3, 1])
    assert Mixing.drawn(0.0, 1).clips(x) is x
    assert torch.equal(cross_entropy(logits, labels, share=Mixing.drawn(0.0, 1).share), F.cross_entropy(logits, labels))


def test_the_share_is_a_function_of_its_seed_and_keeps_a_clips_own_label_likeliest():
    drawn = [Mixing.drawn(0.8, 0, step, 0).share for step in range(200)]
    assert drawn == [Mixing.drawn(0.8, 0, step, 0).share for step in range(200)]
    assert len(set(drawn)) == 200
    assert all(0.5 <= share <= 1 for share in drawn)


def test_smoothing_spreads_a_share_over_all_classes():
    logits = torch.log(torch.tensor([[0.7, 0.1, 0.1, 0.1]]))
    # target 0.9 + 0.1 / 4 on the first class, 0.1 / 4 on each of the others
    expected = -(0.925 * torch.log(torch.tensor(0.7)) + 0.075 * torch.log(torch.tensor(0.1)))
    assert cross_entropy(logits, torch.tensor([0]), 0.1).item() == pytest.approx(expected.item(), rel=1e-5)


def test_every_time_step_counts_alike():
    logits, labels = torch.randn(2, 4, 3), torch.tensor([3, 1])
    steps = [F.cross_entropy(logits[:, :, t], labels) for t in range(3)]
    assert cross_entropy(logits, labels).item() == pytest.approx(sum(steps).item() / 3, rel=1e-5)
