"""The cuda backend: OpenCV's results, pair by pair whatever the batch; its kernels against the plain operations.

Everything but the tests marked `gpu` runs on the CPU, on small frames: the plain operations as they are, the kernels
in Triton's interpreter, and compiled (not run) for a GPU.
"""

import functools
import os
import subprocess
import sys
from itertools import pairwise
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pipeline.flow import cuda, opencv
from pipeline.flow.cuda import engine, pyramid
from pipeline.flow.cuda.engine import segments
from pipeline.ingest.decode.clip import decode_clip
from tests.flow.test_tvl1 import moving, texture

CLIPS = ["arm_wrestling.mp4", "mpeg4_320x240.avi", "flipping_a_pancake.mkv", "v_ZNVhz7ctTq0.mp4"]
QUICK = {"nscales": 2, "warps": 2}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Small frames gain nothing from more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def clip(clips_dir):
    """Some grey frames of a real clip at a short side."""

    @functools.cache
    def decode(name: str, short_side: int, frames: int = 3, first: int = 0) -> NDArray[np.uint8]:
        rgb, _ = decode_clip(str(clips_dir / name), 0.0, (first + frames) / 25, 25, short_side)
        return np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in rgb[first : first + frames]])

    return decode


def distance(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> NDArray[np.float32]:
    """End point differences in pixels."""
    assert ours.shape == theirs.shape
    assert ours.dtype == np.float32
    return np.linalg.norm(ours - theirs, axis=-1)


# ---------------------------------------------------------------- against OpenCV
def middle(frames: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    top, left = (frames.shape[1] - height) // 2, (frames.shape[2] - width) // 2
    return frames[:, top : top + height, left : left + width]


def test_flow_is_opencvs_on_real_clips(clip):
    """Where motion is large for so small a frame, the last bit of one square root moves either flow by 0.02 px."""
    differences = {}
    for name in CLIPS:
        frames = middle(clip(name, 128, frames=2, first=5), 64, 80)
        differences[name] = distance(cuda.tvl1(frames), opencv.tvl1(frames))
    assert np.mean([difference.mean() for difference in differences.values()]) < 0.02
    assert all(difference.mean() < 0.05 for difference in differences.values())
    assert differences["flipping_a_pancake.mkv"].mean() < 0.002  # nothing moves fast here
    assert differences["v_ZNVhz7ctTq0.mp4"].mean() < 0.005


@pytest.mark.parametrize("size", [(47, 63), (33, 90), (16, 16), (17, 16), (20, 170), (11, 40), (64, 19)])
def test_flow_is_opencvs_at_any_size(clip, size):
    frames = middle(clip("flipping_a_pancake.mkv", 128, frames=2, first=5), *size)
    assert distance(cuda.tvl1(frames), opencv.tvl1(frames)).mean() < 0.01


@pytest.mark.parametrize(
    "parameters",
    [
        {"tau": 0.1},
        {"lambda_": 0.05},
        {"theta": 0.5},
        {"nscales": 1},
        {"nscales": 3},
        {"nscales": 20, "warps": 1},
        {"warps": 3},
        {"warps": 0},
        {"epsilon": 0.05},
        {"epsilon": 0.0, "warps": 1},
        {"innerIterations": 7},
        {"innerIterations": 0},
        {"outerIterations": 1},
        {"outerIterations": 0},
        {"scaleStep": 0.5},
        {"scaleStep": 0.7},
        {"gamma": 0.3},
        {"gamma": 0.1, "medianFiltering": 3},
        {"medianFiltering": 1},
        {"medianFiltering": 3},
    ],
    ids=str,
)
def test_every_parameter_means_what_it_means_in_opencv(clip, parameters):
    """With few scales and warps, after which the rounding errors of both are still small."""
    frames = middle(clip("flipping_a_pancake.mkv", 128, frames=2, first=5), 48, 64)
    usual, theirs = opencv.tvl1(frames, **QUICK), opencv.tvl1(frames, **QUICK | parameters)
    difference = distance(cuda.tvl1(frames, **QUICK | parameters), theirs).mean()
    assert difference < 0.001
    assert distance(usual, theirs).mean() > 20 * difference


@pytest.mark.parametrize("nscales", [1, 4])
def test_an_initial_flow_is_where_the_search_begins(nscales):
    frames = moving(5, -3)
    start = np.full((1, *frames.shape[1:], 2), (4, -2), np.float32)
    reference = cv2.optflow.DualTVL1OpticalFlow_create(nscales=nscales, useInitialFlow=True)
    theirs = reference.calc(frames[0], frames[1], start[0].copy())
    ours = cuda.tvl1(frames, nscales=nscales, initial_flow=start)
    assert distance(ours, theirs[None]).mean() < 0.02
    assert not np.array_equal(ours, cuda.tvl1(frames, nscales=nscales))


def test_the_algorithm_is_opencvs_to_the_last_bit_where_nothing_is_rounded_another_way():
    """One iteration at one scale: the data term, thresholds and divergence in OpenCV's order of operations."""
    frames = moving(1, 1)
    once = {"nscales": 1, "warps": 1, "innerIterations": 1, "outerIterations": 1}
    assert np.array_equal(cuda.tvl1(frames, **once), opencv.tvl1(frames, **once))


def test_colour_frames_are_seen_in_grey_as_opencv_does():
    colour = np.stack([moving(2, 0), moving(-1, 1), moving(0, 2)], axis=-1)
    grey = np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in colour])
    assert np.array_equal(cuda.tvl1(colour, **QUICK), cuda.tvl1(grey, **QUICK))


