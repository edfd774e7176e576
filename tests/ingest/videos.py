"""Videos made on the spot: small, of any codec and container, with whatever is odd about them."""

import os
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

QUIET = {"libx265": {"x265-params": "log-level=none"}, "libsvtav1": {"svtav1-params": "lp=1", "preset": "12"}}


def make_video(
    path: Path,
    codec: str = "libx264",
    frames: int = 30,
    size: tuple[int, int] = (64, 48),
    pixels: str = "yuv420p",
    options: dict[str, str] | None = None,
    container: dict[str, str] | None = None,
    form: str | None = None,
    times: Sequence[int] | None = None,
    prepare: Callable[[av.VideoStream], Any] = lambda stream: None,
    cover: bool = False,
    arrays: Iterable[NDArray[np.uint8]] | None = None,
) -> Path:
    """A video at 25 a second. Frame i is grey of level 5 * i, its upper left quarter white.

    Args:
        path: where it is written.
        codec: an encoder of PyAV.
        frames: how many.
        size: width and height in pixels.
        pixels: pixel format.
        options: of the encoder.
        container: options of the muxer.
        form: the muxer, where the name's ending does not say it.
        times: presentation time of each frame, in 1/25 s.
        prepare: called with the stream before the first frame.
        cover: whether a cover picture, 640x480, comes before the video.
        arrays: other pictures, (H, W, 3) RGB.
    """
    policy, priority = os.sched_getscheduler(0), os.sched_getparam(0)
    with av.open(str(path), "w", format=form, options=container or {}) as output:
        if cover:
            picture = output.add_stream("mjpeg")
            picture.width, picture.height, picture.pix_fmt, picture.disposition = 640, 480, "yuvj420p", 1024
        stream = output.add_stream(codec, rate=25, options={**QUIET.get(codec, {}), **(options or {})})
        stream.width, stream.height = size
        stream.pix_fmt = pixels
        prepare(stream)
        if cover:
            frame = av.VideoFrame(640, 480, "yuvj420p")
            frame.pts = 0
            output.mux([*picture.encode(frame), *picture.encode(None)])
        for index, array in zip(range(frames), arrays or (_grey(index, *size) for index in range(frames)), strict=True):
            frame = av.VideoFrame.from_ndarray(array, format="rgb24").reformat(format=pixels)
            frame.pts, frame.time_base = index if times is None else times[index], Fraction(1, 25)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    # SVT-AV1 as root makes the calling thread real-time, and with it every process that the tests start later.
    os.sched_setscheduler(0, policy, priority)
    return path


def _grey(index: int, width: int, height: int) -> NDArray[np.uint8]:
    array = np.full((height, width, 3), 5 * index % 256, np.uint8)
    array[: height // 2, : width // 2] = 255
    return array


def remux(path: Path, times_ms: Sequence[int], frames: int = 10) -> Path:
    """A Matroska of JPEGs with the presentation times as given, in any order; frame i is grey of level 20 * i."""
    with av.open(str(path), "w", format="matroska") as output:
        stream = output.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        for index, time in zip(range(frames), times_ms, strict=True):
            array = np.full((48, 64, 3), 20 * index % 256, np.uint8)
            frame = av.VideoFrame.from_ndarray(array, format="rgb24").reformat(format="yuvj420p")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            for packet in stream.encode(frame):
                packet.pts, packet.dts = time, 40 * index - 2000
                packet.time_base = Fraction(1, 1000)
                output.mux(packet)
    return path


def sound(path: Path, cover: bool = False) -> Path:
    """A second of silence, with a cover picture where asked."""
    with av.open(str(path), "w") as output:
        codec, layout = ("mp3", "fltp") if path.suffix == ".mp3" else ("pcm_s16le", "s16")
        stream = output.add_stream(codec, rate=44100, layout="mono")
        if cover:
            picture = output.add_stream("mjpeg")
            picture.width, picture.height, picture.pix_fmt, picture.disposition = 64, 48, "yuvj420p", 1024
            frame = av.VideoFrame(64, 48, "yuvj420p")
            frame.pts = 0
            output.mux([*picture.encode(frame), *picture.encode(None)])
        for _ in range(38):
            samples = np.zeros((1, 1152), np.float32 if layout == "fltp" else np.int16)
            frame = av.AudioFrame.from_ndarray(samples, format=layout, layout="mono")
            frame.sample_rate = 44100
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path
