"""From a video file to the pictures of one clip, at a constant rate by presentation time, upright.

This runs native code on files of unknown origin, which may hang or crash: ingest calls it through
`pipeline.ingest.decode.child_process`, in a process that can be killed.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.stream import Disposition
from numpy.typing import NDArray

from pipeline.ingest.clip_errors import (
    ClipError,
    DecodeError,
    FileNotFound,
    NotAVideo,
    TooLarge,
    Truncated,
    UnknownCodec,
    Unreadable,
    ZeroByte,
)
from pipeline.ingest.decode.constant_rate import ConstantRate, Keep
from pipeline.ingest.decode.orientation import View, check_same_shape, view_of
from pipeline.ingest.decode.packet_digest import PacketDigest, decoded
from pipeline.ingest.decode.seek import Doubt, after_jump
from pipeline.ingest.decode.timestamps import Clock
from pipeline.ingest.decode.truncation import cut_short

MAX_SOURCE_PIXELS = 8192 * 4352
"""Of a source picture: 8K. A decoder holds up to some twenty of them."""

CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,live_flv,asf,ogg,gif,apng,nut,rm,mxf,dv,wtv,"
    "swf,ivf,obu,av1,h264,hevc,vvc,m4v,mjpeg,yuv4mpegpipe,wav,mp3,flac,aac,aiff"
)
"""What is opened; of sound, what may stand under the name of a video, so that it can be told. Playlists and lists of
files are not: they make FFmpeg read other files and addresses. Nor are pictures and text, which it plays as well."""

STATED_DURATION = {"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi", "flv"}
"""Containers whose header says how long they are; elsewhere libavformat estimates it, by bit rate or from the end."""


@dataclass(frozen=True)
class SourceFacts:
    """What the source was, for the record."""

    source_codec: str
    source_width: int
    source_height: int
    source_fps: float
    source_frames: int
    """Decoded, of those on screen at some time of the clip; what was read before it to decode them does not count."""
    source_bytes: int
    source_sha256: str
    packets_sha256: str
    """Of the compressed video of the clip alone; see `pipeline.ingest.decode.packet_digest`."""
    source_notes: str
    """What was special about it, comma-separated: interlaced, turned, pixel aspect 64:51, times guessed, 3 damaged
    frames."""

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
) -> tuple[NDArray[np.uint8], SourceFacts]:
    """Decode, trim, resample and resize one clip.

    Args:
        path: a local video file, or `/proc/PID/fd/N` for one that was fetched into anonymous memory.
        start_s: start within the file in seconds; None for its first frame.
        end_s: end within the file, exclusive; None for its end.
        fps: frames a second of the result.
        short_side: shorter side of the result in pixels; both sides are rounded to even numbers.
        max_seconds: longest clip accepted, which bounds memory.

    Returns:
        Frames, (T, H, W, 3) uint8 RGB, and facts of the source. T is round(seconds * fps).

    Raises:
        ClipError: one of `pipeline.ingest.clip_errors`, by what was wrong.
    """
    pictures: list[NDArray[np.uint8]] = []

    def keep(position: int, picture: NDArray[np.uint8]) -> None:
        pictures[position:] = [picture]

    facts = decode_pictures(path, start_s, end_s, fps, short_side, max_seconds, keep=keep)
    return np.stack(pictures), facts


def decode_pictures(
    path: str, start_s: float | None, end_s: float | None, fps: int, short_side: int, max_seconds: float, *, keep: Keep
) -> SourceFacts:
    """`decode_clip`, handing each picture to `keep` as it comes; those of a clip that fails in the end are void."""
    fingerprint = _fingerprint(path)
    clip = partial(ConstantRate, fps, start_s, end_s, max_seconds, keep)
    if start_s:
        with suppress(Doubt):
            return _decode(path, fingerprint, clip(), short_side, max_seconds, jump=True)
    return _decode(path, fingerprint, clip(), short_side, max_seconds, jump=False)


def _decode(
    path: str, fingerprint: tuple[int, str], clip: ConstantRate, short_side: int, max_seconds: float, jump: bool
) -> SourceFacts:
    """Fill a clip, from the beginning of the source or by a jump to the clip's start."""
    digest = PacketDigest(clip.start, clip.last)
    progress = _Progress(path)
    with _explained(progress), av.open(f"file:{path}", options={"format_whitelist": CONTAINERS}) as container:
        stream = _video_stream(container)
        progress.decoding = True
        aspect = stream.sample_aspect_ratio
        clock = Clock(stream.guessed_rate or stream.average_rate, max_seconds)
        view: View | None = None
        interlaced = damaged = 0

        def read(packet: av.Packet) -> None:
            digest.add(packet, clock.origin)

        if jump:
            frames = after_jump(container, stream, clock, clip.start, read)
        else:
            frames = decoded(container.demux(stream), read)
        for frame in frames:
            if view is None or (frame.width, frame.height) != progress.size:
                now = view_of(frame, short_side)
                check_same_shape(view or now, now)
                view = view or now
                progress.size = frame.width, frame.height
            progress.frames += 1
            clip.add(frame, clock.since_start(frame), view)
            if clip.complete:
                break
            if clip.frames == 1:  # what came before was not in the clip
                interlaced = damaged = 0
            interlaced += frame.interlaced_frame
            damaged += frame.is_corrupt
        if view is None:
            raise cut_short(path) or DecodeError("no frame decodes")
        if not clip.complete:
            _check_whole(container, stream, clip.end())
        clip.check()
        codec = stream.codec_context
        size, sha256 = fingerprint
        notes = {
            "interlaced": 2 * interlaced > clip.frames,
            "turned": view.turned,
            f"pixel aspect {aspect and f'{aspect.numerator}:{aspect.denominator}'}": aspect not in (None, 0, 1),
            "times guessed": clock.guessed,
            f"{damaged} damaged frames": damaged,
        }
        return SourceFacts(
            source_codec=codec.name,
            source_width=codec.width,
            source_height=codec.height,
            source_fps=float(stream.average_rate or 0),
            source_frames=clip.frames,
            source_bytes=size,
            source_sha256=sha256,
            packets_sha256=digest.hexdigest(clock.origin),
            source_notes=", ".join(note for note, holds in notes.items() if holds),
        )


