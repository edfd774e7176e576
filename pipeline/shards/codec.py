"""Encoding and decoding of clips and flow; ingest encodes whole clips, training decodes one window at a time.

Video is H.264 with a constant frame rate, a key frame every `gop` frames and no B-frames, so decoding a window takes at
most gop - 1 more frames than the window has. Variable-length codes instead of arithmetic coding, and no deblocking,
halve the decoding time. Flow is stored as 8-bit levels, lossless, with x above y in one grey H.264 picture. It is
written and read as luma, because PyAV's default conversion to limited range would silently rescale it by 219/255, an
error of 0.3 to 0.5 px.
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

# fastdecode: without CABAC and deblocking, decoding windows of real clips takes 45 to 55 % of the time (flow 42 to
# 47 %), for 6 to 15 % more bytes (flow 18 to 24 %).
# One thread and no version strings, so that the same frames give the same bytes; their digest identifies the clip.
# No macroblock tree: in x264 it reads memory that was never written, and one clip in fifty came out different
# (measured, mostly below 100 pixels, also at 320 x 240). Without it, files are 10 % larger at the same PSNR.
# A set that was started with other options must not be finished with these: increase ENCODING with every change.
ENCODING = 2
_OPTIONS = {"tune": "fastdecode", "bf": "0", "sc_threshold": "0", "threads": "1", "mbtree": "0"}


class CodecError(ValueError):
    """The stored bytes do not decode to the requested frames."""


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
        crf: quality; smaller values are better, and 17 gives about 39 dB on camera clips.
        gop: frames from one key frame to the next.
        pixel_format: yuv420p, or yuv444p if half the colour resolution is not enough.
    """
    options = {"crf": str(crf), "preset": "veryfast", "g": str(gop), "keyint_min": str(gop)}
    return _encode(frames, "rgb24", pixel_format, fps, options)


def decode_video(video: bytes, indices: NDArray[np.int64], area: Area | None = None) -> NDArray[np.uint8]:
    """Decode frames of a clip: (len(indices), H, W, 3) uint8 RGB; the indices may have any order and repeats."""
    reformatter = VideoReformatter()  # one for all frames, since creating it takes longer than converting a frame

    def convert(frame: av.VideoFrame) -> tuple[NDArray[np.uint8]]:
        (rows,) = _planes(reformatter.reformat(frame, format="rgb24", threads=1), values=3)
        picture = rows.reshape(frame.height, frame.width, 3)
        return (area.of(picture) if area else picture,)

    return _pick(video, indices, convert)[0]


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

    luma, chroma = _pick(video, indices, convert)
    if len(formats) > 1 or not formats <= {"yuv420p", "yuv444p"}:
        raise CodecError(f"stored clip is {', '.join(sorted(formats))}, neither yuv420p nor yuv444p")
    return luma, chroma, formats == {"yuv444p"}


def encode_flow(levels: NDArray[np.uint8], fps: int, gop: int) -> bytes:
    """Encode quantised flow as a lossless MP4.

    Args:
        levels: (T, H, W, 2) uint8 from `pipeline.flow.quantise`, x before y.
        fps: flow fields per second.
        gop: fields from one key frame to the next.
    """
    stacked = np.concatenate([levels[..., 0], levels[..., 1]], axis=1)
    options = {"qp": "0", "preset": "veryfast", "g": str(gop), "keyint_min": str(gop)}
    return _encode(stacked, "gray", "gray", fps, options)


def decode_flow(flow: bytes, indices: NDArray[np.int64], area: Area | None = None) -> NDArray[np.uint8]:
    """Decode quantised flow fields: (len(indices), H, W, 2) uint8, exactly as they were encoded."""

    def convert(frame: av.VideoFrame) -> tuple[NDArray[np.uint16]]:
        stacked = _planes(frame)[0]
        fields = np.split(stacked, 2)
        x, y = [area.of(field) for field in fields] if area else fields
        pairs = np.left_shift(y, 8, dtype=np.dtype("<u2")) | x  # x is the low byte, which comes first in memory
        return (pairs,)

    (pairs,) = _pick(flow, indices, convert)
    return pairs.view(np.uint8).reshape(*pairs.shape, 2)


def measure(encoded: bytes) -> tuple[int, int, int]:
    """Decode a whole stream; return its number of frames, and their height and width in pixels.

    The height of a flow picture is that of two fields.

    Raises:
        CodecError: the stream does not decode to its end, or its frames differ in size.
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
        stream.codec_context.thread_count = 1  # the conversion from RGB uses this number too
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
    """Apply `convert` to each requested frame, and stack its results into arrays with one entry per index."""
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
    """Yield the frames with the given sorted indices.

    Before a frame, it seeks to the last key frame at or before it, if that key frame is ahead of the current position.
    """
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
    """Return views of the planes of a frame, (H, W * values), without the padding of their rows.

    Args:
        frame: a decoded frame.
        values: values per pixel of a plane.
    """
    return [
        np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width * values]
        for plane in frame.planes
    ]
