"""From a video file to the frames of one clip, at a constant rate by presentation time.

Output frame k is what a viewer sees k / fps seconds after the clip's start: the last source frame whose presentation
time is not later. That holds for constant, variable and missing frame rates alike.
"""

import hashlib
import time
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from pipeline.ingest.errors import (
    BadTimes,
    ClipError,
    DecodeError,
    DecodeTimeout,
    FileNotFound,
    NotAVideo,
    TooLong,
    TooShort,
    ZeroByte,
)


@dataclass(frozen=True)
class SourceFacts:
    """What the source was, for the record."""

    source_codec: str
    source_width: int
    source_height: int
    source_fps: float
    source_frames: int
    source_bytes: int
    source_sha256: str

    def columns(self) -> dict[str, Any]:
        """As columns of a shard row."""
        return asdict(self)


def decode_clip(
    path: str,
    start_s: float | None,
    end_s: float | None,
    fps: int,
    short_side: int,
    max_seconds: float = 300.0,
    timeout_s: float = 600.0,
) -> tuple[NDArray[np.uint8], SourceFacts]:
    """Decode, trim, resample and resize one clip.

    Args:
        path: a local video file.
        start_s: start within the file in seconds; None for its first frame.
        end_s: end within the file, exclusive; None for its end.
        fps: frames a second of the result.
        short_side: shorter side of the result in pixels; both sides are rounded to even numbers.
        max_seconds: longest clip accepted, which bounds memory.
        timeout_s: longest time spent on this clip.

    Returns:
        Frames, (T, H, W, 3) uint8 RGB, and facts of the source. T is round(seconds * fps).

    Raises:
        ClipError: one of `pipeline.ingest.errors`, by what was wrong.
    """
    size, sha256 = _fingerprint(path)
    if end_s is not None and end_s <= (start_s or 0.0):
        raise BadTimes(f"end {end_s:g} s is not after start {start_s or 0:g} s")
    deadline = time.monotonic() + timeout_s
    stage: type[ClipError] = NotAVideo
    decoded = 0
    try:
        with av.open(path) as container:
            if not container.streams.video:
                raise NotAVideo("no video stream in it")
            stage = DecodeError
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1  # parallelism is over clips
            codec = stream.codec_context
            clip = _ConstantRate(fps, start_s or 0.0, end_s, short_side, max_seconds)
            for frame in container.decode(stream):
                decoded += 1
                clip.add(frame)
                if clip.complete:
                    break
                if time.monotonic() > deadline:
                    raise DecodeTimeout(f"stopped after {timeout_s:g} s at frame {decoded}")
            facts = SourceFacts(
                codec.name, codec.width, codec.height, float(stream.average_rate or 0), decoded, size, sha256
            )
    except (av.FFmpegError, UnicodeDecodeError) as error:
        where = f" after {decoded} frames" if stage is DecodeError else ""
        raise stage(f"{getattr(error, 'strerror', None) or error}{where}") from error
    return clip.frames(), facts


class _ConstantRate:
    """Collects, from source frames in presentation order, the one on screen at each tick of the output rate."""

    def __init__(self, fps: int, start_s: float, end_s: float | None, short_side: int, max_seconds: float) -> None:
        self._fps, self._short_side, self._max_seconds = fps, short_side, max_seconds
        self._start = Fraction(start_s).limit_denominator(1_000_000)
        self._wanted: int | None = None
        if end_s is not None:
            self._wanted = max(1, round((Fraction(end_s).limit_denominator(1_000_000) - self._start) * fps))
        self._origin: Fraction | None = None  # presentation time of the first frame
        self._shown: av.VideoFrame | None = None  # the frame on screen
        self._until = Fraction(0)  # when it leaves, from the origin
        self._count = 0  # source frames so far
        self._pictures: list[NDArray[np.uint8]] = []

    @property
    def complete(self) -> bool:
        """Whether every tick up to the clip's end has its picture."""
        return self._wanted is not None and len(self._pictures) >= self._wanted

    def add(self, frame: av.VideoFrame) -> None:
        """Take the next source frame."""
        if frame.pts is None:
            raise DecodeError("a frame has no presentation time")
        if self._origin is None:
            self._origin = frame.pts * frame.time_base
        since = frame.pts * frame.time_base - self._origin
        self._fill(until=since)
        if len(self._pictures) > self._max_seconds * self._fps:
            raise TooLong(f"more than {self._max_seconds:g} s; give start and end times to cut a clip from it")
        self._count += 1
        average = since / (self._count - 1) if self._count > 1 else Fraction(1, self._fps)
        stated = frame.duration * frame.time_base if frame.duration else Fraction(0)
        lasts = stated if 2 * stated >= average else average  # headers of variable rates state 1 ms
        self._shown, self._until = frame, since + lasts

    def frames(self) -> NDArray[np.uint8]:
        """The clip, (T, H, W, 3); the last source frame stays on screen for its own duration."""
        if self._shown is None:
            raise DecodeError("no frame decodes")
        half_a_tick = Fraction(1, 2 * self._fps)  # T is the duration in ticks, rounded
        self._fill(until=self._until - half_a_tick, inclusive=True)
        if self._start >= self._until:
            raise BadTimes(f"starts at {float(self._start):g} s; the source ends at {float(self._until):.2f} s")
        if len(self._pictures) < 2:
            raise TooShort(f"{len(self._pictures)} frame at {self._fps} frames a second; two are the least")
        return np.stack(self._pictures[: self._wanted])

    def _fill(self, until: Fraction, inclusive: bool = False) -> None:
        """Show the frame on screen at every tick before `until`."""
        picture = None
        while self._shown is not None and not self.complete:
            tick = self._start + Fraction(len(self._pictures), self._fps)
            if tick > until or (tick == until and not inclusive):
                return
            if picture is None:  # frames that no tick falls on are never converted
                width, height = _even_size(self._shown.width, self._shown.height, self._short_side)
                picture = self._shown.to_ndarray(format="rgb24", width=width, height=height, interpolation="BILINEAR")
            self._pictures.append(picture)


def _even_size(width: int, height: int, short_side: int) -> tuple[int, int]:
    """(width, height) with the shorter side as asked, the aspect kept, both even."""
    scale = Fraction(short_side, min(width, height))
    return tuple(max(2, 2 * round(side * scale / 2)) for side in (width, height))  # type: ignore[return-value]


def _fingerprint(path: str) -> tuple[int, str]:
    """Bytes and SHA-256 of a file."""
    file = Path(path)
    if not file.is_file():
        raise FileNotFound(f"no file {file.name} in {file.parent}")
    size = file.stat().st_size
    if size == 0:
        raise ZeroByte("the file is empty")
    with file.open("rb") as opened:
        return size, hashlib.file_digest(opened, "sha256").hexdigest()
