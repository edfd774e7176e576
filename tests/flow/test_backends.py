"""Every backend against OpenCV, against known motions, and on frames that have none to find."""

import numpy as np
import pytest

from pipeline.flow import BACKENDS, tvl1
from tests.flow.pictures import FAST, check_against_opencv, clip_pair, moved, texture

HERE = ("opencv", *FAST)
each = pytest.mark.parametrize("backend", HERE)
fast = pytest.mark.parametrize("backend", FAST)


def test_every_backend_is_a_module_with_a_version():
    assert set(HERE) <= set(BACKENDS)


# ---------------------------------------------------------------- against OpenCV
@fast
@pytest.mark.parametrize(
    ("clip", "first", "height", "width"),
    [
        ("arm_wrestling.mp4", 120, 256, 340),
        ("mpeg4_320x240.avi", 60, 224, 224),
        ("flipping_a_pancake.mkv", 100, 97, 171),
        ("v_ZNVhz7ctTq0.mp4", 120, 65, 33),
        ("street_10s.mp4", 40, 31, 190),
    ],
)
def test_a_real_clip_flows_as_in_opencv(clips_dir, backend, clip, first, height, width):
    frames = clip_pair(clips_dir / clip, first, height, width)
    check_against_opencv(frames, backend)


@fast
@pytest.mark.parametrize(
    "parameters",
    [
        {"tau": 0.1, "lambda_": 0.05},
        {"theta": 0.5, "epsilon": 0.05},
        {"nscales": 1},
        {"nscales": 9, "scaleStep": 0.7},
        {"scaleStep": 0.5, "warps": 2},
        {"innerIterations": 7, "outerIterations": 3},
        {"innerIterations": 1},
        {"outerIterations": 1},
        {"medianFiltering": 1},
        {"medianFiltering": 3},
        {"gamma": 0.1, "epsilon": 0.03},
        {"warps": 0},
        {"innerIterations": 0},
    ],
    ids=str,
)
def test_parameters_mean_what_they_mean_in_opencv(clips_dir, backend, parameters):
    frames = clip_pair(clips_dir / "arm_wrestling.mp4", 30, 120, 160)
    check_against_opencv(frames, backend, **parameters)


@fast
@pytest.mark.parametrize("parameters", [{}, {"nscales": 1, "warps": 1}, {"warps": 0}], ids=str)
def test_a_search_begins_at_the_initial_flow_as_in_opencv(clips_dir, backend, parameters):
    frames = clip_pair(clips_dir / "arm_wrestling.mp4", 30, 120, 160)
    start = np.random.default_rng(0).normal(scale=3, size=(1, 120, 160, 2)).astype(np.float32)
    before = start.copy()
    check_against_opencv(frames, backend, initial_flow=start, **parameters)
    assert np.array_equal(start, before)
    assert not np.array_equal(tvl1(frames, backend, start, **parameters), tvl1(frames, backend, **parameters))


# ---------------------------------------------------------------- known motions
def turn(degrees: float, zoom: float = 1.0) -> np.ndarray:
    angle = np.deg2rad(degrees)
    return zoom * np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0]])


def shift(dx: float, dy: float) -> np.ndarray:
    return np.array([[1, 0, dx], [0, 1, dy]], np.float64)


@each
@pytest.mark.parametrize(
    "motion", [shift(3, 0), shift(-1.5, 2.25), shift(0.3, -0.2), turn(2), turn(-1), turn(0, 1.03), turn(0, 0.97)]
)
def test_a_known_motion_is_recovered(backend, motion):
    frames, truth = moved(motion)
    inside = np.s_[12:-12, 12:-12]  # away from where the picture comes in and goes out
    distance = np.linalg.norm(tvl1(frames, backend)[0] - truth, axis=-1)[inside]
    assert np.mean(distance) < 0.1


# ---------------------------------------------------------------- frames of every kind
def noise(height: int, width: int, frames: int = 2) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (frames, height, width), np.uint8)


@each
@pytest.mark.parametrize(
    "picture", [texture(40, 48), noise(33, 47, 1)[0], np.zeros((20, 20), np.uint8), np.full((20, 20), 255, np.uint8)]
)
def test_identical_frames_have_no_flow_at_all(backend, picture):
    assert np.abs(tvl1(np.stack([picture] * 3), backend)).max() == 0


