"""Cost of each stage of ingest in one process, by its processor time, which other programs disturb little."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.benchmarks.peer import PEERS
from pipeline.config import IngestConfig
from pipeline.flow import tvl1
from pipeline.ingest.decode.clip import decode_clip
from pipeline.ingest.encode import FlowWriter, VideoWriter, qualities
from pipeline.shards.codec import decode_video, encode_video

T = TypeVar("T")
LONG_GOP = 250  # frames between key frames; x264's default, and usual on video sites


@dataclass(frozen=True)
class StageCost:
    """Cost of one stage on one clip; a figure that a stage does not have is None."""

    clip: str
    stage: str
    per_s: float
    """Frames of the result a second; for flow, pairs of frames."""
    share: float
    """Per cent of the processor time that all our stages take for the clip."""
    kb_a_frame: float | None = None
    psnr_db: float | None = None
    """PSNR of the worst frame, in dB."""


@dataclass(frozen=True)
class Access:
    """Speed of random windows of one clip as ingest stores it, and with the key frames of a usual source."""

    clip: str
    frames: int
    """Frames in a window."""
    stored_per_s: float
    """Windows a second from the clip as ingest stores it."""
    long_gop_per_s: float
    """Windows a second from the clip with one key frame every `LONG_GOP` frames, at the same quality."""
    stored_kb: float
    """kB per frame."""
    long_gop_kb: float
    source_kb: float
    """kB of the source file, sound included, per frame of the result."""


def stage_costs(
    clips: Sequence[Path], config: IngestConfig, pairs: int, repeats: int, peers: Sequence[str] = ()
) -> Iterator[StageCost]:
    """Measure decoding, encoding, flow of the first `pairs` pairs and its encoding, and the decoding of each peer.

    Args:
        clips: video files.
        config: settings of ingest.
        pairs: number of neighbouring pairs of each clip whose flow is computed.
        repeats: number of turns; the fastest counts.
        peers: keys of `pipeline.benchmarks.peer.PEERS`.
    """
    for clip in clips:
        decode_s, frames = timed(repeats, _decoded, clip, config)
        video_s, video = timed(repeats, _video_columns, frames, config)
        window = frames[: pairs + 1]
        tvl1(window[:2], config.flow.backend, warps=1)  # compile or load
        flow_s, flow = timed(repeats, tvl1, window, config.flow.backend, **config.flow.parameters)
        levels_s, levels = timed(repeats, _flow_columns, flow, config)
        scale = (len(frames) - 1) / len(flow)
        seconds = {"decode": decode_s, "rgb encode": video_s, "flow": flow_s * scale, "flow encode": levels_s * scale}
        sizes = {"rgb encode": video["video_bytes"], "flow encode": levels["flow_bytes"] * scale}
        for stage, taken in seconds.items():
            count = len(frames) - stage.startswith("flow")
            yield StageCost(
                clip=clip.name,
                stage=stage,
                per_s=count / taken,
                share=100 * taken / sum(seconds.values()),
                kb_a_frame=sizes[stage] / count / 1000 if stage in sizes else None,
                psnr_db=video["video_psnr"] if stage == "rgb encode" else None,
            )
        for peer in peers:
            times = np.arange(len(frames)) / config.fps
            taken, _ = timed(repeats, PEERS[peer], str(clip), times, *frames.shape[1:3])
            yield StageCost(clip.name, peer, len(frames) / taken, 100 * taken / sum(seconds.values()))


def access(clips: Sequence[Path], config: IngestConfig, frames: int, windows: int, repeats: int) -> Iterator[Access]:
    """Measure the decoding of `windows` random windows of `frames` frames from each clip."""
    for clip in clips:
        pictures, facts = decode_clip(str(clip), None, None, config.fps, config.short_side)
        length = min(frames, len(pictures))
        starts = np.random.default_rng(0).integers(0, len(pictures) - length + 1, windows)
        stored, long_gop = (encode_video(pictures, config.fps, config.crf, gop) for gop in (config.gop, LONG_GOP))
        stored_s, long_gop_s = (timed(repeats, _read, video, starts, length)[0] for video in (stored, long_gop))
        kilobytes = (count / len(pictures) / 1000 for count in (len(stored), len(long_gop), facts.source_bytes))
        yield Access(clip.name, length, windows / stored_s, windows / long_gop_s, *kilobytes)


def _decoded(clip: Path, config: IngestConfig) -> NDArray[np.uint8]:
    return decode_clip(str(clip), None, None, config.fps, config.short_side)[0]


def _video_columns(frames: NDArray[np.uint8], config: IngestConfig) -> dict[str, Any]:
    """Encode and check frames at the first quality that is good enough."""
    for pixel_format, quality in qualities(config.crf):
        writer = VideoWriter(config.fps, quality, config.gop, pixel_format)
        writer.add(frames)
        if writer.psnr >= config.min_psnr:
            break
    return writer.columns()


def _flow_columns(flow: NDArray[np.float32], config: IngestConfig) -> dict[str, Any]:
    writer = FlowWriter(config.flow.bound, config.fps, config.gop)
    writer.add(flow)
    return writer.columns()


def _read(video: bytes, starts: NDArray[np.int64], length: int) -> None:
    for start in starts:
        decode_video(video, np.arange(start, start + length))


def timed(repeats: int, run: Callable[..., T], *arguments: Any, **options: Any) -> tuple[float, T]:
    """Return the processor seconds of the fastest of `repeats` calls, over all threads, and the result."""
    fastest = np.inf
    for _ in range(repeats):
        start = time.process_time()
        result = run(*arguments, **options)
        fastest = min(fastest, time.process_time() - start)
    return fastest, result
