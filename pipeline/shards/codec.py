"""Encoding and decoding of clips and flow; ingest encodes picture by picture, training decodes one window at a time.

Video is H.264 with a constant frame rate, a key frame every `gop` frames and no B-frames, so decoding a window takes at
most gop - 1 more frames than the window has. Variable-length codes instead of arithmetic coding, and no deblocking,
halve the decoding time. Flow is stored as 8-bit levels, lossless, with x above y in one grey H.264 picture. It is
written and read as luma, because PyAV's default conversion to limited range would silently rescale it by 219/255, an
error of 0.3 to 0.5 px.
"""

import io
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from typing import BinaryIO, ClassVar, NamedTuple, cast

import av
import numpy as np
from av.video.reformatter import ColorRange, VideoReformatter
from numpy.typing import NDArray

from pipeline.shards.limits import MAX_PIXELS
from pipeline.shards.mp4 import CodecError, check_mp4

VIDEO_CODEC = "h264"
FLOW_CODEC = "h264_gray_stack"

# fastdecode: without CABAC and deblocking, decoding windows of real clips takes 45 to 55 % of the time (flow 42 to
# 47 %), for 6 to 15 % more bytes (flow 18 to 24 %).
# One thread and no version strings, so that the same frames give the same bytes; their digest identifies the clip.
# No macroblock tree: in x264 it reads memory that was never written, and one clip in fifty came out different
# (measured, mostly below 100 pixels, also at 320 x 240). Without it, files are 10 % larger at the same PSNR.
# Presets and tools, compared on fifteen real clips: `superfast` without adaptive quantisation and with crf 20 has the
# bytes and the worst frames of `veryfast` with crf 17, in 0.6 of the time. For flow, `ultrafast` with blocks of 4 x 4
# has 0.2 % more bytes than `veryfast` in 0.44 of the time; without these blocks it has 1.1 % more in 0.38.
# A set that was started with other options must not be finished with these: increase ENCODING with every change.
ENCODING = 3
_OPTIONS = {"tune": "fastdecode", "bf": "0", "sc_threshold": "0", "threads": "1", "mbtree": "0"}
_VIDEO_OPTIONS = {"preset": "superfast", "aq-mode": "0"}
_FLOW_OPTIONS = {"preset": "ultrafast", "partitions": "i4x4", "qp": "0"}

VIDEO_FORMATS = ("yuv420p", "yuv444p")
FLOW_FORMATS = ("gray", "yuvj420p")  # libavcodec gives grey of full range an empty chroma
_MAX_VOLUME = 2**36  # pixels of all pictures of a stream: an hour of 512 x 512 with flow, or 80 s of 7680 x 4320
_OPENING = {
    "codec_whitelist": "h264",
    "format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2",
    "protocol_whitelist": "",  # the bytes are all that is read
    "max_pixels": str(MAX_PIXELS),
}

IN_MEMORY = 16 << 20
"""Largest number of bytes of a stream that is made in memory; the streams of 10 s of 340x256 have 1.2 and 4 MB."""


