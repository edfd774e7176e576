"""Encoding of frames and flow to the blobs of a shard row, slice by slice; every picture is decoded again to check it.

What is decoded are the encoder's own packets, in the step in which they come, so that no clip is in memory as a whole.
"""

import hashlib
from collections import deque
from typing import Any, BinaryIO, Generic, TypeVar

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.flow import quantise
from pipeline.ingest.clip_errors import EncodeError
from pipeline.shards.codec import (
    FLOW_CODEC,
    VIDEO_CODEC,
    CodecError,
    Encoder,
    FlowEncoder,
    VideoEncoder,
    check_index,
)

E = TypeVar("E", bound=Encoder)


def qualities(crf: int) -> tuple[tuple[str, int], ...]:
    """Return the pixel formats and qualities to try in turn, until the worst frame is good enough.

    Half the colour resolution and quality `crf` are enough for camera clips. If they are not (saturated edges, screen
    recordings), full colour resolution and then better qualities are tried.
    """
    return ("yuv420p", crf), ("yuv444p", crf), ("yuv444p", crf // 2), ("yuv444p", 1)


class Writer(Generic[E]):
    """An encoder of one stream that compares each picture with what a reader of the stream will see."""

    def __init__(self, encoder: E) -> None:
        self._encoder = encoder
        self._waiting: deque[NDArray[np.uint8]] = deque()  # encoded and not yet decoded again: one at most, as a rule
        self.count = 0
        """Number of pictures so far."""

    @property
    def size(self) -> int:
        """Number of bytes made so far."""
        return self._encoder.size

    def _write(self, picture: NDArray[np.uint8]) -> None:
        self._waiting.append(picture)
        self._check(self._encoder.add(picture))
        self.count += 1

    def _end(self) -> BinaryIO:
        packets, content = self._encoder.end()
        self._check(packets)
        self._check(None)
        if self._waiting:
            raise EncodeError(f"{len(self._waiting)} of {self.count} pictures do not come back")
        try:
            check_index(content, self.count)
        except CodecError as error:
            raise EncodeError(str(error)) from error
        return content

    def _check(self, packets: Any) -> None:
        for frame in self._encoder.decoded(packets):
            self._compare(self._waiting.popleft(), frame)

    def _compare(self, given: NDArray[np.uint8], seen: av.VideoFrame) -> None:
        raise NotImplementedError


class VideoWriter(Writer[VideoEncoder]):
    """Writes the frames of a clip at one quality.

    Args:
        fps: frames per second.
        crf: quality (constant rate factor); lower is better.
        gop: number of frames from key frame to key frame.
        pixel_format: yuv420p or yuv444p.
    """

    def __init__(self, fps: int, crf: int, gop: int, pixel_format: str) -> None:
        super().__init__(VideoEncoder(fps, crf, gop, pixel_format))
        self._settings = {"fps": fps, "video_crf": crf, "video_gop": gop, "video_pixel_format": pixel_format}
        self._shape: tuple[int, ...] = ()
        self._levels = 0  # sum of all levels
        self._squared = 0.0  # squared error of the worst frame

    @property
    def psnr(self) -> float:
        """Peak signal-to-noise ratio of the worst frame so far, in dB; 100 if all are exact."""
        return psnr_of(self._squared, self._shape)

    def add(self, frames: NDArray[np.uint8]) -> None:
        """Encode the next frames, (T, H, W, 3) uint8 RGB."""
        self._shape = frames.shape[1:]
        for frame in frames:
            self._write(frame)
            self._levels += int(sum(cv2.sumElems(frame)))

    def columns(self) -> dict[str, Any]:
        """End the stream and return the video columns of a shard row.

        Raises:
            EncodeError: the stream does not hold all frames.
        """
        video = self._end()
        return {
            "num_frames": self.count,
            "height": self._shape[0],
            "width": self._shape[1],
            "video_codec": VIDEO_CODEC,
            **self._settings,
            "video_psnr": self.psnr,
            "brightness": self._levels / (self.count * int(np.prod(self._shape))),
            **_blob("video", video),
        }

    def _compare(self, given: NDArray[np.uint8], seen: av.VideoFrame) -> None:
        self._squared = max(self._squared, cv2.norm(given, self._encoder.picture_of(seen), cv2.NORM_L2SQR))


class FlowWriter(Writer[FlowEncoder]):
    """Quantises the flow of a clip and writes it without loss.

    Args:
        bound: displacement in pixels that the outermost of the 256 levels stands for.
        fps: flow fields per second.
        gop: number of flow fields from key frame to key frame.
    """

    def __init__(self, bound: float, fps: int, gop: int) -> None:
        super().__init__(FlowEncoder(fps, gop))
        self._bound = bound
        self._lengths, self._clipped, self._vectors = 0.0, 0, 0  # sum of lengths, components beyond the bound, vectors

    def add(self, flow: NDArray[np.float32]) -> None:
        """Quantise and encode the next flow fields, (T, H, W, 2) float32 in pixels.

        Raises:
            EncodeError: the decoded levels are not identical to those that were encoded.
        """
        for field in flow:
            x, y = fields = np.ascontiguousarray(np.moveaxis(field, -1, 0))
            self._lengths += cv2.sumElems(cv2.magnitude(x, y))[0]
            self._clipped += int(np.count_nonzero(np.abs(fields) > self._bound))
            self._vectors += x.size
            self._write(np.moveaxis(quantise(fields, self._bound), 0, -1))

    def columns(self) -> dict[str, Any]:
        """End the stream and return the flow columns of a shard row.

        Raises:
            EncodeError: the stream does not hold all fields, or not exactly.
        """
        encoded = self._end()
        return {
            "num_flow": self.count,
            "flow_codec": FLOW_CODEC,
            "flow_bound": self._bound,
            "flow_magnitude": self._lengths / self._vectors,
            "flow_clipped": self._clipped / (2 * self._vectors),
            **_blob("flow", encoded),
        }

    def _compare(self, given: NDArray[np.uint8], seen: av.VideoFrame) -> None:
        if not self._encoder.holds(seen, given):
            raise EncodeError("flow is not exact after a round trip")


def worst_psnr(frames: NDArray[np.uint8], decoded: NDArray[np.uint8]) -> float:
    """Return the peak signal-to-noise ratio of the worst pair of frames, in dB; 100 if all pairs are equal."""
    squared = max(cv2.norm(a, b, cv2.NORM_L2SQR) for a, b in zip(frames, decoded, strict=True))
    return psnr_of(squared, frames.shape[1:])


def psnr_of(squared: float, shape: tuple[int, ...]) -> float:
    """Return the peak signal-to-noise ratio in dB of a picture with this summed squared error; 100 if it is 0."""
    return 100.0 if squared == 0 else float(10 * np.log10(255.0**2 * np.prod(shape) / squared))


def _blob(stream: str, content: BinaryIO) -> dict[str, Any]:
    content.seek(0)
    digest, size = hashlib.file_digest(content, "sha256").hexdigest(), content.tell()  # type: ignore[arg-type]
    content.seek(0)
    return {stream: content, f"{stream}_bytes": size, f"{stream}_sha256": digest}
