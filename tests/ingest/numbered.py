"""Videos whose pictures show their number, so that a test sees which frame is on screen, and sound beside them."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT = 96, 64
LIVELY = np.random.default_rng(1).integers(60, 120, (HEIGHT, WIDTH + 256, 3)).astype(np.uint8)


def picture(number: int) -> NDArray[np.uint8]:
    """A texture that glides, and ten blocks, white for 1 and black for 0, the lowest bit first."""
    array = LIVELY[:, number % 256 : number % 256 + WIDTH].copy()
    for bit in range(10):
        row, column = divmod(bit, 5)
        array[4 + 28 * row : 28 + 28 * row, 3 + 18 * column : 19 + 18 * column] = 235 if number >> bit & 1 else 16
    return array


def numbers(frames: NDArray[np.uint8]) -> list[int]:
    """The number that each picture, of height 64, shows; -1 if it is too narrow for one."""
    if frames.shape[2] < WIDTH:
        return [-1] * len(frames)
    found = np.zeros(len(frames), int)
    for bit in range(10):
        row, column = divmod(bit, 5)
        y, x = 16 + 28 * row, 11 + 18 * column
        found |= (frames[:, y - 3 : y + 3, x - 3 : x + 3].mean(axis=(1, 2, 3)) > 120).astype(int) << bit
    return found.tolist()


def numbered(
    path: Path,
    codec: str = "libx264",
    frames: int = 100,
    options: dict[str, str] | None = None,
    container: dict[str, str] | None = None,
    pixels: str = "yuv420p",
    times: Sequence[int] | None = None,
    sound: tuple[float, float] | None = None,
    form: str | None = None,
    first: int = 0,
    sound_first: bool = False,
) -> Path:
    """A video at 25 a second.

    Args:
        path: where it is written.
        codec: an encoder of PyAV.
        frames: how many.
        options: of the encoder.
        container: options of the muxer.
        pixels: pixel format.
        times: presentation time of each frame, in 1/25 s.
        sound: first and last second of noise beside it; none where it is left out.
        form: the muxer, where the name's ending does not say it.
        first: number of the first picture.
        sound_first: whether the sound is the file's first stream, as in many files from phones and websites.
    """
    voices = {".avi": "pcm_s16le", ".webm": "libopus", ".ts": "mp2", ".mpg": "mp2", ".vob": "mp2"}
    with av.open(str(path), "w", format=form, options=container or {}) as output:

        def voice_of_output() -> av.AudioStream | None:
            return output.add_stream(voices.get(path.suffix, "aac"), rate=48000, layout="stereo") if sound else None

        voice = voice_of_output() if sound_first else None
        stream = output.add_stream(codec, rate=25, options=options or {})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, pixels
        voice = voice or voice_of_output()
        packets = []
        for index in range(frames):
            frame = av.VideoFrame.from_ndarray(picture(first + index), format="rgb24").reformat(format=pixels)
            frame.pts, frame.time_base = index if times is None else times[index], Fraction(1, 25)
            packets += stream.encode(frame)
        packets += stream.encode(None)
        if voice is not None and sound:
            noise, size = np.random.default_rng(0), voice.codec_context.frame_size or 1152
            for index in range(int((sound[1] - sound[0]) * 48000 / size)):
                samples = noise.integers(-9000, 9000, (1, 2 * size)).astype(np.int16)
                heard = av.AudioFrame.from_ndarray(samples, format="s16", layout="stereo")
                heard.sample_rate, heard.time_base = 48000, Fraction(1, 48000)
                heard.pts = index * size + int(sound[0] * 48000)
                packets += voice.encode(heard)
            packets += voice.encode(None)
            packets.sort(key=lambda packet: packet.dts * packet.time_base)
        for packet in packets:
            output.mux(packet)
    return path