class Area(NamedTuple):
    """A rectangle to cut out of every frame, in pixels."""

    top: int
    left: int
    height: int
    width: int

    def of(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return a view of this part of a picture (H, W, ...)."""
        return picture[self.top : self.top + self.height, self.left : self.left + self.width]


def encode_video(frames: NDArray[np.uint8], fps: int, crf: int, gop: int, pixel_format: str = "yuv420p") -> bytes:
    """Encode RGB frames as an MP4.

    Args:
        frames: (T, H, W, 3) uint8 RGB, with even H and W.
        fps: frames per second.
        crf: quality; smaller values are better, and 20 gives about 39 dB on camera clips.
        gop: frames from one key frame to the next.
        pixel_format: yuv420p, or yuv444p if half the colour resolution is not enough.
    """
    return _all(VideoEncoder(fps, crf, gop, pixel_format), frames)


def decode_video(video: bytes, indices: NDArray[np.int64], area: Area | None = None) -> NDArray[np.uint8]:
    """Decode frames of a clip: (len(indices), H, W, 3) uint8 RGB; the indices may have any order and repeats."""
    reformatter = VideoReformatter()  # one for all frames, since creating it takes longer than converting a frame

    def convert(frame: av.VideoFrame) -> tuple[NDArray[np.uint8]]:
        picture = _rgb(frame, reformatter)
        return (area.of(picture) if area else picture,)

    return _pick(video, indices, VIDEO_FORMATS, convert)[0]


def decode_planes(
    video: bytes, indices: NDArray[np.int64], area: Area
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], bool]:
    """Decode an area of frames into the planes that H.264 stores, luma and chroma; for indices see `decode_video`.

    Returns:
        Luma Y, (T, H, W) uint8 with T = len(indices); chroma, uint8, U before V; and whether the chroma has full
        resolution (4:4:4). If so, chroma is (T, 2, H, W). Otherwise it is (T, 2, H // 2 + 1, W // 2 + 1), starting at
        (area.top // 2, area.left // 2); its last row and column may lie outside the frame, and are then 0 and belong to
        no pixel.
    """
    half = Area(area.top // 2, area.left // 2, area.height // 2 + 1, area.width // 2 + 1)
    formats: set[str] = set()

    def convert(frame: av.VideoFrame) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        formats.add(frame.format.name)
        luma, *chroma = _planes(frame)
        if frame.format.name == "yuv444p":
            return area.of(luma), np.stack([area.of(plane) for plane in chroma])
        colour = np.zeros((2, half.height, half.width), np.uint8)
        for plane, target in zip(chroma, colour, strict=True):
            part = half.of(plane)
            target[: part.shape[0], : part.shape[1]] = part
        return area.of(luma), colour

    luma, chroma = _pick(video, indices, VIDEO_FORMATS, convert)
    return luma, chroma, formats == {"yuv444p"}


def encode_flow(levels: NDArray[np.uint8], fps: int, gop: int) -> bytes:
    """Encode quantised flow as a lossless MP4.

    Args:
        levels: (T, H, W, 2) uint8 from `pipeline.flow.quantise`, x before y.
        fps: flow fields per second.
        gop: fields from one key frame to the next.
    """
    return _all(FlowEncoder(fps, gop), levels)


def decode_flow(flow: bytes, indices: NDArray[np.int64], area: Area | None = None) -> NDArray[np.uint8]:
    """Decode quantised flow fields: (len(indices), H, W, 2) uint8, exactly as they were encoded."""

    def convert(frame: av.VideoFrame) -> tuple[NDArray[np.uint16]]:
        return (_pairs(frame, area),)

    (pairs,) = _pick(flow, indices, FLOW_FORMATS, convert)
    return pairs.view(np.uint8).reshape(*pairs.shape, 2)


def measure(encoded: bytes, formats: Collection[str] = VIDEO_FORMATS + FLOW_FORMATS) -> tuple[int, int, int]:
    """Decode a whole stream; return its number of frames, and their height and width in pixels.

    The height of a flow picture is that of two fields.

    Args:
        encoded: the stored stream.
        formats: pixel formats that its frames may have.

    Raises:
        CodecError: the bytes are not a stream that ingest writes, do not decode to their end, or their frames differ
            in size.
    """
    with _opened(encoded) as (container, stream):
        sizes = [(frame.height, frame.width) for frame in _checked(container.decode(stream), stream, formats)]
    if not sizes:
        raise CodecError("stored clip does not decode: no frame in it")
    return len(sizes), *sizes[0]


class Encoder:
    """An open encoder of one stored stream, which takes pictures one by one; use `VideoEncoder` or `FlowEncoder`.

    The memory that it takes is that of a few pictures and of the first `IN_MEMORY` bytes that it makes; a longer stream
    goes to a temporary file, which has no name.
    """

    given: ClassVar[str]  # pixel format of the pictures that are given

    def __init__(self, stored: str, fps: int, options: dict[str, str]) -> None:
        self._fps, self._count = fps, 0
        self._file = tempfile.SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115 - it is what this object makes
        self._container = av.open(self._file, "w", format="mp4", container_options={"fflags": "+bitexact"})
        self._stream = self._container.add_stream("libx264", rate=fps, options={**options, **_OPTIONS})
        self._stream.codec_context.thread_count = 1  # the conversion from RGB uses this number too
        self._stream.pix_fmt = stored
        self._stream.codec_context.flags |= av.codec.context.Flags.bitexact
        self._frame: av.VideoFrame | None = None  # one for all pictures: new memory takes longer than the copy
        self._decoder: av.VideoCodecContext | None = None

    @property
    def size(self) -> int:
        """Number of bytes made so far."""
        return self._file.tell()

    def add(self, picture: NDArray[np.uint8]) -> list[av.Packet]:
        """Encode the next picture and return the packets that are now complete, which are in the stream already."""
        if self._frame is None:
            self._stream.height, self._stream.width = self._stored_size(picture)
            self._frame = av.VideoFrame(self._stream.width, self._stream.height, self.given)
        self._fill(self._frame, picture)
        self._frame.pts, self._frame.time_base = self._count, Fraction(1, self._fps)
        self._count += 1
        return self._mux(self._stream.encode(self._frame))

    def end(self) -> tuple[list[av.Packet], BinaryIO]:
        """Encode what is left, and return the last packets and the whole stream as an open file."""
        packets = self._mux(self._stream.encode(None))
        self._container.close()
        self._file.seek(0)
        return packets, cast(BinaryIO, self._file)

    def decoded(self, packets: Sequence[av.Packet] | None) -> list[av.VideoFrame]:
        """Decode the next packets of this encoder as a reader of the stream will; None gives what is left at the end.

        A packet gives its frame at once, because there are no B-frames.
        """
        if self._decoder is None:
            self._decoder = av.VideoCodecContext.create("h264", "r")
            self._decoder.extradata = self._stream.codec_context.extradata
            self._decoder.thread_count = 1
        if packets is None:
            return self._decoder.decode(None)
        return [frame for packet in packets for frame in self._decoder.decode(packet)]

    def _mux(self, packets: list[av.Packet]) -> list[av.Packet]:
        self._container.mux(packets)
        return packets

    @staticmethod
    def _stored_size(picture: NDArray[np.uint8]) -> tuple[int, int]:
        """Return height and width of the stored form of a picture."""
        raise NotImplementedError

    @staticmethod
    def _fill(frame: av.VideoFrame, picture: NDArray[np.uint8]) -> None:
        """Copy a picture into a frame of its stored size, in the format `given`."""
        raise NotImplementedError


class VideoEncoder(Encoder):
    """An encoder of RGB frames (H, W, 3); for its arguments see `encode_video`."""

    given = "rgb24"

    def __init__(self, fps: int, crf: int, gop: int, pixel_format: str = "yuv420p") -> None:
        options = {**_VIDEO_OPTIONS, "crf": str(crf), "g": str(gop), "keyint_min": str(gop)}
        super().__init__(pixel_format, fps, options)
        self._reformatter = VideoReformatter()

    def picture_of(self, frame: av.VideoFrame) -> NDArray[np.uint8]:
        """Return a decoded frame as `decode_video` does, (H, W, 3)."""
        return _rgb(frame, self._reformatter)

    @staticmethod
    def _stored_size(picture: NDArray[np.uint8]) -> tuple[int, int]:
        height, width, _ = picture.shape
        return height, width

    @staticmethod
    def _fill(frame: av.VideoFrame, picture: NDArray[np.uint8]) -> None:
        (rows,) = _planes(frame, values=3)
        rows[:] = picture.reshape(rows.shape)


class FlowEncoder(Encoder):
    """A lossless encoder of quantised flow fields (H, W, 2); for its arguments see `encode_flow`."""

    given = "gray"

    def __init__(self, fps: int, gop: int) -> None:
        super().__init__("gray", fps, {**_FLOW_OPTIONS, "g": str(gop), "keyint_min": str(gop)})
        self._stream.codec_context.color_range = ColorRange.JPEG

    def holds(self, frame: av.VideoFrame, picture: NDArray[np.uint8]) -> bool:
        """Return whether a decoded frame is this flow field, level by level."""
        x, y = _fields(frame)
        return np.array_equal(x, picture[..., 0]) and np.array_equal(y, picture[..., 1])

    @staticmethod
    def _stored_size(picture: NDArray[np.uint8]) -> tuple[int, int]:
        height, width, _ = picture.shape
        return 2 * height, width

    @staticmethod
    def _fill(frame: av.VideoFrame, picture: NDArray[np.uint8]) -> None:
        frame.color_range = ColorRange.JPEG
        x, y = _fields(frame)
        x[:], y[:] = picture[..., 0], picture[..., 1]


def _all(encoder: Encoder, pictures: NDArray[np.uint8]) -> bytes:
    for picture in pictures:
        encoder.add(picture)
    return encoder.end()[1].read()


def check_index(encoded: BinaryIO, count: int) -> None:
    """Check that a stream in an open file lists `count` frames at a constant rate; nothing is decoded.

    Raises:
        CodecError: it does not.
    """
    try:
        with av.open(encoded, "r") as container:  # a temporary file says that it is open for writing
            stream = container.streams.video[0]
            times = [entry.timestamp for entry in stream.index_entries]
            step = round(1 / (stream.time_base * stream.average_rate)) if stream.average_rate else 0
    except (av.FFmpegError, IndexError) as error:
        raise CodecError(f"stored clip does not open: {error}") from error
    if times != list(range(0, count * step, step or 1)) or len(times) != count:
        raise CodecError(f"stored clip lists {len(times)} frames instead of {count}")


def _pick(
    encoded: bytes,
    indices: NDArray[np.int64],
    formats: Collection[str],
    convert: Callable[[av.VideoFrame], tuple[NDArray, ...]],
) -> tuple[NDArray, ...]:
    """Apply `convert` to each requested frame, and stack its results into arrays with one entry per index."""
    if not len(indices):
        raise CodecError("no frame asked for")
    wanted, order = np.unique(indices, return_inverse=True)
    arrays: tuple[NDArray, ...] = ()
    for position, frame in enumerate(decoded(encoded, wanted, formats)):
        parts = convert(frame)
        arrays = arrays or tuple(np.empty((len(wanted), *part.shape), part.dtype) for part in parts)
        for array, part in zip(arrays, parts, strict=True):
            array[position] = part
    return arrays if np.array_equal(wanted, indices) else tuple(array[order] for array in arrays)


def decoded(
    encoded: bytes, wanted: NDArray[np.int64], formats: Collection[str] = VIDEO_FORMATS + FLOW_FORMATS
) -> Iterator[av.VideoFrame]:
    """Yield the frames with the given sorted indices.

    Before a frame, it seeks to the last key frame at or before it, if that key frame is ahead of the current position.

    Args:
        encoded: the stored stream.
        wanted: indices of frames, sorted.
        formats: pixel formats that the frames may have.

    Raises:
        CodecError: the bytes are not a stream that ingest writes, a frame does not decode or is not there.
    """
    with _opened(encoded) as (container, stream):
        if not 0 <= wanted[0] <= wanted[-1] < stream.frames:
            index = wanted[0] if wanted[0] < 0 else wanted[-1]
            raise CodecError(f"frame {index} of {stream.frames} was asked for and is not there")
        step = round(1 / (stream.time_base * stream.average_rate))  # constant rate: frame i has pts i * step
        keys = np.array([entry.timestamp for entry in stream.index_entries if entry.is_keyframe]) // max(step, 1)
        if not step or not len(keys) or keys[0]:
            raise CodecError("stored clip does not decode: it does not begin with a key frame at 0")
        position = 0
        source = _checked(container.decode(stream), stream, formats)
        for index in wanted:
            if keys[np.searchsorted(keys, index, "right") - 1] > position:
                container.seek(int(index) * step, stream=stream)  # to the key frame at or before it
                source = _checked(container.decode(stream), stream, formats)
            for frame in source:
                position = frame.pts // step + 1
                if position > index:
                    break
            else:
                raise CodecError(f"frame {index} of {stream.frames} was asked for and is not there")
            yield frame


@contextmanager
def _opened(encoded: bytes) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
    """Open a stored stream, of which nothing is decoded before its codec, sizes and number of frames are checked.

    Raises:
        CodecError: the bytes are no stream that ingest writes, or too large a one; or libav fails inside the context.
    """
    check_mp4(encoded)
    try:
        with av.open(io.BytesIO(encoded), format="mp4", options=_OPENING, metadata_errors="ignore") as container:
            codec = container.streams[0].codec_context
            if len(container.streams) != 1 or not isinstance(codec, av.VideoCodecContext) or codec.name != "h264":
                raise CodecError("stored clip does not decode: not one stream of H.264")
            stream = container.streams.video[0]
            if not stream.average_rate or not stream.time_base or not stream.index_entries:
                raise CodecError("stored clip does not decode: incomplete header")
            pixels = codec.width * codec.height
            if not 0 < pixels <= MAX_PIXELS or pixels * stream.frames > _MAX_VOLUME:
                raise CodecError(
                    f"stored clip does not decode: too large, {stream.frames} frames of {codec.height} x {codec.width}"
                )
            codec.thread_count = 1
            codec.options = {"max_pixels": str(MAX_PIXELS)}  # also for sizes that the stream itself states
            yield container, stream
    except CodecError:
        raise
    except (av.FFmpegError, ValueError, OverflowError, MemoryError) as error:
        raise CodecError(f"stored clip does not decode: {' '.join(str(error).split())}") from error


def _checked(
    frames: Iterator[av.VideoFrame], stream: av.VideoStream, formats: Collection[str]
) -> Iterator[av.VideoFrame]:
    """Yield frames that have a time, the size that the header states, and one of the given pixel formats."""
    stated, kinds = (stream.codec_context.width, stream.codec_context.height), set()
    for frame in frames:
        kinds.add(frame.format.name)
        if len(kinds) > 1 or not kinds <= set(formats):
            raise CodecError(f"stored clip is {', '.join(sorted(kinds))}, and must be {' or '.join(formats)}")
        if frame.pts is None or (frame.width, frame.height) != stated:
            raise CodecError(
                f"stored clip does not decode: a frame of {frame.height} x {frame.width} in it, and its header states "
                f"{stated[1]} x {stated[0]}"
            )
        yield frame


def _rgb(frame: av.VideoFrame, reformatter: VideoReformatter) -> NDArray[np.uint8]:
    (rows,) = _planes(reformatter.reformat(frame, format="rgb24", threads=1), values=3)
    return rows.reshape(frame.height, frame.width, 3)


def _pairs(frame: av.VideoFrame, area: Area | None) -> NDArray[np.uint16]:
    """Return x and y of a flow picture, (H, W), as the two bytes of one number each."""
    x, y = [area.of(field) if area else field for field in _fields(frame)]
    pairs: NDArray[np.uint16] = np.left_shift(y, 8, dtype=np.dtype("<u2")) | x  # x comes first in memory
    return pairs


def _fields(frame: av.VideoFrame) -> list[NDArray[np.uint8]]:
    """Return views of x and y of a flow picture, (H, W) each."""
    stacked = _planes(frame)[0]
    if len(stacked) % 2:
        raise CodecError(f"stored flow has {len(stacked)} rows, and must have as many for x as for y")
    height = len(stacked) // 2
    return [stacked[:height], stacked[height:]]


def _planes(frame: av.VideoFrame, values: int = 1) -> list[NDArray[np.uint8]]:
    """Return views of the planes of a frame, (H, W * values), without the padding of their rows.

    Args:
        frame: a decoded frame.
        values: values per pixel of a plane.
    """
    return [
        np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width * values]
        for plane in frame.planes
    ]
