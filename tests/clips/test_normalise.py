"""From levels to what a network takes."""

import pytest
import torch

from pipeline.clips.normalise import normalise


def windows(n=2, t=3, h=4, w=5, c=3):
    return torch.randint(0, 256, (n, t, h, w, c), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_levels_0_to_255_become_minus_1_to_1():
    levels = torch.tensor([0, 51, 128, 204, 255], dtype=torch.uint8).reshape(1, 1, 1, 5, 1)
    expected = torch.tensor([-1.0, -0.6, 1 / 255, 0.6, 1.0])
    torch.testing.assert_close(normalise(levels).flatten(), expected, rtol=0, atol=2e-7)


def test_every_level_stays_within_its_range():
    levels = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16, 1)
    for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16):
        result = normalise(levels, dtype)
        assert result.dtype == dtype
        assert (result.min(), result.max()) == (-1, 1)
        assert (result.flatten().diff() >= 0).all()


@pytest.mark.parametrize("channels", [2, 3])
def test_channels_come_before_time(channels):
    levels = windows(c=channels)
    result = normalise(levels)
    assert result.shape == (2, channels, 3, 4, 5)
    for n, t, h, w, c in [(0, 0, 0, 0, 0), (1, 2, 3, 4, 1), (0, 1, 2, 3, channels - 1)]:
        assert result[n, c, t, h, w] == pytest.approx(levels[n, t, h, w, c].item() * 2 / 255 - 1, abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_layout_is_that_in_which_it_came(dtype):
    assert normalise(windows(), dtype).is_contiguous(memory_format=torch.channels_last_3d)


def test_the_levels_are_not_changed():
    levels = windows()
    before = levels.clone()
    normalise(levels)
    assert torch.equal(levels, before)
