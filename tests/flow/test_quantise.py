"""Flow as 8-bit levels."""

import numpy as np
import pytest

from pipeline.flow import colour, dequantise, pictured, quantise


@pytest.mark.parametrize("bound", [0.5, 5.0, 15.0, 20.0, 32.5])
def test_no_motion_is_level_128(bound):
    assert quantise(np.zeros((2, 3, 3, 2), np.float32), bound).tolist() == np.full((2, 3, 3, 2), 128).tolist()


@pytest.mark.parametrize("bound", [5.0, 20.0])
def test_the_bounds_are_the_first_and_the_last_level(bound):
    flow = np.array([-bound, bound, -10 * bound, 10 * bound, -np.inf, np.inf], np.float32)
    assert quantise(flow, bound).tolist() == [0, 255, 0, 255, 0, 255]


def test_halves_are_rounded_to_even_as_opencv_does():
    bound = 127.5  # a level is a pixel wide: level = flow + 127.5
    flow = np.array([-127.0, -126.0, -125.0, 0.0, 1.0, 127.0], np.float32)  # 0.5, 1.5, 2.5, 127.5, 128.5, 254.5
    assert quantise(flow, bound).tolist() == [0, 2, 2, 128, 128, 254]


@pytest.mark.parametrize("bound", [1.0, 5.0, 20.0])
def test_what_comes_back_is_at_most_half_a_level_off(bound):
    flow = np.linspace(-bound, bound, 10007, dtype=np.float32)
    back = dequantise(quantise(flow, bound), bound)
    assert back.dtype == np.float32
    assert np.abs(back.astype(np.float64) - flow).max() <= bound / 255 + 2e-7 * bound  # and the rounding of float32


def test_beyond_the_bound_the_bound_comes_back():
    assert dequantise(quantise(np.array([-31.0, 44.0], np.float32), 20.0), 20.0).tolist() == [-20.0, 20.0]


def test_every_level_comes_back_as_itself():
    levels = np.arange(256, dtype=np.uint8)
    assert np.array_equal(quantise(dequantise(levels, 20.0), 20.0), levels)


def test_levels_grow_with_displacement():
    levels = quantise(np.linspace(-25, 25, 5000, dtype=np.float32), 20.0).astype(int)
    assert (np.diff(levels) >= 0).all()
    assert set(levels) == set(range(256))


@pytest.mark.parametrize("shape", [(), (0, 4, 4, 2), (3, 4, 5, 2), (7,)])
def test_the_shape_is_kept(shape):
    levels = quantise(np.zeros(shape, np.float32), 20.0)
    assert levels.shape == shape
    assert levels.dtype == np.uint8
    assert dequantise(levels, 20.0).shape == shape


def test_the_input_is_not_changed():
    flow = np.full((2, 2), 30.0, np.float32)
    quantise(flow, 20.0)
    assert (flow == 30).all()


@pytest.mark.parametrize("bound", [0.5, 10.0, 20.0])
def test_a_picture_of_no_motion_is_white_and_other_levels_are_what_they_are(bound):
    still = quantise(np.zeros((4, 5, 2), np.float32), bound)
    assert (colour(pictured(still, bound), bound / 40) == 255).all()
    noise = quantise(np.random.default_rng(0).normal(0, bound / 1000, (4, 5, 2)).astype(np.float32), bound)
    assert set(noise.ravel()) == {127, 128}
    assert (colour(pictured(noise, bound), bound / 40) == 255).all()
    others = np.array([level for level in range(256) if level not in (127, 128)], np.uint8)
    assert np.array_equal(pictured(others, bound), dequantise(others, bound))
