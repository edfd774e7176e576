"""Speed of extraction beside the loop that people write: PyAV, OpenCV's TV-L1 and the network, video by video."""

import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pyarrow as pa
import ray
import torch
from numpy.typing import NDArray

from pipeline.benchmarks.throughput import copies
from pipeline.config import ClipsConfig, Config, IngestConfig, ModelConfig
from pipeline.features.layers import AVG_POOL
from pipeline.features.loading import Loaded
from pipeline.features.plan import Wanted
from pipeline.features.results import make_store, schema_of
from pipeline.features.run import Work, columns_of, compute_features
from pipeline.features.scorer import Local, Networks
from pipeline.features.windows import Windows
from pipeline.flow import quantise, tvl1
from pipeline.networks import build_network

CLASSES = 400
PLAIN_S = 20.0
"""Seconds after which the plain loop ends with its next window: OpenCV computes one or two pairs of flow a second."""


@dataclass(frozen=True)
class Extraction:
    """Windows a second from the same videos: of the plain loop, of this package on Ray, and in a plain process pool.

    The plain loop takes the first windows alone; `plain_windows` is their number.
    """

    streams: str
    videos: int
    windows: int
    plain_windows: int
    plain_per_s: float
    ray_per_s: float
    times_plain: float
    pool_per_s: float
    of_pool: float


@dataclass(frozen=True)
class Share:
    """The share of a stage in the time of all cores, in percent."""

    streams: str
    stage: str
    seconds: float
    share: float


@dataclass(frozen=True)
class Setting:
    """What is measured.

    Attributes:
        network: a name of `pipeline.models.list_models()`.
        frames: frames of a window.
        crop: side of the crop in pixels.
        clips: number of videos of a turn; the files take turns.
        seconds: length of a video in seconds.
        turns: number of turns on Ray and in the pool; the fastest counts.
    """

    network: str
    frames: int
    crop: int
    clips: int
    seconds: float
    turns: int


def compare(
    files: Sequence[Path], streams: Sequence[str], setting: Setting, folder: Path
) -> Iterator[tuple[Extraction, list[Share]]]:
    """Measure the three in turn on the same videos, for each stream.

    Args:
        files: the videos.
        streams: rgb, flow, or both.
        setting: what is measured.
        folder: folder in which new folders for the results are made.
    """
    for stream in streams:
        model = ModelConfig(name=setting.network, streams=(stream,))  # type: ignore[arg-type]
        network = build_network(model, stream, CLASSES).eval()
        loaded = Loaded(model, {stream: network}, {stream: (stream,)}, (), "random", "random")
        windows = Windows(setting.frames)
        config = Config(ingest=IngestConfig(streams=(stream,)), model=model)  # type: ignore[arg-type]
        config = replace(config, clips=replace(config.clips, crop=setting.crop, frames=setting.frames))
        wanted, catalog = Wanted(windows, (AVG_POOL,)), copies(files, setting.clips, setting.seconds)
        here = folder / stream
        here.mkdir()
        turn = _Turns(config, wanted, loaded, here)
        turn.on_ray(catalog.slice(0, 2), "warm")
        with turn.pool() as pool:
            turn.on_pool(pool, catalog.slice(0, 2))
            rays, pools = list[float](), list[float]()
            for number in range(setting.turns):
                rays.append(turn.on_ray(catalog, f"ray-{number}"))
                pools.append(turn.on_pool(pool, catalog))
        seconds, count = _plain(catalog, network, stream, setting)
        made, ray_s, pool_s = turn.manifest["windows"], min(rays), min(pools)
        total = sum(of["seconds"] for of in turn.manifest["rate"]["stages"].values())
        shares = [
            Share(stream, stage, of["seconds"], 100 * of["seconds"] / total)
            for stage, of in turn.manifest["rate"]["stages"].items()
        ]
        figures = count / seconds, made / ray_s, made / pool_s
        ratios = figures[1] / figures[0], figures[1] / figures[2]
        yield (
            Extraction(stream, len(catalog), made, count, figures[0], figures[1], ratios[0], figures[2], ratios[1]),
            shares,
        )


