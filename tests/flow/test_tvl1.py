"""TV-L1: the contract of its input and output, known motions, and the I3D authors' own flow."""

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.flow import BACKENDS, resolve_backend, tvl1, version


def texture(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """A smooth random picture: what it shows at a place it shows nowhere else."""
    noise = np.random.default_rng(seed).random((height, width))
    smooth = cv2.GaussianBlur(noise, (0, 0), 2)
    return ((smooth - smooth.min()) / np.ptp(smooth) * 255).astype(np.uint8)


def moving(dx: float, dy: float, frames: int = 2, height: int = 64, width: int = 80) -> NDArray[np.uint8]:
    """(frames, height, width): a picture that moves by (dx, dy) pixels a frame, to the right and down."""
    margin = 24
    picture = texture(height + 2 * margin, width + 2 * margin)
    shifts = [np.array([[1, 0, dx * t], [0, 1, dy * t]], np.float64) for t in range(frames)]
    size = (picture.shape[1], picture.shape[0])
    moved = [cv2.warpAffine(picture, shift, size, flags=cv2.INTER_CUBIC) for shift in shifts]
    return np.stack(moved)[:, margin:-margin, margin:-margin]


def inside(flow: NDArray[np.float32], border: int = 12) -> NDArray[np.float32]:
    """Away from the border, over which the picture comes in and goes out."""
    return flow[:, border:-border, border:-border]


@pytest.mark.parametrize("motion", [(3, 0), (0, 2), (-2, 1), (0.5, -0.25), (4, -3)])
def test_a_translation_is_recovered(motion):
    flow = inside(tvl1(moving(*motion)))
    assert np.abs(np.median(flow, axis=(0, 1, 2)) - motion).max() < 0.1
    assert np.abs(flow.mean(axis=(0, 1, 2)) - motion).max() < 0.1


def test_x_comes_before_y():
    right, down = tvl1(moving(3, 0)), tvl1(moving(0, 3))
    assert abs(inside(right)[..., 0].mean() - 3) < 0.1
    assert abs(inside(right)[..., 1].mean()) < 0.1
    assert abs(inside(down)[..., 0].mean()) < 0.1
    assert abs(inside(down)[..., 1].mean() - 3) < 0.1


def test_flow_goes_from_each_frame_to_the_next():
    frames = moving(2, 0, frames=3)
    forward, backward = tvl1(frames), tvl1(frames[::-1])
    assert abs(inside(forward)[..., 0].mean() - 2) < 0.1
    assert abs(inside(backward)[..., 0].mean() + 2) < 0.1


def test_each_pair_is_computed_by_itself():
    frames = moving(1.5, 0.5, frames=4)
    flow = tvl1(frames)
    assert np.array_equal(flow, np.concatenate([tvl1(frames[t : t + 2]) for t in range(3)]))


def test_frames_without_motion_have_no_flow():
    frames = np.stack([texture(40, 48)] * 2)
    assert np.abs(tvl1(frames)).max() == 0


@pytest.mark.parametrize("frames", [2, 3, 5])
def test_there_is_one_flow_less_than_frames(frames):
    flow = tvl1(moving(1, 1, frames, 32, 40), warps=1, nscales=1)
    assert flow.shape == (frames - 1, 32, 40, 2)
    assert flow.dtype == np.float32


def test_colour_frames_are_seen_in_grey():
    grey = moving(2, 1)
    assert np.array_equal(tvl1(np.stack([grey] * 3, axis=-1)), tvl1(grey))


def test_red_green_and_blue_weigh_as_in_rgb_order():
    """Motion of green alone counts 0.587 of the grey level, of blue 0.114: taking BGR for RGB would exchange others."""
    colour = np.stack([moving(2, 0), moving(-1, 1), moving(0, 2)], axis=-1)
    grey = np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in colour])
    assert np.array_equal(tvl1(colour), tvl1(grey))
    assert not np.array_equal(tvl1(colour), tvl1(np.ascontiguousarray(colour[..., ::-1])))


def test_a_view_of_an_array_is_as_good_as_a_copy():
    large = moving(2, 1, frames=4, height=96, width=128)
    view = large[::2, 8:-8:1, 100:20:-1]
    assert not view.flags.c_contiguous
    assert np.array_equal(tvl1(view), tvl1(view.copy()))


def test_the_input_is_not_changed_and_may_be_read_only():
    frames = moving(1, 0)
    before = frames.copy()
    frames.flags.writeable = False
    tvl1(frames)
    assert np.array_equal(frames, before)


def test_the_same_frames_give_the_same_flow():
    frames = moving(2.5, -1)
    assert np.array_equal(tvl1(frames), tvl1(frames))


def test_opencv_keeps_its_number_of_threads():
    before = cv2.getNumThreads()
    tvl1(moving(1, 0))
    assert cv2.getNumThreads() == before


def test_lambda_goes_by_opencvs_name_and_by_pythons():
    frames = moving(2, 1)
    smooth = tvl1(frames, **{"lambda": 0.02})
    assert np.array_equal(smooth, tvl1(frames, lambda_=0.02))
    assert not np.array_equal(smooth, tvl1(frames))


