"""Opening of a video file of unknown origin: its container, its video stream, and what its errors mean."""

import mmap
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import av
from av.stream import Disposition

from pipeline.ingest.clip_errors import ClipError, DecodeError, Encrypted, NotAVideo, TooLarge, UnknownCodec
from pipeline.ingest.decode.encryption import encryption
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

_NEXT_JPEG = re.compile(rb"\xff\xd9\x00*\xff\xd8\xff")  # the end of a JPEG, and another one right behind it

Log = list[tuple[int, str, str]]
"""libav's messages: level, the name of the demuxer or codec, text."""


@dataclass
class Progress:
    """The state of decoding, for error messages."""

    path: str
    decoding: bool = False
    frames: int = 0
    size: tuple[int, int] = (0, 0)


@contextmanager
def explained(progress: Progress) -> Iterator[Log]:
    """Yield the list to which libav's errors are added; turn an error of PyAV into a `ClipError` that quotes the last.

    PyAV drops libav's messages by default, and drops repetitions of a message, even of one that came with another file.
    """
    level, repeated = av.logging.get_level(), av.logging.get_skip_repeated()
    av.logging.set_level(max(level or 0, av.logging.ERROR))
    av.logging.set_skip_repeated(False)
    try:
        with av.logging.Capture() as log:
            try:
                yield log
            except (MemoryError, av.FFmpegError, UnicodeDecodeError) as error:
                raise _explanation(error, progress, [message for _, _, message in log]) from error
    finally:
        av.logging.set_level(level)
        av.logging.set_skip_repeated(repeated)


def open_video(path: str) -> av.container.InputContainer:
    """Open a file; the format is recognised by the content, never by the name."""
    try:
        return av.open(f"file:{path}", options={"format_whitelist": CONTAINERS}, metadata_errors="replace")
    except av.error.ArgumentError:  # raised for formats that the list excludes: a series of JPEGs is among them
        if not is_motion_jpeg(path):
            raise
        return av.open(f"file:{path}", format="mjpeg", metadata_errors="replace")


def video_stream(container: av.container.InputContainer) -> av.VideoStream:
    """Return the video stream that a player shows, which is no cover picture; set its limits for decoding."""
    videos = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
    if container.format.name == "mjpeg" and not is_motion_jpeg(container.name.removeprefix("file:")):
        raise NotAVideo("no container of video, but JPEG pictures are in it")
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


def damage(path: str, what: str) -> ClipError:
    """Return the error that damage means: `Encrypted`, `Truncated` or `MoovMissing` if the file's bytes say so."""
    if how := encryption(path):
        return Encrypted(f"{how}; decrypt it first ({what})")
    if shortened := cut_short(path):
        return type(shortened)(f"{shortened} ({what})")
    return DecodeError(what)


def _explanation(error: Exception, progress: Progress, log: list[str]) -> ClipError:
    """Return the `ClipError` that an error of PyAV means."""
    if isinstance(error, MemoryError) and progress.decoding:
        return TooLarge(f"decoding takes more memory than a clip may, after {progress.frames} frames")
    if isinstance(error, av.error.DecoderNotFoundError):
        return UnknownCodec(f"the installed PyAV has no decoder for its video stream: {error}")
    said = getattr(error, "strerror", None) or str(error)
    words = f"; libav: {log[-1].strip()}" if log else ""
    after = f" after {progress.frames} frames" if progress.decoding else ""
    found = damage(progress.path, f"{said}{after}{words}")
    if progress.decoding or not isinstance(found, DecodeError):
        return found
    if isinstance(error, MemoryError):  # no picture was decoded yet: only a damaged length asks for so much
        return DecodeError(f"its header is damaged: it asks for more memory than there is{words}")
    if isinstance(error, av.error.ArgumentError):
        return NotAVideo("no container of video; playlists, pictures and text are not opened")
    return NotAVideo(f"{said}{words}")


def is_motion_jpeg(path: str) -> bool:
    """Return whether a file is JPEGs one after the other, and not a single picture."""
    with Path(path).open("rb") as file:
        if file.read(3) != b"\xff\xd8\xff":
            return False
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return _NEXT_JPEG.search(content) is not None