class _Turns:
    """This package's ways to the features of a catalog."""

    def __init__(self, config: Config, wanted: Wanted, loaded: Loaded, folder: Path) -> None:
        self._config, self._wanted, self._loaded, self._folder = config, wanted, loaded, folder
        self.manifest: dict[str, Any] = {}

    def on_ray(self, catalog: pa.Table, name: str) -> float:
        config = replace(self._config, ingest=replace(self._config.ingest, shards=str(self._folder / name)))
        start = time.perf_counter()
        self.manifest = compute_features(config.resolved(), self._wanted, self._loaded, catalog, write=str)
        return time.perf_counter() - start

    def pool(self) -> ProcessPoolExecutor:
        """Return as many processes as Ray has CPUs."""
        processes = max(1, int(ray.cluster_resources()["CPU"]))
        arguments = (self._config.ingest, self._config.clips, self._wanted, self._loaded, str(self._folder / "pool"))
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(processes, context, initializer=_prepare, initargs=arguments)

    def on_pool(self, pool: ProcessPoolExecutor, catalog: pa.Table) -> float:
        start = time.perf_counter()
        failed = [status for status in pool.map(_process, catalog.to_pylist()) if status != "ok"]
        if failed:
            raise RuntimeError(f"{len(failed)} videos have no features; measure with good ones")
        return time.perf_counter() - start


_stages: list[Callable[[Any], Any]] = []  # the stages of this process, set when the pool starts it


def _prepare(ingest: IngestConfig, clips: ClipsConfig, wanted: Wanted, loaded: Loaded, folder: str) -> None:
    torch.set_num_threads(1)
    Path(folder).mkdir(exist_ok=True)
    networks = Networks(loaded.networks, loaded.inputs, wanted.layers, wanted.pool)

    def compute(frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        return tvl1(frames, ingest.flow.backend, **ingest.flow.parameters)

    work = Work(
        ingest,
        wanted.cutting(clips, ingest.fps, loaded.streams),
        Local(networks),
        compute if "flow" in loaded.streams else None,
        schema_of(columns_of(loaded, wanted, clips)),
        "",
    )
    _stages[:] = [work, make_store(folder)]


def _process(row: dict[str, Any]) -> str:
    row = {**row, "status": None}
    for stage in _stages:
        row = stage(row)
    return str(row["status"])


def _plain(catalog: pa.Table, network: torch.nn.Module, stream: str, setting: Setting) -> tuple[float, int]:
    """Return the seconds and the number of windows of a plain loop over the first of the videos, on all cores."""
    start, windows = time.perf_counter(), 0
    for row in catalog.to_pylist():
        stack: list[NDArray[Any]] = []
        last: NDArray[np.uint8] | None = None
        for picture in _pictures(row["source"], setting.seconds):
            if stream == "rgb":
                stack.append(_centre(picture, setting.crop).astype(np.float32) * (2 / 255) - 1)
            else:
                if last is not None:
                    (levels,) = quantise(tvl1(np.stack([last, picture]), "opencv"), 20.0)
                    stack.append(_centre(levels, setting.crop).astype(np.float32) * (2 / 255) - 1)
                last = picture
            if len(stack) == setting.frames:
                with torch.inference_mode():
                    network.pooled_features(torch.from_numpy(np.stack(stack)).permute(3, 0, 1, 2)[None])  # type: ignore[operator]
                stack, windows = [], windows + 1
                if time.perf_counter() - start > PLAIN_S:
                    return time.perf_counter() - start, windows
    return time.perf_counter() - start, windows


def _pictures(source: str, seconds: float, fps: int = 25, short_side: int = 256) -> Iterator[NDArray[np.uint8]]:
    """Yield the frames of a video at a constant rate, resized, by their stated times."""
    with av.open(source) as container:
        shown = 0
        for frame in container.decode(video=0):
            while frame.time is not None and shown / fps <= frame.time:
                if shown >= seconds * fps:
                    return
                picture = frame.to_ndarray(format="rgb24")
                height, width = picture.shape[:2]
                scale = short_side / min(height, width)
                yield cv2.resize(picture, (round(width * scale), round(height * scale)))
                shown += 1


def _centre(picture: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    top, left = (picture.shape[0] - side) // 2, (picture.shape[1] - side) // 2
    return picture[top : top + side, left : left + side]
