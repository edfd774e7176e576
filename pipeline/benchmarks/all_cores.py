"""Loader speed on all cores, by the clock.

Ray tasks race a torch DataLoader whose workers read with a peer, or one shard set races another that lies elsewhere.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import ray
from torch.utils.data import DataLoader

from pipeline.benchmarks.loader import WINDOWS, name
from pipeline.benchmarks.peer import PeerWindows
from pipeline.clips.index import ClipIndex
from pipeline.clips.loader import load_batches
from pipeline.clips.sampling import TrainingSampler
from pipeline.config import ClipsConfig, IngestConfig
from pipeline.masking import masked

TAKEN = 0.8  # share of the loader's windows that a training uses while its waiting time is measured


@dataclass(frozen=True)
class Machine:
    """Loader speed in windows a second of all cores together, by the clock."""

    window: str
    cores: int
    ray: float
    wait: float
    """Per cent of its time that a training waits for batches if it uses four fifths of the windows Ray can load."""
    peer: str | None
    """What the workers of the DataLoader read the source files with; None if no peer can be measured here."""
    dataloader: float | None
    ratio: float | None
    """Speed of Ray relative to the DataLoader."""


def compare(
    files: Sequence[Path], index: ClipIndex, peers: Sequence[str], windows: int, batch_size: int, repeats: int
) -> Iterator[Machine]:
    """Measure Ray, then the DataLoader with each peer, each with one worker per core and after a warm-up pass.

    Args:
        files: the source file of each row of the index.
        index: the clips.
        peers: keys of `pipeline.benchmarks.peer.PEERS`.
        windows: number of windows in a pass, taken from all clips in turn.
        batch_size: number of windows in a batch.
        repeats: number of passes; the fastest counts.
    """
    cores = int(ray.cluster_resources()["CPU"])
    index = index.take(np.arange(windows) % len(index))  # one row per window, so that each is drawn at random
    batches = [np.arange(start, min(start + batch_size, windows)) for start in range(0, windows, batch_size)]
    for clips in WINDOWS:
        sample = TrainingSampler(clips, 0, 0)
        load = partial(load_batches, index, ("rgb",), batches, sample, cpus=1)
        ray_s = _fastest(repeats, load)
        wait = 100 * _waited(load(), ray_s / len(batches) / TAKEN)
        for peer in peers or [""]:
            peer_s = None
            if peer:
                sources = tuple(str(files[row % len(files)]) for row in range(windows))
                windows_of = PeerWindows(peer, sources, index, IngestConfig().fps, sample)
                loader = DataLoader(
                    windows_of, batch_size, num_workers=cores, persistent_workers=True, multiprocessing_context="spawn"
                )
                peer_s = _fastest(repeats, loader.__iter__)
            yield Machine(
                window=name(clips),
                cores=cores,
                ray=windows / ray_s,
                wait=wait,
                peer=peer or None,
                dataloader=windows / peer_s if peer_s else None,
                ratio=peer_s / ray_s if peer_s else None,
            )


@dataclass(frozen=True)
class Place:
    """Loader speed from one shard set, in windows a second of all cores together, by the clock."""

    shards: str
    window: str
    windows: float
    ratio: float
    """Speed relative to the first set."""


def places(
    sets: Sequence[str], split: str, clips: ClipsConfig, windows: int, batch_size: int, repeats: int
) -> list[Place]:
    """Measure random windows of RGB from shard sets in turn, such as one set on a disk and its copy in a store.

    Args:
        sets: folders or URIs of the sets.
        split: the split whose clips are read.
        clips: size of the windows.
        windows: number of windows in a pass, taken from all clips in turn.
        batch_size: number of windows in a batch.
        repeats: number of passes over each set; the fastest counts.
    """
    batches = [np.arange(start, min(start + batch_size, windows)) for start in range(0, windows, batch_size)]
    indices = [ClipIndex.load(shards, split) for shards in sets]
    passes = [
        partial(
            load_batches, index.take(np.arange(windows) % len(index)), ("rgb",), batches,
            TrainingSampler(clips, 0, 0), cpus=1,
        )
        for index in indices
    ]  # fmt: skip
    turns = [[_fastest(1, load) for load in passes] for _ in range(repeats)]  # in turn, as a machine's speed changes
    rates = (windows / np.min(turns, axis=0)).tolist()
    return [Place(masked(uri), name(clips), rate, rate / rates[0]) for uri, rate in zip(sets, rates, strict=True)]


def _fastest(repeats: int, load: Callable[[], Iterable[object]]) -> float:
    """Return the seconds of the fastest pass over all batches; a first pass that starts the workers does not count."""
    seconds = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        deque(load(), maxlen=0)
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:])


def _waited(batches: Iterator[object], step_s: float) -> float:
    """Return the share of time that a loop with steps of `step_s` seconds waits for batches, after the first one."""
    next(batches)
    start, steps = time.perf_counter(), 0
    while True:
        time.sleep(step_s)
        steps += 1
        if next(batches, None) is None:
            break
    return 1 - steps * step_s / (time.perf_counter() - start)
