"""Sums over clips are exact however they are cut."""

import pytest
import torch
import torch.nn.functional as F

from pipeline.training.metrics import Sums


def test_sums_over_batches_are_those_of_all_clips_at_once():
    logits, labels = torch.randn(101, 8), torch.randint(8, (101,))
    cut, whole = Sums(), Sums()
    for start in range(0, 101, 7):
        cut.add(logits[start : start + 7], labels[start : start + 7])
    whole.add(logits, labels)
    means = cut.all_reduce().means("val")
    assert means == pytest.approx(whole.means("val"))
    assert means["val/clips"] == 101
    assert means["val/loss"] == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-5)
    assert means["val/top1"] == pytest.approx((logits.argmax(1) == labels).float().mean().item())


def test_top5_of_fewer_than_five_classes_is_one():
    sums = Sums()
    sums.add(torch.randn(4, 3), torch.tensor([0, 1, 2, 0]))
    assert sums.means("val")["val/top5"] == 1.0


def test_no_clips_are_no_division_by_zero():
    assert Sums().means("val") == {"val/loss": 0.0, "val/top1": 0.0, "val/top5": 0.0, "val/clips": 0.0}
