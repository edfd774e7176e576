"""Planes of RGB show what the RGB frames show, whatever the crop."""

import itertools
import platform

import av
import numpy as np
import pytest
import torch
from av.video.reformatter import VideoReformatter

from pipeline.clips.crops import Crop, random_crop
from pipeline.clips.loader import Batch
from pipeline.clips.normalise import Planes, normalise, rgb
from pipeline.clips.planes import columns, plane_window
from pipeline.config import IngestConfig
from pipeline.ingest.decode.clip import decode_clip
from pipeline.shards import CodecError, decode_video, encode_video
from tests.clips.levels import levels, planes
from tests.clips.test_loader import table

# swscale's vector instructions of x86 are followed to the bit; its other code rounds by a level or two otherwise.
APART = 0 if platform.machine() == "x86_64" else 2
FORMATS = ("yuv420p", "yuv444p")


def apart(a, b):
    """The largest difference in levels."""
    assert a.shape == b.shape
    return int(np.abs(a.astype(int) - b).max())


@pytest.fixture(scope="module", params=FORMATS)
def video(request):
    """Fourteen frames of 32 x 54 full of colours."""
    frames = np.random.default_rng(0).integers(0, 256, (14, 8, 9, 3), dtype=np.uint8).repeat(4, 1).repeat(6, 2)
    return encode_video(frames, 25, 10, 6, request.param)


@pytest.mark.parametrize("flip", [False, True])
def test_every_crop_shows_what_it_shows_of_rgb(video, flip):
    frames = np.array([7, 8, 13])
    whole = decode_video(video, frames)
    for side, top, left in itertools.product((1, 2, 3, 15, 16, 31, 32), (0, 1, 2, 3, 99), (0, 1, 2, 3, 99)):
        crop = Crop(None, min(top, 32 - side), min(left, 54 - side), side, flip)  # the last: at the edge
        assert apart(levels(plane_window(video, frames, crop)), crop.apply(whole, is_flow=False)) <= APART


def test_frames_come_in_any_order_and_more_than_once(video):
    frames, crop = np.array([9, 3, 9, 0, 13, 3]), Crop(None, 5, 7, 16, flip=True)
    shown = levels(plane_window(video, frames, crop))
    assert apart(shown, crop.apply(decode_video(video, frames), is_flow=False)) <= APART


@pytest.mark.parametrize("name", ["v_ZNVhz7ctTq0.mp4", "mpeg4_320x240.avi"])
@pytest.mark.parametrize("pixel_format", FORMATS)
def test_real_clips_look_alike(clips_dir, name, pixel_format):
    ingest, rng = IngestConfig(), np.random.default_rng(0)
    frames, _ = decode_clip(str(clips_dir / name), 1.0, 2.0, ingest.fps, ingest.short_side)
    stored = encode_video(frames, ingest.fps, ingest.crf, ingest.gop, pixel_format)
    for _ in range(4):
        crop, shown = random_crop(*frames.shape[1:3], None, 224, True, rng), rng.integers(0, len(frames), 4)
        whole = crop.apply(decode_video(stored, shown), is_flow=False)
        assert apart(levels(plane_window(stored, shown, crop)), whole) <= APART


def test_the_arithmetic_is_that_of_swscale_for_all_levels():
    """Every Y with many U and V, those beyond the limited range too, which a decoder may give."""
    noise = np.random.default_rng(0).integers(0, 256, (384, 256), dtype=np.uint8)
    expected = VideoReformatter().reformat(av.VideoFrame.from_ndarray(noise, "yuv420p"), format="rgb24").to_ndarray()
    luma, chroma = noise[:256], noise[256:].reshape(2, 128, 128)
    made = rgb(Planes(*(torch.from_numpy(part)[None, None] for part in (luma, chroma)), torch.zeros(1, 2).long()))
    assert apart(made[0, 0].numpy(), expected) <= APART


def test_half_and_whole_colour_fit_into_one_batch():
    frames = np.random.default_rng(1).integers(0, 256, (3, 4, 6, 3), dtype=np.uint8).repeat(8, 1).repeat(8, 2)
    crops = [Crop(None, 3, 5, 17), Crop(None, 2, 9, 17, flip=True), Crop(None, 0, 0, 17)]
    formats = ("yuv420p", "yuv444p", "yuv420p")
    alone = [
        plane_window(encode_video(frames, 25, 10, 6, pixel_format), np.arange(3), crop)
        for pixel_format, crop in zip(formats, crops, strict=True)
    ]
    together = rgb(planes(*alone))
    assert together.shape == (3, 3, 17, 17, 3)
    for clip, window in zip(together.numpy(), alone, strict=True):
        assert np.array_equal(clip, levels(window))


def test_bytes_are_half_of_rgb():
    video = encode_video(np.zeros((2, 64, 64, 3), np.uint8), 25, 10, 6)
    table = columns("rgb", [plane_window(video, np.arange(2), Crop(None, 0, 0, 64))] * 2)
    assert sum(column.nbytes for column in table.values()) < 0.55 * 2 * 2 * 64 * 64 * 3


def test_columns_become_a_batch_of_planes(video):
    windows = [plane_window(video, np.arange(4), Crop(None, 1, left, 16)) for left in (0, 3)]
    flow = np.zeros((2, 4, 16, 16, 2), np.uint8)
    batch = Batch.of(table(**columns("rgb", windows), flow=flow))
    assert set(batch.windows) == {"rgb", "flow"}
    clips = normalise(batch.windows["rgb"].to(torch.device("cpu"), non_blocking=True))
    assert clips.shape == (2, 3, 4, 16, 16)
    assert clips.is_contiguous(memory_format=torch.channels_last_3d)
    for clip, window in zip(clips, windows, strict=True):
        expected = normalise(torch.from_numpy(levels(window))[None])[0]
        assert torch.equal(clip, expected)
    assert torch.equal(normalise(batch.windows["rgb"][1:]), clips[1:])


def test_a_format_that_ingest_never_stores_is_an_error():
    video = encode_video(np.zeros((2, 16, 16, 3), np.uint8), 25, 10, 6, "yuv422p")
    with pytest.raises(CodecError, match="stored clip is yuv422p, and must be yuv420p or yuv444p"):
        plane_window(video, np.arange(2), Crop(None, 0, 0, 8))