@each
@pytest.mark.parametrize(
    "frames",
    [
        np.stack([np.full((24, 30), level, np.uint8) for level in (0, 255)]),
        np.stack([np.zeros((24, 30), np.uint8), texture(24, 30)]),
        np.where(noise(40, 50) > 127, 255, 0).astype(np.uint8),
        noise(40, 50),
        noise(16, 16),
        noise(17, 15),
        noise(16, 700),
        noise(500, 17),
    ],
    ids=["black to white", "black to texture", "saturated", "noise", "16x16", "odd", "wide", "tall"],
)
def test_flow_is_finite_and_of_the_right_shape(backend, frames):
    flow = tvl1(frames, backend)
    assert flow.shape == (1, *frames.shape[1:], 2)
    assert flow.dtype == np.float32
    assert np.isfinite(flow).all()


@fast
@pytest.mark.parametrize("shape", [(3, 3), (4, 3), (5, 40), (16, 16), (16, 700), (32, 32)], ids=str)
def test_small_and_narrow_frames_flow_as_in_opencv(backend, shape):
    height, width = shape
    frames = np.stack([texture(height + 2, width + 2)[d : d + height, d : d + width] for d in (0, 1)])
    check_against_opencv(frames, backend)


@fast
@pytest.mark.parametrize("shape", [(1, 1), (1, 20), (20, 1), (2, 2)], ids=str)
def test_frames_too_small_for_opencv_are_no_trouble(backend, shape):
    assert np.isfinite(tvl1(np.stack([texture(20, 20)[: shape[0], : shape[1]]] * 2), backend)).all()


@fast
def test_the_same_input_gives_the_same_output(backend):
    frames = noise(50, 70, 3)
    assert all(np.array_equal(tvl1(frames, backend), tvl1(frames, backend)) for _ in range(3))


@fast
def test_a_pair_flows_the_same_alone_and_in_a_clip(backend):
    frames = noise(40, 50, 4)
    alone = [tvl1(frames[t : t + 2], backend) for t in range(3)]
    assert np.array_equal(tvl1(frames, backend), np.concatenate(alone))


@fast
def test_colour_is_seen_in_grey_and_views_and_read_only_frames_are_taken(backend):
    frames = moved(shift(2, 1))[0]
    assert np.array_equal(tvl1(np.stack([frames] * 3, axis=-1), backend), tvl1(frames, backend))
    view = frames[:, ::2, 100:20:-1]
    view.flags.writeable = False
    assert np.array_equal(tvl1(view, backend), tvl1(view.copy(), backend))


# ---------------------------------------------------------------- refusals
@each
@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"medianFiltering": 7}, "medianFiltering: 7; expected 1, 3 or 5"),
        ({"scaleStep": 1.0}, "scaleStep: 1.0; expected more than 0, less than 1"),
        ({"nscales": 0}, "nscales: 0; expected a whole number, 1 or more"),
        ({"warps": 1.5}, "warps: 1.5; expected a whole number"),
        ({"theta": 0.0}, "theta: 0.0; expected a finite number above 0"),
        ({"epsilon": float("nan")}, "epsilon: nan; expected a finite number, 0 or more"),
    ],
)
def test_a_parameter_out_of_range_is_refused(backend, parameters, message):
    with pytest.raises(ValueError, match=message):
        tvl1(noise(16, 16), backend, **parameters)


@pytest.mark.parametrize(
    ("initial_flow", "error", "message"),
    [
        ([0], TypeError, "initial_flow: list; expected a NumPy array of float32"),
        (np.zeros((1, 16, 16, 2)), TypeError, "initial_flow: float64; expected a NumPy array of float32"),
        (np.zeros((2, 16, 16, 2), np.float32), ValueError, r"initial_flow: shape \(2, 16, 16, 2\); expected \(1, 16"),
        (np.full((1, 16, 16, 2), np.nan, np.float32), ValueError, "initial_flow: not finite everywhere"),
    ],
)
def test_a_wrong_initial_flow_is_refused(initial_flow, error, message):
    with pytest.raises(error, match=message):
        tvl1(noise(16, 16), initial_flow=initial_flow)
