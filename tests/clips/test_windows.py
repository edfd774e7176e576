"""Which frames of a clip a network sees."""

import numpy as np
import pytest

from pipeline.clips.windows import centre_window, middle_frames, random_window, segment_windows, whole_clip

# length of the clip, frames, stride -> the window in the middle
CENTRE = [
    (10, 4, 1, [3, 4, 5, 6]),  # fits
    (11, 4, 1, [3, 4, 5, 6]),  # an odd rest goes behind
    (4, 4, 1, [0, 1, 2, 3]),  # fits exactly
    (7, 4, 2, [0, 2, 4, 6]),  # fits exactly, from the first frame to the last
    (8, 4, 2, [0, 2, 4, 6]),
    (9, 4, 2, [1, 3, 5, 7]),
    (3, 4, 1, [0, 1, 2, 0]),  # too short: looped
    (6, 4, 2, [0, 2, 4, 0]),
    (5, 4, 2, [0, 2, 4, 1]),  # looped at the pace of the clip: frame 6 of a clip of 5 is its frame 1
    (2, 7, 1, [0, 1, 0, 1, 0, 1, 0]),  # as many times as necessary
    (1, 3, 5, [0, 0, 0]),
    (5, 1, 3, [2]),  # one frame: the one in the middle
]


@pytest.mark.parametrize(("length", "frames", "stride", "expected"), CENTRE)
def test_the_window_in_the_middle(length, frames, stride, expected):
    assert centre_window(length, frames, stride).tolist() == expected


# length, frames, stride -> every start that a window may have
STARTS = [(10, 4, 1, range(7)), (4, 4, 1, [0]), (9, 4, 2, range(3)), (3, 4, 1, [0]), (5, 1, 9, range(5))]


@pytest.mark.parametrize(("length", "frames", "stride", "starts"), STARTS)
def test_a_random_window_starts_wherever_it_fits_the_last_start_included(length, frames, stride, starts):
    rng = np.random.default_rng(0)
    windows = [random_window(length, frames, stride, rng) for _ in range(400)]
    assert {int(window[0]) for window in windows} == set(starts)
    if length >= (frames - 1) * stride + 1:
        assert max(int(window[-1]) for window in windows) <= length - 1
        assert all((np.diff(window) == stride).all() for window in windows)


def test_every_start_is_equally_likely():
    rng = np.random.default_rng(0)
    starts = [int(random_window(10, 4, 1, rng)[0]) for _ in range(7000)]
    counts = np.bincount(starts, minlength=7)
    assert len(counts) == 7
    assert np.abs(counts - 1000).max() < 150  # five standard deviations


@pytest.mark.parametrize("length", [1, 2, 3, 5, 8, 13])
@pytest.mark.parametrize("frames", [1, 2, 5, 16])
@pytest.mark.parametrize("stride", [1, 2, 3, 7])
def test_a_window_never_leaves_its_clip_and_has_its_length(length, frames, stride):
    rng = np.random.default_rng(length * frames * stride)
    random = [random_window(length, frames, stride, rng) for _ in range(4)]
    for window in (centre_window(length, frames, stride), *random):
        assert window.shape == (frames,)
        assert window.min() >= 0
        assert window.max() < length
        assert ((np.diff(window) - stride) % length == 0).all()


def test_segments_have_a_window_each_and_the_test_takes_their_middles():
    rng = np.random.default_rng(0)
    drawn = np.array([segment_windows(22, 4, 1, 3, rng)[:, 0] for _ in range(400)])
    assert [(int(one.min()), int(one.max())) for one in drawn.T] == [(0, 6), (6, 12), (12, 18)]  # 19 starts in 3 parts
    middles = segment_windows(250, 32, 2, 25)  # 188 starts
    assert middles.shape == (25, 32)
    assert middles[[0, 12, 24], 0].tolist() == [3, 94, 184]
    assert segment_windows(5, 8, 1, 3).tolist() == [[0, 1, 2, 3, 4, 0, 1, 2]] * 3  # a clip that is too short is looped


def test_a_random_window_is_its_generators():
    a, b, c = (random_window(500, 16, 2, np.random.default_rng(seed)).tolist() for seed in (1, 1, 2))
    assert a == b != c


@pytest.mark.parametrize(
    ("length", "stride", "expected"), [(5, 1, [0, 1, 2, 3, 4]), (5, 2, [0, 2, 4]), (6, 2, [0, 2, 4]), (1, 3, [0])]
)
def test_a_whole_clip_is_every_frame_at_the_stride(length, stride, expected):
    assert whole_clip(length, stride).tolist() == expected


def test_rgb_frames_are_in_the_middle_of_their_stacks_of_flow():
    assert middle_frames(np.arange(50), 10).tolist() == [5, 15, 25, 35, 45]
    assert middle_frames(np.arange(20, 30), 10).tolist() == [25]
    assert middle_frames(np.arange(4), 1).tolist() == [0, 1, 2, 3]