@pytest.mark.parametrize("motion", [(3, 0), (0, 2), (-2, 1), (0.5, -0.25)])
def test_a_translation_is_recovered(motion):
    flow = cuda.tvl1(moving(*motion))[:, 12:-12, 12:-12]
    assert np.abs(flow.mean(axis=(0, 1, 2)) - motion).max() < 0.1


# ---------------------------------------------------------------- degenerate frames
@pytest.mark.parametrize("picture", [texture(40, 48), np.random.default_rng(0).integers(0, 256, (40, 48), np.uint8)])
def test_frames_without_motion_have_exactly_no_flow(picture):
    assert not cuda.tvl1(np.stack([picture] * 3)).any()


@pytest.mark.parametrize("gamma", [0.0, 0.2])
@pytest.mark.parametrize("kind", ["black", "white", "black to white", "constant", "noise", "saturated", "one pixel"])
def test_frames_without_texture_or_with_nothing_but_noise_give_finite_flow(kind, gamma):
    noise = np.random.default_rng(1)
    frames = {
        "black": np.zeros((2, 32, 32), np.uint8),
        "white": np.full((2, 32, 32), 255, np.uint8),
        "black to white": np.stack([np.zeros((32, 32), np.uint8), np.full((32, 32), 255, np.uint8)]),
        "constant": np.full((2, 16, 16), 77, np.uint8),
        "noise": noise.integers(0, 256, (2, 32, 40), np.uint8),
        "saturated": noise.integers(0, 2, (2, 32, 40)).astype(np.uint8) * 255,
        "one pixel": np.array([[[3]], [[200]]], np.uint8),
    }[kind]
    flow = cuda.tvl1(frames, gamma=gamma, outerIterations=2)
    assert flow.shape == (1, *frames.shape[1:], 2)
    assert np.isfinite(flow).all()


# ---------------------------------------------------------------- batches
@pytest.fixture(scope="module")
def clips() -> list[NDArray[np.uint8]]:
    """Pairs that converge at different iterations, of three lengths and two sizes; one pair does not move."""
    slow, fast, other = moving(0.3, 0, 3, 32, 48), moving(4, -2, 4, 32, 48), moving(1, 1, 3, 40, 36)
    return [slow, other, np.concatenate([fast, fast[-1:]]), slow[::-1]]


@pytest.fixture(scope="module")
def alone(clips) -> list[NDArray[np.float32]]:
    """Every pair computed by itself."""
    return [np.concatenate([cuda.tvl1(np.stack(pair), **QUICK) for pair in pairwise(clip)]) for clip in clips]


def test_a_pair_in_a_batch_gives_what_it_gives_alone(clips, alone):
    assert np.array_equal(cuda.tvl1(clips[2], **QUICK), alone[2])


def test_pairs_of_many_clips_share_batches_and_come_back_to_their_clips(clips, alone):
    flows = cuda.tvl1_clips(clips, **QUICK)
    assert [flow.shape for flow in flows] == [(2, 32, 48, 2), (2, 40, 36, 2), (4, 32, 48, 2), (2, 32, 48, 2)]
    assert all(np.array_equal(flow, pairs) for flow, pairs in zip(flows, alone, strict=True))


