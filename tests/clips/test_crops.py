"""Where a network looks: the same square for all frames of a window."""

import numpy as np
import pytest
import torch

from pipeline.clips.crops import SCALES, Crop, centre_crop, corner_crop, random_crop, resized, training_crop
from pipeline.clips.normalise import normalise
from pipeline.config import ClipsConfig
from pipeline.flow import dequantise, quantise


def noise(frames=3, height=24, width=32, channels=3):
    return np.random.default_rng(0).integers(0, 256, (frames, height, width, channels), dtype=np.uint8)


@pytest.mark.parametrize(
    ("height", "width", "short_side", "expected"),
    [
        (256, 340, None, (256, 340)),
        (256, 340, 256, (256, 340)),
        (256, 340, 128, (128, 170)),
        (340, 256, 128, (170, 128)),
        (240, 320, 120, (120, 160)),
        (100, 100, 64, (64, 64)),
        (90, 160, 30, (30, 53)),  # 160 / 3 = 53.3
        (100, 150, 200, (200, 300)),
    ],
)
def test_the_shorter_side_decides_the_size(height, width, short_side, expected):
    assert resized(height, width, short_side) == expected


def test_a_crop_is_that_part_of_every_frame():
    frames = noise()
    cut = Crop(None, top=2, left=5, side=16).apply(frames, is_flow=False)
    assert np.array_equal(cut, frames[:, 2:18, 5:21])
    assert cut.flags.c_contiguous


def test_a_flip_mirrors_every_frame_from_left_to_right():
    frames = noise()
    straight = Crop(None, 2, 5, 16).apply(frames, is_flow=False)
    flipped = Crop(None, 2, 5, 16, flip=True).apply(frames, is_flow=False)
    assert np.array_equal(flipped, straight[:, :, ::-1])
    assert flipped.flags.c_contiguous


def test_a_flip_of_flow_negates_x_and_keeps_y():
    levels = noise(channels=2)
    straight = Crop(None, 2, 5, 16).apply(levels, is_flow=True)
    flipped = Crop(None, 2, 5, 16, flip=True).apply(levels, is_flow=True)
    a, b = (normalise(torch.from_numpy(each[None]), torch.float64) for each in (straight, flipped))
    torch.testing.assert_close(b[:, 0], -a[:, 0].flip(-1), rtol=0, atol=1e-12)
    assert torch.equal(b[:, 1], a[:, 1].flip(-1))


def test_two_flips_are_none():
    levels = noise(channels=2, height=16, width=16)
    twice = Crop(None, 0, 0, 16, flip=True).apply(Crop(None, 0, 0, 16, flip=True).apply(levels, True), True)
    assert np.array_equal(twice, levels)


def test_the_input_is_not_changed():
    levels = noise(channels=2)
    before = levels.copy()
    Crop(16, 0, 0, 16, flip=True).apply(levels, is_flow=True)
    assert np.array_equal(levels, before)


@pytest.mark.parametrize(("short_side", "factor"), [(16, 0.5), (64, 2.0)])
def test_a_resize_of_flow_scales_displacements_with_the_picture(short_side, factor):
    bound = 20.0
    flow = np.empty((2, 32, 48, 2), np.float32)
    flow[..., 0], flow[..., 1] = 6.0, -4.0
    levels = Crop(short_side, 0, 0, 16).apply(quantise(flow, bound), is_flow=True)
    seen = dequantise(levels, bound)
    assert np.abs(seen[..., 0] - 6.0 * factor).max() <= (1 + factor) * bound / 255
    assert np.abs(seen[..., 1] + 4.0 * factor).max() <= (1 + factor) * bound / 255


def test_displacements_that_grow_beyond_the_bound_stay_at_it():
    levels = np.full((1, 16, 16, 2), 250, np.uint8)
    assert (Crop(32, 0, 0, 32).apply(levels, is_flow=True) == 255).all()
    assert (Crop(32, 0, 0, 32).apply(255 - levels, is_flow=True) == 0).all()


def test_a_resize_of_pictures_keeps_their_levels():
    frames = np.full((2, 32, 48, 3), 200, np.uint8)
    assert (Crop(16, 0, 4, 16).apply(frames, is_flow=False) == 200).all()


def test_a_resize_keeps_left_and_right_and_order_of_frames():
    frames = np.zeros((2, 32, 64, 3), np.uint8)
    frames[0, :, 32:] = 255
    frames[1, :, :32] = 255
    small = Crop(16, 0, 0, 16).apply(frames, is_flow=False)  # the left half of 16 x 32
    assert small[0, :, :15].max() == 0
    assert small[1, :, :15].min() == 255


def test_the_size_that_is_there_is_not_resized():
    frames = noise()
    assert np.array_equal(Crop(24, 0, 0, 24).apply(frames, is_flow=False), frames[:, :, :24])


