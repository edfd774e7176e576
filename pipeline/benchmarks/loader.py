"""Loader speed in one process by processor time: random training windows, beside peers on the same windows."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.benchmarks.ingest import timed
from pipeline.benchmarks.peer import read
from pipeline.benchmarks.throughput import BenchmarkError, copies
from pipeline.clips.index import ClipIndex
from pipeline.clips.normalise import Planes, normalise, rgb
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
    """Windows of one clip per second of processor time."""

    clip: str
    window: str
    handed_on: str
    """What the loader returns: planes, 4:4:4 planes, RGB or flow."""
    decode: float
    """Decoding alone, with the frames between the key frame and the window: an upper limit for any loader."""
    loader: float
    rgb: float | None
    """Converting whole frames to RGB, then cropping: a loader that returns RGB."""
    floats: float
    """The loader with the conversion to floats on the same core; trainings do it on their device."""


@dataclass(frozen=True)
class Beside:
    """Windows of one clip per second of processor time, by a peer and by the loader in the same run."""

    clip: str
    window: str
    peer: str
    reads: str
    """What the peer reads: the source file, or the stored clip from memory, as the loader does."""
    per_s: float
    loader: float
    ratio: float
    """Speed of the loader relative to the peer."""
    levels_off: float
    """Mean distance of the peer's windows from the loader's, in levels of 0 to 255: whether it reads the same."""


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
    return index.take(np.argsort(index.clip_ids.astype(int)))


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
            yield _cost(index, row, file.name, stream, samples, repeats)
            progress.advance(note=f"{file.name}, {stream}, {name(clips)}")


def beside(
    files: Sequence[Path], index: ClipIndex, peers: Sequence[str], windows: int, repeats: int
) -> Iterator[Beside]:
    """Measure each peer and the loader on the same windows; for the arguments see `costs`."""
    progress = Progress("clips, sizes and peers", 2 * len(peers) * len(WINDOWS) * len(files))
    for clips in WINDOWS:
        for row, file in enumerate(files):
            samples = [TrainingSampler(clips, 0, epoch) for epoch in range(windows)]
            for peer in peers:
                for reads in ("source", "stored"):
                    yield _beside(peer, reads, file, index, row, samples, repeats)
                    progress.advance(note=f"{file.name}, {peer}, {reads}, {name(clips)}")


def _beside(
    peer: str, reads: str, file: Path, index: ClipIndex, row: int, samples: Sequence[TrainingSampler], repeats: int
) -> Beside:
    def loader(sample: TrainingSampler) -> Window:
        return sample(index, row, "rgb")

    def theirs(sample: TrainingSampler) -> NDArray[np.uint8]:
        video = str(file) if reads == "source" else index.blob(row, "rgb")
        return read(peer, video, index.size[row], IngestConfig().fps, *sample.drawn(index, row, "rgb"))

    def off(sample: TrainingSampler) -> float:
        window = _tensors(loader(sample))
        seen = rgb(window) if isinstance(window, Planes) else window
        return float((seen[0].float() - torch.from_numpy(theirs(sample)).float()).abs().mean())

    def seconds(way: Callable[[TrainingSampler], object]) -> float:
        return timed(1, lambda: [way(sample) for sample in samples])[0] / len(samples)

    turns = [(seconds(loader), seconds(theirs)) for _ in range(repeats)]  # in turn, as a machine's speed changes
    ours_s, theirs_s = np.min(turns, axis=0).tolist()
    return Beside(
        clip=file.name,
        window=name(samples[0].clips),
        peer=peer,
        reads=reads,
        per_s=1 / theirs_s,
        loader=1 / ours_s,
        ratio=theirs_s / ours_s,
        levels_off=float(np.mean([off(sample) for sample in samples])),
    )


def _cost(
    index: ClipIndex, row: int, clip: str, stream: Stream, samples: Sequence[TrainingSampler], repeats: int
) -> Cost:
    blob, clips = index.blob(row, stream), samples[0].clips

    def decode(sample: TrainingSampler) -> None:
        deque(decoded(blob, np.unique(sample.drawn(index, row, stream)[0])), maxlen=0)

    def loader(sample: TrainingSampler) -> Window:
        return sample(index, row, stream)

    def frames(sample: TrainingSampler) -> Window:
        numbers, crop = sample.drawn(index, row, stream)
        return crop.apply(decode_video(index.blob(row, stream), numbers), is_flow=False)

    def rate(way: Callable[[TrainingSampler], object]) -> float:
        seconds = timed(repeats, lambda: [way(sample) for sample in samples])[0]
        return len(samples) / seconds

    is_rgb = stream == "rgb"
    return Cost(
        clip=clip,
        window=name(clips),
        handed_on=_kind(loader(samples[0])) if is_rgb else "flow",
        decode=rate(decode),
        loader=rate(loader),
        rgb=rate(frames) if is_rgb else None,
        floats=rate(lambda sample: normalise(_tensors(loader(sample)))),
    )


def _kind(window: Window) -> str:
    if not isinstance(window, PlaneWindow):
        return "RGB"
    return "4:4:4 planes" if window.phase[0] == WHOLE else "planes"


def _tensors(window: Window) -> torch.Tensor | Planes:
    luma, *planes = (torch.from_numpy(column) for column in columns("rgb", [window]).values())
    return Planes(luma, *planes) if planes else luma


def name(clips: ClipsConfig) -> str:
    """Return the name of a window size, such as 64x224x224."""
    return f"{clips.frames}x{clips.crop}x{clips.crop}" + (f" of {clips.short_side}" if clips.short_side else "")