def test_a_small_memory_budget_changes_nothing_but_the_size_of_the_batches(clips, alone):
    usual = cuda.TVL1(**QUICK)
    budget = 2.5 * max(usual.bytes_per_pair(32, 48), usual.bytes_per_pair(40, 36)) / 2**30
    small = cuda.TVL1(**QUICK, memory_gib=budget)
    assert small.pairs_per_batch(32, 48) == 2
    assert 1000 < usual.pairs_per_batch(32, 48) < 65536
    assert cuda.TVL1(memory_gib=1000).pairs_per_batch(16, 16) == 65535  # a grid of CUDA has no more
    assert all(np.array_equal(flow, pairs) for flow, pairs in zip(small(clips), alone, strict=True))


class MostAlive(TorchDispatchMode):
    """Counts the bytes of the tensors that are alive at once."""

    def __init__(self) -> None:
        super().__init__()
        self.storages: dict[int, tuple[StorageWeakRef, int]] = {}
        self.most = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                self.storages[storage._cdata] = StorageWeakRef(storage), storage.nbytes()
        self.storages = {key: kept for key, kept in self.storages.items() if not kept[0].expired()}
        self.most = max(self.most, sum(size for _, size in self.storages.values()))
        return result


@pytest.mark.parametrize("gamma", [0.0, 0.1])
@pytest.mark.parametrize("lengths", [[41], [2] * 40], ids=["one clip", "clips of one pair"])
def test_what_a_batch_allocates_stays_within_the_budget(monkeypatch, lengths, gamma):
    """All but the steps: on a GPU they are kernels, which allocate nothing."""
    kernels = SimpleNamespace(
        tiles=lambda h, w: 32, warp=lambda *_: None, smooth=lambda *_: None, iterate=lambda *_: None
    )
    monkeypatch.setattr(engine, "_steps", lambda name, device: kernels)
    tvl1 = cuda.TVL1(gamma=gamma, device="cpu")
    with MostAlive() as alive:
        tvl1([np.zeros((length, 64, 85), np.uint8) for length in lengths])
    assert 0.5 < alive.most / (40 * tvl1.bytes_per_pair(64, 85)) < 1


def test_each_clip_has_its_own_initial_flow(clips):
    starts = [np.full((len(clip) - 1, *clip.shape[1:], 2), k, np.float32) for k, clip in enumerate(clips)]
    flows = cuda.TVL1(**QUICK)(clips, starts)
    for clip, start, flow in zip(clips, starts, flows, strict=True):
        assert np.array_equal(flow, cuda.tvl1(clip, **QUICK, initial_flow=start))


def test_the_same_clips_give_the_same_flow(clips):
    once, again = (cuda.tvl1_clips(clips, **QUICK) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(once, again, strict=True))


def test_no_clip_gives_no_flow():
    assert cuda.tvl1_clips([]) == []


@pytest.mark.parametrize(
    ("lengths", "limit", "batches"),
    [
        ([3], 10, [[(0, 0, 3)]]),
        ([3, 2], 10, [[(0, 0, 3), (1, 0, 2)]]),
        ([10], 4, [[(0, 0, 4)], [(0, 4, 8)], [(0, 8, 10)]]),
        ([9], 8, [[(0, 0, 5)], [(0, 5, 9)]]),  # nearly equal, not 8 and 1
        ([2, 3, 1], 2, [[(0, 0, 2)], [(1, 0, 2)], [(1, 2, 3), (2, 0, 1)]]),
        ([1, 1], 1, [[(0, 0, 1)], [(1, 0, 1)]]),
        ([], 5, []),
    ],
)
def test_batches_are_filled_across_clips(lengths, limit, batches):
    assert list(segments(lengths, limit)) == batches


