"""How clips and flow become bytes and frames again; ingest encodes, training decodes a window at a time.

Video: H.264, constant rate, a key frame every `gop` frames, no B-frames: a window costs at most gop - 1 frames more
than it shows. Codes of variable length instead of arithmetic coding, and no deblocking: half the time to decode. Flow:
8-bit levels, x above y in one grey H.264 picture, lossless. It is written and read as luma: a conversion by PyAV's
default limited range would silently rescale it by 219/255, an error of 0.3 to 0.5 px.
"""

import io
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import NamedTuple

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

VIDEO_CODEC = "h264"
FLOW_CODEC = "h264_gray_stack"

# Quick to decode: without CABAC and deblocking windows of real clips take 45 to 55 % of the time (flow 42 to 47 %), for
# 6 to 15 % more bytes (flow 18 to 24 %).
# One thread and no version strings: the same frames give the same bytes, whose digest is the clip's identity.
# No macroblock tree: x264's reads memory that it has not written, and one clip in fifty came out different (measured,
# mostly below 100 pixels, also at 320 x 240); without it files are 10 % larger at the same PSNR.
# A set that was begun with other options is not finished with these: count ENCODING up with every change.
ENCODING = 2
_OPTIONS = {"tune": "fastdecode", "bf": "0", "sc_threshold": "0", "threads": "1", "mbtree": "0"}


class CodecError(ValueError):
    """Bytes that do not decode to the frames asked for."""


