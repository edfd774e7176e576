"""Flow in the colours of the Middlebury benchmark."""

import numpy as np
import pytest

from pipeline.flow import colour, wheel

# What colorcode.cpp gives at the rim: hue number (angle / pi + 1) / 2 * 54 of the wheel, cut to whole levels.
RIM = {
    "right": ((1, 0), (255, 0, 0)),  # hue 0: red
    "down": ((0, 1), (255, 229, 0)),  # hue 13.5: between 13 / 15 and 14 / 15 of the way from red to yellow
    "left": ((-1, 0), (0, 209, 255)),  # hue 27: 2 / 11 of the way from cyan to blue
    "up": ((0, -1), (88, 0, 255)),  # hue 40.5: 4.5 / 13 of the way from blue to magenta
}


@pytest.mark.parametrize("direction", RIM)
@pytest.mark.parametrize("radius", [0.5, 1.0, 20.0])
def test_directions_have_the_colours_of_the_benchmark(direction, radius):
    way, expected = RIM[direction]
    found = colour(radius * np.array(way, np.float32), radius).astype(int)
    assert np.abs(found - expected).max() <= 1


def test_no_motion_is_white():
    assert (colour(np.zeros((2, 3, 4, 2), np.float32), 5.0) == 255).all()


def test_half_the_length_is_half_the_saturation():
    assert colour(np.array([2.0, 0.0], np.float32), 4.0).tolist() == [255, 127, 127]


def test_beyond_the_radius_colours_are_darker():
    far = colour(np.array([40.0, 0.0], np.float32), 20.0)
    assert far.tolist() == [191, 0, 0]


@pytest.mark.parametrize("hole", [np.nan, np.inf])
def test_what_is_not_known_is_black_and_costs_no_neighbour(hole):
    found = colour(np.array([[hole, 1.0], [0.0, 0.0]], np.float32), 1.0)
    assert found.tolist() == [[0, 0, 0], [255, 255, 255]]


def test_every_direction_differs_from_the_next_and_the_circle_is_closed():
    angles = np.linspace(-np.pi, np.pi, 721)
    around = colour(np.stack([np.cos(angles), np.sin(angles)], -1).astype(np.float32) * 0.999, 1.0).astype(int)
    steps = np.abs(np.diff(around, axis=0)).sum(axis=1)
    assert steps.max() < 64  # no jump, also where the last hue meets the first
    assert len({tuple(rgb) for rgb in around}) > 500


def test_the_wheel_is_white_in_the_middle_and_beyond_the_rim_and_points_outwards():
    picture = wheel(101)
    assert picture.shape == (101, 101, 3)
    assert picture.dtype == np.uint8
    assert picture[50, 50].tolist() == [255, 255, 255]
    assert picture[0, 0].tolist() == [255, 255, 255]
    for (x, y), expected in RIM.values():
        assert np.abs(picture[50 + 49 * y, 50 + 49 * x].astype(int) - expected).max() <= 12  # 98 % of the way out


@pytest.mark.parametrize(("shape", "radius"), [((4, 3), 1.0), ((), 1.0), ((4, 2), 0.0), ((4, 2), -1.0)])
def test_what_is_no_flow_is_refused(shape, radius):
    with pytest.raises(ValueError, match="x and y on the last axis and a radius above 0"):
        colour(np.zeros(shape, np.float32), radius)
