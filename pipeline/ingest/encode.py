"""Encoding of frames and flow to the blobs of a shard row; each blob is decoded again to check it."""

import hashlib
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.flow import quantise
from pipeline.ingest.clip_errors import EncodeError
from pipeline.shards.codec import FLOW_CODEC, VIDEO_CODEC, decode_flow, decode_video, encode_flow, encode_video


def encode_clip(frames: NDArray[np.uint8], fps: int, crf: int, gop: int, min_psnr: float) -> dict[str, Any]:
    """Return the video columns of a shard row.

    Half the colour resolution and quality `crf` are enough for camera clips. If the worst frame falls below `min_psnr`
    (saturated edges, screen recordings), full colour resolution and then better qualities are tried.

    Args:
        frames: frames, (T, H, W, 3) uint8 RGB.
        fps: frames per second.
        crf: quality (constant rate factor) that is tried first; lower is better.
        gop: number of frames from key frame to key frame.
        min_psnr: peak signal-to-noise ratio in dB that every frame must reach.

    Raises:
        EncodeError: a frame is below `min_psnr` even at the best quality.
    """
    for pixel_format, quality in (("yuv420p", crf), ("yuv444p", crf), ("yuv444p", crf // 2), ("yuv444p", 1)):
        video = encode_video(frames, fps, quality, gop, pixel_format)
        psnr = worst_psnr(frames, decode_video(video, np.arange(len(frames))))
        if psnr >= min_psnr:
            break
    else:
        raise EncodeError(f"worst frame at {psnr:.1f} dB of {min_psnr:g} even at crf 1")
    return {
        "num_frames": len(frames),
        "height": frames.shape[1],
        "width": frames.shape[2],
        "fps": fps,
        "video_codec": VIDEO_CODEC,
        "video_crf": quality,
        "video_gop": gop,
        "video_pixel_format": pixel_format,
        "video_psnr": psnr,
        "brightness": float(frames.mean()),
        **_blob("video", video),
    }


def encode_flow_columns(flow: NDArray[np.float32], bound: float, fps: int, gop: int) -> dict[str, Any]:
    """Return the flow columns of a shard row.

    Args:
        flow: flow fields, (T, H, W, 2) float32 in pixels.
        bound: displacement in pixels that the outermost of the 256 levels stands for.
        fps: flow fields per second.
        gop: number of flow fields from key frame to key frame.

    Raises:
        EncodeError: the decoded levels are not identical to those that were encoded.
    """
    levels = quantise(flow, bound)
    encoded = encode_flow(levels, fps, gop)
    if not np.array_equal(decode_flow(encoded, np.arange(len(levels))), levels):
        raise EncodeError("flow is not exact after a round trip")
    return {
        "num_flow": len(flow),
        "flow_codec": FLOW_CODEC,
        "flow_bound": bound,
        "flow_magnitude": float(np.linalg.norm(flow, axis=-1).mean()),
        "flow_clipped": float((np.abs(flow) > bound).mean()),
        **_blob("flow", encoded),
    }


def worst_psnr(frames: NDArray[np.uint8], decoded: NDArray[np.uint8]) -> float:
    """Return the peak signal-to-noise ratio of the worst pair of frames, in dB; 100 if all pairs are equal."""
    squared = max(cv2.norm(a, b, cv2.NORM_L2SQR) for a, b in zip(frames, decoded, strict=True))
    return 100.0 if squared == 0 else float(10 * np.log10(255.0**2 * frames[0].size / squared))


def _blob(stream: str, content: bytes) -> dict[str, Any]:
    return {
        stream: content,
        f"{stream}_bytes": len(content),
        f"{stream}_sha256": hashlib.sha256(content).hexdigest(),
    }