class Area(NamedTuple):
    """The part of every frame that is wanted, in pixels."""

    top: int
    left: int
    height: int
    width: int

    def of(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A view of that part of a picture (H, W, ...)."""
        return picture[self.top : self.top + self.height, self.left : self.left + self.width]


def encode_video(frames: NDArray[np.uint8], fps: int, crf: int, gop: int, pixel_format: str = "yuv420p") -> bytes:
    """An MP4 of RGB frames.

    Args:
        frames: (T, H, W, 3) uint8 RGB, H and W even.
        fps: frames a second.
        crf: quality, smaller is better; 17 keeps camera clips near 39 dB.
        gop: frames from key frame to key frame.
        pixel_format: yuv420p, or yuv444p where half the colour resolution is not enough.
    """
    options = {"crf": str(crf), "preset": "veryfast", "g": str(gop), "keyint_min": str(gop)}
    return _encode(frames, "rgb24", pixel_format, fps, options)


def decode_video(video: bytes, indices: NDArray[np.int64], area: Area | None = None) -> NDArray[np.uint8]:
    """Frames of an encoded clip, (len(indices), H, W, 3) uint8 RGB; indices in any order, repeats allowed."""
    reformatter = VideoReformatter()  # one for all frames: to set it up takes longer than to convert a frame

    def convert(frame: av.VideoFrame) -> tuple[NDArray[np.uint8]]:
        (rows,) = _planes(reformatter.reformat(frame, format="rgb24", threads=1), values=3)
        picture = rows.reshape(frame.height, frame.width, 3)
        return (area.of(picture) if area else picture,)

    return _pick(video, indices, convert)[0]


def decode_planes(
    video: bytes, indices: NDArray[np.int64], area: Area
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], bool]:
    """The area of frames of an encoded clip as H.264 holds them, light and colour apart; indices as in `decode_video`.

    Returns:
        Y, (T, H, W) uint8 with T = len(indices); U before V, uint8; whether they are whole (4:4:4), (T, 2, H, W), or of
        half the resolution, (T, 2, H // 2 + 1, W // 2 + 1) from (area.top // 2, area.left // 2) on: the last row and
        column may lie outside of the frame, are 0 then, and belong to no pixel.
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

    luma, chroma = _pick(video, indices, convert)
    if len(formats) > 1 or not formats <= {"yuv420p", "yuv444p"}:
        raise CodecError(f"stored clip is {', '.join(sorted(formats))}, neither yuv420p nor yuv444p")
    return luma, chroma, formats == {"yuv444p"}


def encode_flow(levels: NDArray[np.uint8], fps: int, gop: int) -> bytes:
    """A lossless MP4 of quantised flow.

    Args:
        levels: (T, H, W, 2) uint8 from `pipeline.flow.quantise`, x before y.
        fps: flow fields a second.
        gop: fields from key frame to key frame.
    """
    stacked = np.concatenate([levels[..., 0], levels[..., 1]], axis=1)
    options = {"qp": "0", "preset": "veryfast", "g": str(gop), "keyint_min": str(gop)}
    return _encode(stacked, "gray", "gray", fps, options)


def decode_flow(flow: bytes, indices: NDArray[np.int64], area: Area | None = None) -> NDArray[np.uint8]:
    """Quantised flow fields, (len(indices), H, W, 2) uint8, exactly as they were encoded."""

    def convert(frame: av.VideoFrame) -> tuple[NDArray[np.uint16]]:
        stacked = _planes(frame)[0]
        fields = np.split(stacked, 2)
        x, y = [area.of(field) for field in fields] if area else fields
        pairs = np.left_shift(y, 8, dtype=np.dtype("<u2")) | x  # both at once: x is the low byte, and so the first
        return (pairs,)

    (pairs,) = _pick(flow, indices, convert)
    return pairs.view(np.uint8).reshape(*pairs.shape, 2)


def measure(encoded: bytes) -> tuple[int, int, int]:
    """Decode all of a stream: how many frames it has, and their height and width in pixels; flow is two fields high.

    Raises:
        CodecError: it does not decode to its end, or its frames are not of one size.
    """
    try:
        with av.open(io.BytesIO(encoded)) as container:
            if not container.streams.video or container.streams.video[0].codec_context is None:
                raise CodecError("stored clip does not decode: no video stream")
            container.streams.video[0].codec_context.thread_count = 1
            sizes = [(frame.height, frame.width) for frame in container.decode(video=0)]
    except av.FFmpegError as error:
        raise CodecError(f"stored clip does not decode: {error}") from error
    if len(set(sizes)) != 1:
        raise CodecError(f"stored clip does not decode: {len(set(sizes))} sizes of frames in it")
    return len(sizes), *sizes[0]


def _encode(frames: NDArray[np.uint8], given: str, stored: str, fps: int, options: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    container_options = {"fflags": "+bitexact"}
    with av.open(buffer, "w", format="mp4", container_options=container_options) as container:
        stream = container.add_stream("libx264", rate=fps, options={**options, **_OPTIONS})
        stream.codec_context.thread_count = 1  # also that of the conversion from RGB
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = stored
        stream.codec_context.flags |= av.codec.context.Flags.bitexact
        if stored == "gray":
            stream.codec_context.color_range = av.video.reformatter.ColorRange.JPEG  # full range
        for index, array in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(array), format=given)
            if stored == "gray":
                frame.color_range = av.video.reformatter.ColorRange.JPEG
            frame.pts, frame.time_base = index, Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def _pick(
    encoded: bytes, indices: NDArray[np.int64], convert: Callable[[av.VideoFrame], tuple[NDArray, ...]]
) -> tuple[NDArray, ...]:
    """What `convert` gives of each frame, copied into arrays of all of them."""
    if not len(indices):
        raise CodecError("no frame asked for")
    wanted, order = np.unique(indices, return_inverse=True)
    arrays: tuple[NDArray, ...] = ()
    for position, frame in enumerate(decoded(encoded, wanted)):
        parts = convert(frame)
        arrays = arrays or tuple(np.empty((len(wanted), *part.shape), part.dtype) for part in parts)
        for array, part in zip(arrays, parts, strict=True):
            array[position] = part
    return arrays if np.array_equal(wanted, indices) else tuple(array[order] for array in arrays)


def decoded(encoded: bytes, wanted: NDArray[np.int64]) -> Iterator[av.VideoFrame]:
    """The frames of the given sorted indices, decoding from the last key frame before each stretch of them."""
    try:
        with av.open(io.BytesIO(encoded)) as container:
            if not container.streams.video or container.streams.video[0].codec_context is None:
                raise CodecError("stored clip does not decode: no video stream")
            stream = container.streams.video[0]
            if not stream.average_rate or not stream.index_entries:
                raise CodecError("stored clip does not decode: incomplete header")
            if wanted[0] < 0:
                raise CodecError(f"frame {wanted[0]} of {stream.frames} was asked for and is not there")
            stream.codec_context.thread_count = 1
            step = round(1 / (stream.time_base * stream.average_rate))  # constant rate: frame i has pts i * step
            keys = np.array([entry.timestamp for entry in stream.index_entries if entry.is_keyframe]) // step
            position = 0
            source = container.decode(stream)
            for index in wanted:
                if keys[np.searchsorted(keys, index, "right") - 1] > position:
                    container.seek(int(index) * step, stream=stream)  # to the key frame at or before it
                    source = container.decode(stream)
                for frame in source:
                    position = frame.pts // step + 1
                    if position > index:
                        break
                else:
                    raise CodecError(f"frame {index} of {stream.frames} was asked for and is not there")
                yield frame
    except av.FFmpegError as error:
        raise CodecError(f"stored clip does not decode: {error}") from error


def _planes(frame: av.VideoFrame, values: int = 1) -> list[NDArray[np.uint8]]:
    """Views of the planes of a frame, (H, W * values a pixel), without the padding of their rows."""
    return [
        np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width * values]
        for plane in frame.planes
    ]
