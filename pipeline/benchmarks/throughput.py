"""Speed of ingest on Ray Data against a plain process pool with the same functions, and memory use of a long run."""

import multiprocessing
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import ray

from pipeline.catalog import CATALOG_SCHEMA
from pipeline.config import ClipsConfig, Config, IngestConfig, ModelConfig
from pipeline.ingest.run import ingest
from pipeline.ingest.stages import Stage, make_convert
from pipeline.ingest.staging import make_store
from pipeline.shards.codec import encode_video


class BenchmarkError(RuntimeError):
    """An error that prevents the measurement; its message is one line for the user."""


@dataclass(frozen=True)
class Throughput:
    """Speed of ingest in clips a second, the best of all turns."""

    streams: str
    clips: int
    processes: int
    ray_per_s: float
    """On Ray: from the catalog to a readable shard set."""
    pool_per_s: float
    """In the pool: decode, flow, encode and one file per clip, without shards or manifest."""
    ratio: float


@dataclass(frozen=True)
class Quarter:
    """Memory use in one quarter of a run's time."""

    quarter: int
    driver_mb: float
    """Median resident memory of the driver, in MB."""
    object_store_mb: float
    """Largest size of the object store's contents, in MB."""


def compare(config: IngestConfig, catalog: pa.Table, folder: Path, repeats: int) -> Throughput:
    """Measure Ray and the pool in turn on the same clips, after a warm-up turn.

    Args:
        config: the settings of ingest; its `shards` is not used.
        catalog: the clips of a turn.
        folder: folder in which a new folder for the output is made.
        repeats: number of turns of each.
    """
    processes = max(1, int(ray.cluster_resources()["CPU"] / Config().resources.ingest_cpus))
    context = multiprocessing.get_context("spawn")
    warm_up = catalog.slice(0, 4 * processes)
    rays, pools = [], []
    here = folder / "_".join(config.streams)
    here.mkdir()
    start = (config, str(here / "pool"))
    with ProcessPoolExecutor(processes, context, initializer=_prepare, initargs=start) as pool:
        for turn in range(repeats + 1):
            clips = catalog if turn else warm_up
            rays.append(_seconds(_on_ray, config, clips, here / f"ray-{turn}"))
            pools.append(_seconds(_on_pool, pool, clips))
    ray_s, pool_s = min(rays[1:]), min(pools[1:])
    streams = " + ".join(config.streams)
    return Throughput(streams, len(catalog), processes, len(catalog) / ray_s, len(catalog) / pool_s, pool_s / ray_s)


def memory(clips: int, folder: Path, every_s: float = 0.25) -> tuple[float, list[Quarter]]:
    """Ingest a catalog of tiny clips; return clips a second and the memory use of each quarter.

    Args:
        clips: number of rows of the catalog.
        folder: folder for the output.
        every_s: seconds between memory samples.
    """
    levels = np.random.default_rng(0).integers(0, 256, (8, 4, 4, 3)).astype(np.uint8)
    (folder / "tiny.mp4").write_bytes(encode_video(levels.repeat(8, 1).repeat(8, 2), 25, 20, 12))
    config = IngestConfig(streams=("rgb",), short_side=32)
    catalog = copies([folder / "tiny.mp4"], clips, None)
    with _sampled(every_s) as samples:
        seconds = _seconds(_on_ray, config, catalog, folder / "tiny")
    quarters = [
        Quarter(number, float(np.median([driver for driver, _ in part])) / 1e6, max(store for _, store in part) / 1e6)
        for number, part in enumerate(
            (samples[i * len(samples) // 4 : (i + 1) * len(samples) // 4] for i in range(4)), 1
        )
        if part
    ]
    return clips / seconds, quarters


def copies(clips: Sequence[Path], count: int, seconds: float | None) -> pa.Table:
    """Return a catalog of `count` rows that repeat the files in turn, each cut to its first `seconds` if given."""
    rows = [
        {
            "clip_id": f"{number}",
            "dataset": "benchmark",
            "split": "train",
            "source": str(clips[number % len(clips)].absolute()),
            "start_s": 0.0 if seconds else None,
            "end_s": seconds,
        }
        for number in range(count)
    ]
    return pa.Table.from_pylist(rows, CATALOG_SCHEMA)


def _on_ray(config: IngestConfig, catalog: pa.Table, shards: Path) -> None:
    settings = replace(config, shards=str(shards))
    windows, model = ClipsConfig(crop=min(224, config.short_side)), ModelConfig(streams=config.streams)
    ingest(Config(ingest=settings, clips=windows, model=model).resolved(), catalog, write=str)


def _on_pool(pool: Executor, catalog: pa.Table) -> None:
    failed = [status for status in pool.map(_process, catalog.to_pylist()) if status != "ok"]
    if failed:
        raise BenchmarkError(f"{len(failed)} of {len(catalog)} clips cannot be ingested; measure with good ones")


_stages: list[Stage] = []  # the stages of this process, set when the pool starts it


def _prepare(config: IngestConfig, folder: str) -> None:
    Path(folder).mkdir(exist_ok=True)
    _stages[:] = [make_convert(config), make_store(folder)]


def _process(row: dict[str, Any]) -> str:
    row = {**row, "status": None}
    for stage in _stages:
        row = stage(row)
    return str(row["status"])


def _seconds(run: Callable[..., object], *arguments: Any) -> float:
    start = time.perf_counter()
    run(*arguments)
    return time.perf_counter() - start


@contextmanager
def _sampled(every_s: float) -> Iterator[list[tuple[int, float]]]:
    """Sample memory in a thread: bytes of the driver's resident memory and bytes used in the object store."""
    samples: list[tuple[int, float]] = []
    done = threading.Event()

    def sample() -> None:
        while not done.wait(every_s):
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            name = "object_store_memory"
            used = ray.cluster_resources().get(name, 0) - ray.available_resources().get(name, 0)
            samples.append((pages * 4096, used))

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield samples
    finally:
        done.set()
        thread.join()