@dataclass
class _Progress:
    """How far decoding has come, for the message when it breaks."""

    path: str
    decoding: bool = False
    frames: int = 0
    size: tuple[int, int] = (0, 0)


def _video_stream(container: av.container.InputContainer) -> av.VideoStream:
    """The stream that a player shows, ready to decode: no cover picture, on one thread, within bounds."""
    videos = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
    if not videos:
        only = "no video stream in it but a cover picture" if container.streams.video else "no video stream in it"
        raise NotAVideo(f"{only}; it is {container.format.name}")
    stream = next((stream for stream in videos if stream.disposition & Disposition.default), videos[0])
    codec = stream.codec_context
    if codec is None:
        raise UnknownCodec("the installed PyAV has no decoder for its video stream")
    if codec.width * codec.height > MAX_SOURCE_PIXELS:
        raise TooLarge(f"{codec.width}x{codec.height}; {MAX_SOURCE_PIXELS} pixels a picture are the most")
    codec.thread_count = 1  # parallelism is over clips
    codec.options = {"max_pixels": str(MAX_SOURCE_PIXELS)}  # a stream may change its size part-way
    return stream


def _check_whole(container: av.container.InputContainer, stream: av.VideoStream, end: Fraction) -> None:
    """Whether a source that was read to its end, in seconds, is as long as its header says, give or take a tenth."""
    if container.format.name not in STATED_DURATION:
        return
    stated = stream.duration * stream.time_base if stream.duration else Fraction(container.duration or 0, av.time_base)
    if end < stated - max(Fraction(1, 2), stated / 10):
        raise Truncated(f"ends at {float(end):.2f} s; its header says {float(stated):.2f} s")


@contextmanager
def _explained(progress: _Progress) -> Iterator[None]:
    """Give what PyAV raises its class, and libav's own last words where logging is on."""
    with av.logging.Capture() as log:
        try:
            yield
        except MemoryError as error:
            raise TooLarge(f"decoding takes more memory than a clip may, after {progress.frames} frames") from error
        except (av.FFmpegError, UnicodeDecodeError) as error:
            raise _explanation(error, progress, [message for _, _, message in log]) from error


def _explanation(error: Exception, progress: _Progress, log: list[str]) -> ClipError:
    """What an error of PyAV means for the clip."""
    if isinstance(error, av.error.DecoderNotFoundError):
        return UnknownCodec(f"the installed PyAV has no decoder for its video stream: {error}")
    said = getattr(error, "strerror", None) or str(error)
    words = f"; libav: {log[-1].strip()}" if log else ""
    after = f" after {progress.frames} frames" if progress.decoding else ""
    shortened = cut_short(progress.path)
    if shortened:
        return type(shortened)(f"{shortened} ({said}{after}{words})")
    if progress.decoding:
        return DecodeError(f"{said}{after}{words}")
    if isinstance(error, av.error.ArgumentError):  # what a closed list of formats answers
        return NotAVideo("no container of video; playlists, pictures and text are not opened")
    return NotAVideo(f"{said}{words}")


def _fingerprint(path: str) -> tuple[int, str]:
    """Bytes and SHA-256 of a file."""
    file, memory = Path(path), path.startswith("/proc/")
    if not file.is_file():
        raise FileNotFound(
            "what was fetched into memory is gone" if memory else f"no file {file.name} in {file.parent}"
        )
    size = file.stat().st_size
    if size == 0:
        raise ZeroByte(f"{'what was fetched' if memory else 'the file'} is empty")
    try:
        with file.open("rb") as opened:
            return size, hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise Unreadable(f"{error.strerror}: {'memory of this worker' if memory else path}") from error
