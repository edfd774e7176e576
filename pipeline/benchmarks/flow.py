"""TV-L1 speed: every backend, OpenCV included, on the same pairs of frames in the same run."""

import multiprocessing
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.benchmarks.machine import copy_bandwidth, vector_peak
from pipeline.flow import BACKENDS, tvl1, version
from pipeline.flow.cpu.engine import Work, measured
from pipeline.flow.cpu.vectors import LANES
from pipeline.ingest.decode.clip import decode_clip
from pipeline.progress import Progress

SHORT_SIDE, CROP, FPS = 256, 224, 25
KINETICS_PAIRS = 60_000_000
# Cost of one inner iteration: vector instructions for LANES pixels (AVX-512, moves not counted), and bytes moved per
# pixel if nothing stayed in a cache.
VECTOR_OPERATIONS = 46
BYTES = 64


@dataclass(frozen=True)
class Figures:
    """Speed and accuracy of one backend on one clip at one size."""

    clip: str
    size: str
    """Width x height."""
    backend: str
    version: str
    pairs_per_s: float
    ratio: float
    """Speed relative to OpenCV."""
    mean_px: float
    """Mean end-point distance to OpenCV's flow, in pixels."""
    p99_px: float
    """99th percentile of that distance, in pixels."""
    iterations_per_pair: float
    """Millions of pixel-iterations per pair, as the cpu backend counts them."""
    iterations_per_s: float
    """Millions of pixel-iterations a second, over the time of the whole computation."""
    vector_share: float
    """Vector instructions that the iterations need, as a share of a core's measured peak; 0 except for cpu."""
    memory_share: float
    """Bandwidth that the iterations would need without caches, as a share of that of a copy; 0 except for cpu."""
    kinetics_hours: float
    """Core-hours (GPU-hours for cuda) for Kinetics-400."""


def available() -> tuple[str, ...]:
    """Return the backends that this machine can run; cuda only if it has a GPU."""
    return tuple(name for name in BACKENDS if name != "cuda" or _has_gpu())


def compare(clips: Sequence[Path], pairs: int, repeats: int) -> Iterator[Figures]:
    """Measure every backend on `pairs` neighbouring pairs of each clip, at short side 256 and on a 224 x 224 crop.

    The backends run in turn, `repeats` times; the fastest turn of each counts. OpenCV and cpu run on one thread and are
    timed by its processor time, which other programs disturb little; a GPU is timed by the clock.
    """
    peak, bandwidth = vector_peak(), copy_bandwidth()
    progress = Progress("turns", 2 * len(clips) * repeats * len(available()))
    for name, frames in _windows(clips, pairs):
        _warm_up(frames)
        seconds: dict[str, float] = {}
        flows: dict[str, NDArray[np.float32]] = {}
        for _ in range(repeats):
            for backend in available():
                clock = time.perf_counter if backend == "cuda" else time.thread_time
                start = clock()
                flows[backend] = tvl1(frames, backend)
                seconds[backend] = min(clock() - start, seconds.get(backend, np.inf))
                progress.advance(note=f"{name}, {backend}")
        work = measured(frames)[1]
        for backend in available():
            yield _figures(name, backend, flows, seconds, work, peak, bandwidth)


def scaling(clips: Sequence[Path], pairs: int, repeats: int, processes: int = 2) -> float:
    """Return how many times as fast `processes` processes are together as one alone, by the clock.

    The machine must be idle.
    """
    _, frames = next(_windows(clips, pairs))
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        list(pool.map(_seconds, [frames] * processes, [1] * processes))
        alone = pool.submit(_seconds, frames, repeats).result()
        together = list(pool.map(_seconds, [frames] * processes, [repeats] * processes))
    return sum(alone / each for each in together)


def _windows(clips: Sequence[Path], pairs: int) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Yield the middle frames of each clip, (T, H, W, 3), first whole, then cropped."""
    for clip in clips:
        frames, _ = decode_clip(str(clip), None, None, FPS, SHORT_SIDE)
        first = max(0, (len(frames) - pairs - 1) // 2)
        window = frames[first : first + pairs + 1]
        top, left = ((side - CROP) // 2 for side in window.shape[1:3])
        yield clip.name, window
        yield clip.name, window[:, top : top + CROP, left : left + CROP]


def _figures(
    clip: str,
    backend: str,
    flows: dict[str, NDArray[np.float32]],
    seconds: dict[str, float],
    work: Work,
    peak: float,
    bandwidth: float,
) -> Figures:
    pairs, height, width, _ = flows[backend].shape
    distance = np.linalg.norm(flows[backend] - flows["opencv"], axis=-1)
    rate = work.iterations / seconds[backend]
    return Figures(
        clip=clip,
        size=f"{width}x{height}",
        backend=backend,
        version=version(backend),
        pairs_per_s=pairs / seconds[backend],
        ratio=seconds["opencv"] / seconds[backend],
        mean_px=float(distance.mean()),
        p99_px=float(np.quantile(distance, 0.99)),
        iterations_per_pair=work.iterations / pairs / 1e6,
        iterations_per_s=rate / 1e6,
        vector_share=rate * VECTOR_OPERATIONS / LANES / peak if backend == "cpu" else 0.0,
        memory_share=rate * BYTES / bandwidth if backend == "cpu" else 0.0,
        kinetics_hours=KINETICS_PAIRS * seconds[backend] / pairs / 3600,
    )


def _warm_up(frames: NDArray[np.uint8]) -> None:
    """Run every backend once at this size, so that code is compiled or loaded and a GPU is started."""
    for backend in available():
        if backend != "opencv":
            tvl1(frames, backend, warps=1, outerIterations=1)


def _seconds(frames: NDArray[np.uint8], repeats: int) -> float:
    tvl1(frames[:2], "cpu", warps=1)
    start = time.perf_counter()
    for _ in range(repeats):
        tvl1(frames, "cpu")
    return time.perf_counter() - start


def _has_gpu() -> bool:
    if find_spec("torch") is None:
        return False
    import torch

    return torch.cuda.is_available()