# ---------------------------------------------------------------- errors
@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"tau": -1}, "TV-L1 parameter tau: -1; expected a finite number, not negative"),
        ({"theta": 0}, "TV-L1 parameter theta: 0; expected a finite number, not negative"),
        ({"gamma": float("nan")}, "TV-L1 parameter gamma: nan; expected a finite number, not negative"),
        ({"nscales": 0}, "TV-L1 parameter nscales: 0; expected a whole number, 1 or more"),
        ({"warps": 1.5}, "TV-L1 parameter warps: 1.5; expected a whole number, 0 or more"),
        ({"scaleStep": 1}, "TV-L1 parameter scaleStep: 1; expected more than 0, less than 1"),
        ({"medianFiltering": 4}, "TV-L1 parameter medianFiltering: 4; expected 1, 3 or 5"),
        ({"steps": "fast"}, "steps: 'fast'; expected auto, triton or torch"),
        ({"memory_gib": 1e-6}, r"memory_gib: 1e-06; one pair of 80 x 64 pixels needs 0\.000\d+"),
        ({"initial_flow": np.zeros((1, 3, 4, 2), np.float32)}, r"initial_flow: shape \(1, 3, 4, 2\); expected \(1, 64"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_wrong_parameter_is_refused_by_its_name(parameters, message):
    with pytest.raises(ValueError, match=message):
        cuda.tvl1(moving(1, 0), **parameters)


def test_an_unknown_parameter_of_many_clips_is_named():
    with pytest.raises(TypeError, match=r"TV-L1 parameter 'scales': unknown; one of device, epsilon, .*warps"):
        cuda.tvl1_clips([moving(1, 0)], scales=3)


@pytest.mark.parametrize(
    ("shape", "kind"),
    [
        ((1, 8, 8), np.uint8),
        ((8, 8), np.uint8),
        ((2, 8, 8, 2), np.uint8),
        ((2, 0, 8), np.uint8),
        ((2, 8, 8), np.float32),
    ],
)
def test_a_clip_that_is_none_is_named(shape, kind):
    with pytest.raises(ValueError, match=rf"clip 1: {kind.__name__} of shape .*; expected uint8 \(T, H, W\) or"):
        cuda.tvl1_clips([moving(1, 0), np.zeros(shape, kind)])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_missed_by_name():
    with pytest.raises(ValueError, match=r"device: 'cuda'; torch \S+ sees no GPU on this machine"):
        cuda.TVL1(device="cuda")


# ---------------------------------------------------------------- parts
def test_the_room_costs_no_torch_until_this_backend_is_asked_for():
    check = "import sys, pipeline.flow; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


@pytest.mark.parametrize("size", [(40, 50), (45, 47), (33, 61)])
@pytest.mark.parametrize("scale", [0.5, 0.7, 0.8, 0.9])
def test_pictures_are_resized_as_opencv_does(size, scale):
    picture = np.random.default_rng(2).random(size, np.float32)
    smaller = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
    ours = pyramid.resize(torch.from_numpy(picture), pyramid.sizes(*size, 2, scale)[1], scale)
    assert ours.shape == smaller.shape
    assert np.abs(ours.numpy() - smaller).max() < 1e-5
    larger = cv2.resize(smaller, size[::-1], interpolation=cv2.INTER_LINEAR)
    assert np.abs(pyramid.resize(torch.from_numpy(smaller), size).numpy() - larger).max() < 1e-5


def test_no_scale_is_smaller_than_sixteen_pixels():
    assert pyramid.sizes(256, 340, 5, 0.8) == [(256, 340), (205, 272), (164, 218), (131, 174), (105, 139)]
    assert pyramid.sizes(30, 100, 5, 0.8) == [(30, 100), (24, 80), (19, 64)]
    assert pyramid.sizes(8, 8, 5, 0.8) == [(8, 8)]


# ---------------------------------------------------------------- Triton's kernels
INTERPRETED = """
import numpy as np
from pipeline.flow import cuda
from tests.flow.test_tvl1 import moving

frames = moving(2, 1, 2, 10, 70)                      # two tiles high and two wide, neither whole
frames = np.concatenate([frames, frames[-1:]])        # the second pair stops at once, and stays as it is
few = {"nscales": 1, "warps": 2, "device": "cpu"}
odd = {"medianFiltering": 5, "innerIterations": 3, "outerIterations": 1}
even = {"medianFiltering": 3, "innerIterations": 1, "outerIterations": 2, "gamma": 0.2}
for others in (odd, even):                            # sides change places from warp to warp, or do not
    plain, kernels = (cuda.tvl1(frames, **few, **others, steps=steps) for steps in ("torch", "triton"))
    assert np.abs(plain[0]).mean() > 0.1, others
    assert np.abs(plain - kernels).max() < 1e-4, (others, np.abs(plain - kernels).max())
    assert not kernels[1].any()
"""


@pytest.mark.slow
def test_the_kernels_compute_what_the_plain_operations_compute():
    """In Triton's interpreter, which must be chosen before Triton is imported."""
    pytest.importorskip("triton")
    environment = os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    run = subprocess.run([sys.executable, "-c", INTERPRETED], env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize("kernel", ["warp", "smooth", "iterate"])
@pytest.mark.parametrize("unknowns", [2, 3])
def test_the_kernels_compile_for_a_gpu(kernel, unknowns):
    """To machine code of an H100 or H200, on a machine without one; every warp takes 32 neighbours of a row."""
    triton = pytest.importorskip("triton")
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from pipeline.flow.cuda import triton_kernels, triton_steps

    function = getattr(triton_kernels, f"{kernel}_kernel")
    types = dict.fromkeys(["flow", "dual", "smooth", "warped", "error", "images"], "*fp32")
    types |= dict.fromkeys(["side", "iterations", "pairs", "first"], "*i32")
    types |= dict.fromkeys(["scaled_epsilon", "l_t", "taut", "theta", "gamma"], "fp32")
    types |= dict.fromkeys(["n", "batch", "unknowns", "height", "width", "parts"], "i32")
    constants = {"PARTS": 256, "UNKNOWNS": unknowns, "SMOOTHED": unknowns == 3, "SIZE": 1 + 2 * (unknowns - 1)}
    constants |= {"TILE_H": triton_steps.TILE_H, "TILE_W": triton_steps.TILE_W}
    signature = {name: types.get(name, "constexpr") for name in function.arg_names}
    given = {(i,): constants[name] for i, name in enumerate(function.arg_names) if name in constants}
    source = ASTSource(function, signature, constexprs=given)
    compiled = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=triton_steps.FUSED)
    assert compiled.asm["cubin"]
    assert "sizePerThread = [1], threadsPerWarp = [32]" in compiled.asm["ttgir"]
    assert "convert_layout" not in compiled.asm["ttgir"]


# ---------------------------------------------------------------- on a GPU
gpu = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")]


class TestOnAGPU:
    pytestmark = gpu

    @pytest.mark.parametrize("name", CLIPS)
    def test_flow_is_opencvs_at_full_size(self, clip, name):
        frames = clip(name, 256, frames=4, first=5)
        difference = distance(cuda.tvl1(frames, device="cuda"), opencv.tvl1(frames))
        assert difference.mean() < 0.02
        assert np.quantile(difference, 0.99) < 0.2

    @pytest.mark.parametrize("others", [{}, {"gamma": 0.2}, {"medianFiltering": 3}, {"nscales": 1}], ids=str)
    def test_the_kernels_compute_what_the_plain_operations_compute(self, clip, others):
        frames = clip("arm_wrestling.mp4", 128)
        kernels, plain = (cuda.tvl1(frames, device="cuda", steps=steps, **others) for steps in ("triton", "torch"))
        assert distance(kernels, plain).mean() < 0.02

    def test_frames_without_motion_have_exactly_no_flow(self):
        assert not cuda.tvl1(np.stack([texture(100, 140)] * 3), device="cuda").any()

    def test_a_pair_in_a_batch_gives_what_it_gives_alone(self, clip):
        frames = clip("flipping_a_pancake.mkv", 112, frames=9)
        together = cuda.tvl1(frames, device="cuda")
        for t in range(8):
            assert np.array_equal(together[t], cuda.tvl1(frames[t : t + 2], device="cuda")[0])
        per_pair = cuda.TVL1().bytes_per_pair(*frames.shape[1:])
        assert np.array_equal(together, cuda.tvl1(frames, device="cuda", memory_gib=3.5 * per_pair / 2**30))

    def test_memory_stays_within_the_budget(self, clip):
        frames = np.tile(clip("arm_wrestling.mp4", 128), (40, 1, 1))
        cuda.tvl1(frames[:2], device="cuda")
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        cuda.tvl1(frames, device="cuda", memory_gib=0.1)
        assert torch.cuda.max_memory_allocated() - before < 0.1 * 2**30
