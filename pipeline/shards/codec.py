"""How clips and flow become bytes and frames again; ingest encodes, training decodes a window at a time.

Video: H.264, constant rate, a key frame every `gop` frames, no B-frames: a window costs at most gop - 1 frames more
than it shows. Flow: 8-bit levels, x above y in one grey H.264 picture, lossless. It is written and read as luma: a
conversion by PyAV's default limited range would silently rescale it by 219/255, an error of 0.3 to 0.5 px.
"""

import io
from collections.abc import Callable, Iterator
from fractions import Fraction

import av
import numpy as np
from numpy.typing import NDArray

VIDEO_CODEC = "h264"
FLOW_CODEC = "h264_gray_stack"

# One thread and no version strings: the same frames give the same bytes, whose digest is the clip's identity.
# No macroblock tree: x264's reads memory that it has not written, and one clip in fifty came out different (measured,
# mostly below 100 pixels, also at 320 x 240); without it files are 10 % larger at the same PSNR.
_REPRODUCIBLE = {"bf": "0", "sc_threshold": "0", "threads": "1", "mbtree": "0"}


class CodecError(ValueError):
    """Bytes that do not decode to the frames asked for."""


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


def decode_video(video: bytes, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Frames of an encoded clip, (len(indices), H, W, 3) uint8 RGB; indices in any order, repeats allowed."""
    return _pick(video, indices, lambda frame: frame.to_ndarray(format="rgb24"))


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


def decode_flow(flow: bytes, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Quantised flow fields, (len(indices), H, W, 2) uint8, exactly as they were encoded."""
    stacked = _pick(flow, indices, _luma)
    height = stacked.shape[1] // 2
    return np.stack([stacked[:, :height], stacked[:, height:]], axis=-1)


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
        stream = container.add_stream("libx264", rate=fps, options={**options, **_REPRODUCIBLE})
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
    encoded: bytes, indices: NDArray[np.int64], convert: Callable[[av.VideoFrame], NDArray[np.uint8]]
) -> NDArray[np.uint8]:
    if not len(indices):
        raise CodecError("no frame asked for")
    wanted, order = np.unique(indices, return_inverse=True)
    frames = [convert(frame) for frame in _frames(encoded, wanted)]
    return np.stack(frames)[order]


def _frames(encoded: bytes, wanted: NDArray[np.int64]) -> Iterator[av.VideoFrame]:
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


def _luma(frame: av.VideoFrame) -> NDArray[np.uint8]:
    plane = frame.planes[0]
    return np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width].copy()
