"""Decoding of one clip from a video file to upright pictures at a constant rate, by presentation time.

This runs native code on files of unknown origin and may hang or crash. So ingest calls it through
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
"""Largest number of pixels of a source picture: 8K. A decoder holds up to about twenty pictures."""

CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,live_flv,asf,ogg,gif,apng,nut,rm,mxf,dv,wtv,"
    "swf,ivf,obu,av1,h264,hevc,vvc,m4v,mjpeg,yuv4mpegpipe,wav,mp3,flac,aac,aiff"
)
"""Container formats that are opened. Sound formats are included, so that the error can say that a file is only sound.

Playlists and lists of files are excluded, because they make FFmpeg read other files and addresses. Pictures and text,
which FFmpeg would also play, are excluded too."""

STATED_DURATION = {"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi", "flv"}
"""Containers whose header states the duration; for others libavformat estimates it by bit rate or from the end."""


@dataclass(frozen=True)
class SourceFacts:
    """Facts about the source of a clip, which are recorded in its shard row."""

    source_codec: str
    source_width: int
    source_height: int
    source_fps: float
    source_frames: int
    """Number of decoded frames that are on screen during the clip, without those decoded only to reach its start."""
    source_bytes: int
    source_sha256: str
    packets_sha256: str
    """Digest of the compressed video of the clip alone; see `pipeline.ingest.decode.packet_digest`."""
    source_notes: str
    """Anything unusual, comma-separated: interlaced, turned, pixel aspect 64:51, times guessed, 3 damaged frames."""

    def columns(self) -> dict[str, Any]:
        """Return the facts as columns of a shard row."""
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
        path: path of a local video file, or `/proc/PID/fd/N` for one that was fetched into anonymous memory.
        start_s: start within the file in seconds from its first frame; None for the first frame.
        end_s: end within the file in seconds, exclusive; None for the end of the file.
        fps: frames per second of the result.
        short_side: shorter side of the result in pixels; both sides are rounded to even numbers.
        max_seconds: longest clip accepted in seconds, which limits memory.

    Returns:
        Frames, (T, H, W, 3) uint8 RGB, and facts of the source. T is round(seconds * fps).

    Raises:
        ClipError: the clip cannot be decoded; the subclass in `pipeline.ingest.clip_errors` says why.
    """
    pictures: list[NDArray[np.uint8]] = []

    def keep(position: int, picture: NDArray[np.uint8]) -> None:
        pictures[position:] = [picture]

    facts = decode_pictures(path, start_s, end_s, fps, short_side, max_seconds, keep=keep)
    return np.stack(pictures), facts


def decode_pictures(
    path: str, start_s: float | None, end_s: float | None, fps: int, short_side: int, max_seconds: float, *, keep: Keep
) -> SourceFacts:
    """Decode as `decode_clip` does, but pass each picture to `keep`; if an error is raised, the pictures are void."""
    fingerprint = _fingerprint(path)
    clip = partial(ConstantRate, fps, start_s, end_s, max_seconds, keep)
    if start_s:
        with suppress(Doubt):
            return _decode(path, fingerprint, clip(), short_side, max_seconds, jump=True)
    return _decode(path, fingerprint, clip(), short_side, max_seconds, jump=False)


def _decode(
    path: str, fingerprint: tuple[int, str], clip: ConstantRate, short_side: int, max_seconds: float, jump: bool
) -> SourceFacts:
    """Fill a clip by decoding from the beginning of the source, or after a jump to the clip's start."""
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
            if clip.frames == 1:  # earlier frames were not in the clip
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
    """The state of decoding, for error messages."""

    path: str
    decoding: bool = False
    frames: int = 0
    size: tuple[int, int] = (0, 0)


def _video_stream(container: av.container.InputContainer) -> av.VideoStream:
    """Return the video stream that a player shows, which is no cover picture; set its limits for decoding."""
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
    codec.thread_count = 1  # clips are decoded in parallel instead
    codec.options = {"max_pixels": str(MAX_SOURCE_PIXELS)}  # a stream may change its size part-way
    return stream


def _check_whole(container: av.container.InputContainer, stream: av.VideoStream, end: Fraction) -> None:
    """Check that a source that was read to its end is as long as its header says.

    It may be shorter by a tenth, or by half a second if that is more. `end` is its measured end in seconds.
    """
    if container.format.name not in STATED_DURATION:
        return
    stated = stream.duration * stream.time_base if stream.duration else Fraction(container.duration or 0, av.time_base)
    if end < stated - max(Fraction(1, 2), stated / 10):
        raise Truncated(f"ends at {float(end):.2f} s; its header says {float(stated):.2f} s")


@contextmanager
def _explained(progress: _Progress) -> Iterator[None]:
    """Turn an error of PyAV into a `ClipError`, with libav's last message if logging is on."""
    with av.logging.Capture() as log:
        try:
            yield
        except MemoryError as error:
            raise TooLarge(f"decoding takes more memory than a clip may, after {progress.frames} frames") from error
        except (av.FFmpegError, UnicodeDecodeError) as error:
            raise _explanation(error, progress, [message for _, _, message in log]) from error


def _explanation(error: Exception, progress: _Progress, log: list[str]) -> ClipError:
    """Return the `ClipError` that an error of PyAV means."""
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
    if isinstance(error, av.error.ArgumentError):  # raised for formats that the whitelist excludes
        return NotAVideo("no container of video; playlists, pictures and text are not opened")
    return NotAVideo(f"{said}{words}")


def _fingerprint(path: str) -> tuple[int, str]:
    """Return the number of bytes and the SHA-256 of a file."""
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
