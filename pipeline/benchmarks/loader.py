"""Loader speed in one process: random training windows, against decord on the source files, by processor time."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.benchmarks.ingest import timed
from pipeline.benchmarks.peer import read
from pipeline.benchmarks.throughput import BenchmarkError, copies
from pipeline.clips.index import ClipIndex
from pipeline.clips.normalise import Planes, normalise
from pipeline.clips.planes import WHOLE, PlaneWindow, Window, columns
from pipeline.clips.sampling import TrainingSampler
from pipeline.config import ClipsConfig, Config, IngestConfig, ModelConfig, Stream
from pipeline.ingest.run import ingest
from pipeline.progress import Progress
from pipeline.shards.codec import decode_video, decoded

WINDOWS = (
    ClipsConfig(frames=64, crop=224),  # I3D
    ClipsConfig(frames=16, crop=112),
    ClipsConfig(frames=16, crop=112, short_side=128),  # C3D
)


@dataclass(frozen=True)
class Cost:
    """Windows of one clip per second of processor time; decord's figures are None if it is not installed."""

    clip: str
    window: str
    handed_on: str
    """What the loader returns: planes, 4:4:4 planes, RGB or flow."""
    decode: float
    """Decoding alone, with the frames between the key frame and the window: an upper limit for any loader."""
    loader: float
    rgb: float | None
    """Converting whole frames to RGB, then cropping: a loader that returns RGB."""
    decord: float | None
    ratio: float | None
    """Speed of the loader relative to decord."""
    loader_floats: float
    """The loader with the conversion to floats on the same core; trainings do it on their device."""
    decord_floats: float | None


def ingested(files: Sequence[Path], folder: Path, streams: tuple[Stream, ...], seconds: float | None) -> ClipIndex:
    """Ingest the files, or their first `seconds` seconds, on the running Ray; row i of the index is file i."""
    config = IngestConfig(shards=str(folder / "_".join(streams)), streams=streams)
    whole = Config(ingest=config, clips=WINDOWS[0], model=ModelConfig(streams=streams)).resolved()
    ingest(whole, copies(files, len(files), seconds), write=str)
    index = ClipIndex.load(config.shards, "train")
    if len(index) < len(files):
        raise BenchmarkError(
            f"{len(files) - len(index)} of {len(files)} clips cannot be ingested; measure with good ones"
        )
    return taken(index, np.argsort(index.clip_ids.astype(int)))


def costs(files: Sequence[Path], index: ClipIndex, stream: Stream, windows: int, repeats: int) -> Iterator[Cost]:
    """Measure every method on the same windows, one window at a time.

    Args:
        files: the source file of each row of the index.
        index: the clips.
        stream: rgb or flow.
        windows: number of windows drawn from each clip for each window size.
        repeats: number of turns; the fastest counts.
    """
    progress = Progress("clips and sizes", len(WINDOWS) * len(files))
    for clips in WINDOWS:
        for row, file in enumerate(files):
            samples = [TrainingSampler(clips, 0, epoch) for epoch in range(windows)]
            yield _cost(file, index, row, stream, samples, repeats)
            progress.advance(note=f"{file.name}, {stream}, {name(clips)}")


def _cost(
    file: Path, index: ClipIndex, row: int, stream: Stream, samples: Sequence[TrainingSampler], repeats: int
) -> Cost:
    blob, clips, fps = index.blob(row, stream), samples[0].clips, IngestConfig().fps

    def decode(sample: TrainingSampler) -> None:
        deque(decoded(blob, np.unique(sample.drawn(index, row, stream)[0])), maxlen=0)

    def loader(sample: TrainingSampler) -> Window:
        return sample(index, row, stream)

    def frames(sample: TrainingSampler) -> Window:
        numbers, crop = sample.drawn(index, row, stream)
        return crop.apply(decode_video(index.blob(row, stream), numbers), is_flow=False)

    def peer(sample: TrainingSampler) -> Window:
        return read(str(file), index, row, fps, *sample.drawn(index, row, stream))

    def floats(way: Callable[[TrainingSampler], Window]) -> float:
        return rate(lambda sample: normalise(_tensors(way(sample))))

    def rate(way: Callable[[TrainingSampler], object]) -> float:
        seconds = timed(repeats, lambda: [way(sample) for sample in samples])[0]
        return len(samples) / seconds

    is_rgb = stream == "rgb"
    has_peer = is_rgb and find_spec("decord") is not None
    ours, theirs = rate(loader), rate(peer) if has_peer else None
    return Cost(
        clip=file.name,
        window=name(clips),
        handed_on=_kind(loader(samples[0])) if is_rgb else "flow",
        decode=rate(decode),
        loader=ours,
        rgb=rate(frames) if is_rgb else None,
        decord=theirs,
        ratio=ours / theirs if theirs else None,
        loader_floats=floats(loader),
        decord_floats=floats(peer) if has_peer else None,
    )


def _kind(window: Window) -> str:
    if not isinstance(window, PlaneWindow):
        return "RGB"
    return "4:4:4 planes" if window.phase[0] == WHOLE else "planes"


def _tensors(window: Window) -> torch.Tensor | Planes:
    luma, *planes = (torch.from_numpy(column) for column in columns("rgb", [window]).values())
    return Planes(luma, *planes) if planes else luma


def taken(index: ClipIndex, rows: NDArray[np.int64]) -> ClipIndex:
    """Return an index of the given rows, in their order; rows may repeat."""
    names = ("clip_ids", "file", "row_group", "label", "num_frames", "num_flow", "size")
    places = {stream: known.take(rows) for stream, known in index.places.items()}
    return replace(index, places=places, **{name: getattr(index, name)[rows] for name in names})


def name(clips: ClipsConfig) -> str:
    """Return the name of a window size, such as 64x224x224."""
    return f"{clips.frames}x{clips.crop}x{clips.crop}" + (f" of {clips.short_side}" if clips.short_side else "")