@pytest.mark.parametrize(
    ("height", "width", "short_side", "side", "top", "left"),
    [
        (256, 340, None, 224, 16, 58),
        (256, 341, None, 224, 16, 58),
        (64, 64, None, 64, 0, 0),
        (340, 256, None, 224, 58, 16),
        (256, 340, 128, 112, 8, 29),
    ],
)
def test_the_crop_in_the_middle(height, width, short_side, side, top, left):
    assert centre_crop(height, width, short_side, side) == Crop(short_side, top, left, side, flip=False)


@pytest.mark.parametrize(
    ("height", "width", "short_side", "side"),
    [(24, 32, None, 16), (32, 24, None, 24), (37, 53, 20, 17), (16, 16, None, 16)],
)
def test_random_crops_reach_every_edge_and_never_leave_the_frame(height, width, short_side, side):
    rng = np.random.default_rng(0)
    crops = [random_crop(height, width, short_side, side, True, rng) for _ in range(1500)]
    rows, columns = resized(height, width, short_side)
    assert {crop.top for crop in crops} == set(range(rows - side + 1))
    assert {crop.left for crop in crops} == set(range(columns - side + 1))
    assert 650 < sum(crop.flip for crop in crops) < 850
    frames = noise(1, height, width)
    for crop in crops[:50]:
        assert crop.apply(frames, is_flow=False).shape == (1, side, side, 3)


def test_without_flip_nothing_is_mirrored():
    rng = np.random.default_rng(0)
    assert not any(random_crop(24, 32, None, 16, False, rng).flip for _ in range(200))


def test_a_random_crop_is_its_generators():
    a, b, c = (random_crop(256, 340, None, 224, True, np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert a == b != c


def crops_of(augment, count=2000, **values):
    config = ClipsConfig(augment=augment, **values)
    rng = np.random.default_rng(0)
    return [training_crop(config, 256, 340, rng) for _ in range(count)]


def test_corner_crops_are_the_four_corners_and_the_centre_each_as_often():
    crops = crops_of("corner_crop", crop=224)
    # 256 - 224 = 32 rows and 340 - 224 = 116 columns to spare
    expected = {(0, 0), (0, 116), (32, 0), (32, 116), (16, 58)}
    assert {(crop.top, crop.left) for crop in crops} == expected
    counts = [sum((crop.top, crop.left) == place for crop in crops) for place in expected]
    assert min(counts) > 320  # 400 each
    assert {(crop.side, crop.size) for crop in crops} == {(224, None)}
    assert 900 < sum(crop.flip for crop in crops) < 1100


def test_multi_scale_corner_crops_have_the_papers_five_sides():
    assert pytest.approx((1, 0.8408964, 0.7071068, 0.5946036, 0.5)) == SCALES  # steps of 0.84089641525
    crops = crops_of("multi_scale_corner_crop", crop=112)
    # 256 * (1, 0.8409, 0.7071, 0.5946, 0.5) = 256, 215.27, 181.02, 152.22, 128
    assert {crop.side for crop in crops} == {256, 215, 181, 152, 128}
    assert {crop.size for crop in crops} == {112}
    of_128 = {(crop.top, crop.left) for crop in crops if crop.side == 128}
    assert of_128 == {(0, 0), (0, 212), (128, 0), (128, 212), (64, 106)}
    assert {(crop.top, crop.left) for crop in crops if crop.side == 256} == {(0, 0), (0, 84), (0, 42)}


def test_a_corner_crop_is_its_generators_and_random_crops_are_as_they_were():
    a, b, c = (corner_crop(256, 340, None, 112, True, np.random.default_rng(s), SCALES) for s in (5, 5, 8))
    assert a == b != c
    config = ClipsConfig(crop=224)
    drawn = training_crop(config, 256, 340, np.random.default_rng(3))
    assert drawn == random_crop(256, 340, None, 224, True, np.random.default_rng(3))


def test_what_is_cut_is_resized_and_its_displacements_with_it():
    flow = np.full((2, 64, 80, 2), 100, np.uint8)
    cut = Crop(None, 8, 4, side=32, size=16).apply(flow, is_flow=True)
    assert cut.shape == (2, 16, 16, 2)
    assert (cut == round((100 - 127.5) / 2 + 127.5)).all()  # half as large, so half as far
    frames = noise(2, 64, 80)
    whole = Crop(None, 8, 4, side=32).apply(frames, is_flow=False)
    small = Crop(None, 8, 4, side=32, size=16, flip=True).apply(frames, is_flow=False)
    assert np.array_equal(small, Crop(16, 0, 0, 16, flip=True).apply(whole, is_flow=False))