# Values away from OpenCV's, each of which must reach the algorithm. It computes on other pictures than a pure
# translation, which some of them would leave as it is.
@pytest.mark.parametrize(
    "parameter",
    [
        {"tau": 0.1},
        {"lambda": 0.05},
        {"theta": 0.5},
        {"nscales": 1},
        {"warps": 1},
        {"epsilon": 0.5},
        {"innerIterations": 2},
        {"outerIterations": 1},
        {"scaleStep": 0.5},
        {"gamma": 0.5},
        {"medianFiltering": 1},
    ],
    ids=lambda parameter: next(iter(parameter)),
)
def test_every_parameter_of_opencv_has_an_effect_under_its_name(parameter):
    picture = texture(48, 56, seed=1)
    frames = np.stack([picture, cv2.GaussianBlur(np.roll(picture, 3, axis=1), (5, 5), 0)])
    assert not np.array_equal(tvl1(frames, **parameter), tvl1(frames))


def test_defaults_are_opencvs():
    frames = moving(2, 1)
    reference = cv2.optflow.DualTVL1OpticalFlow_create()
    assert np.allclose(tvl1(frames, "opencv")[0], reference.calc(frames[0], frames[1], None), atol=1e-4)


def test_a_parameter_that_does_not_exist_is_named():
    with pytest.raises(TypeError, match=r"TV-L1 parameter 'scales': unknown; one of epsilon, .*, nscales, .*warps"):
        tvl1(moving(1, 0), scales=3)


@pytest.mark.parametrize(
    ("frames", "error", "message"),
    [
        ([[0]], TypeError, "frames: list; expected a NumPy array of uint8"),
        (np.zeros((2, 8, 8), np.float32), TypeError, "frames: float32; expected a NumPy array of uint8"),
        (np.zeros((8, 8), np.uint8), ValueError, r"frames: shape \(8, 8\); expected \(T, H, W\) grey or "),
        (np.zeros((2, 8, 8, 2), np.uint8), ValueError, r"frames: shape \(2, 8, 8, 2\)"),
        (np.zeros((2, 3, 8, 8), np.uint8), ValueError, r"frames: shape \(2, 3, 8, 8\)"),
        (np.zeros((2, 0, 8), np.uint8), ValueError, r"frames: shape \(2, 0, 8\)"),
        (np.zeros((1, 8, 8), np.uint8), ValueError, "frames: 1 given; flow needs at least two"),
        (np.zeros((0, 8, 8, 3), np.uint8), ValueError, "frames: 0 given; flow needs at least two"),
    ],
)
def test_wrong_frames_are_refused_by_what_is_wrong(frames, error, message):
    with pytest.raises(error, match=message):
        tvl1(frames)


def test_a_backend_that_does_not_exist_is_named():
    with pytest.raises(ValueError, match="flow backend 'cudnn': unknown; one of auto, opencv, cpu, cuda"):
        tvl1(moving(1, 0), backend="cudnn")


def test_auto_is_one_of_the_backends_and_any_other_stays():
    assert resolve_backend("auto") in BACKENDS
    assert [resolve_backend(name) for name in BACKENDS] == list(BACKENDS)


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_backend_tells_its_version(backend):
    name, library = version(backend).split(maxsplit=1)
    assert name == backend
    assert any(letter.isdigit() for letter in library)


# ---------------------------------------------------------------- against the I3D authors
PAIRS = (10, 30, 50, 60, 70)


def gif(path: str, wanted: set[int]) -> dict[int, NDArray[np.uint8]]:
    with av.open(path) as container:
        frames = {}
        for index, frame in enumerate(container.decode(video=0)):
            if index in wanted:
                frames[index] = frame.to_ndarray(format="rgb24")
            if index == max(wanted):
                break
    return frames


@pytest.fixture(scope="module")
def cricket(clips_dir):
    """The I3D authors' sample: our flow of some pairs, and their flow at those and at the neighbouring pairs."""
    rgb = gif(str(clips_dir / "cricket_rgb.gif"), {t + d for t in PAIRS for d in (0, 1)})
    theirs = gif(str(clips_dir / "cricket_flow.gif"), {t + d for t in PAIRS for d in (-1, 0, 1)})
    ours = {t: tvl1(np.stack([rgb[t], rgb[t + 1]]))[0] for t in PAIRS}
    return ours, theirs


def correlation(ours: NDArray[np.float32], theirs: NDArray[np.uint8]) -> float:
    return float(np.corrcoef(ours.ravel(), theirs.astype(np.float32).ravel())[0, 1])


@pytest.mark.parametrize("pair", PAIRS)
def test_our_x_is_that_of_the_i3d_authors(cricket, pair):
    ours, theirs = cricket
    assert correlation(ours[pair][..., 0], theirs[pair][..., 0]) > 0.85


@pytest.mark.parametrize("pair", PAIRS)
def test_our_flow_is_that_of_the_same_frame_and_not_of_a_neighbour(cricket, pair):
    ours, theirs = cricket
    right = correlation(ours[pair][..., 0], theirs[pair][..., 0])
    assert right > correlation(ours[pair][..., 0], theirs[pair - 1][..., 0]) + 0.02
    assert right > correlation(ours[pair][..., 0], theirs[pair + 1][..., 0]) + 0.02


@pytest.mark.parametrize("pair", PAIRS)
def test_our_channels_are_in_their_order(cricket, pair):
    """Red of theirs is x and green is y."""
    ours, theirs = cricket
    for channel in (0, 1):
        same = correlation(ours[pair][..., channel], theirs[pair][..., channel])
        assert same > 0.3
        assert same > correlation(ours[pair][..., channel], theirs[pair][..., 1 - channel])
