"""Frames and flow to bytes and back."""

import io

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.shards import Area, CodecError, decode_flow, decode_video, encode_flow, encode_video
from pipeline.shards.codec import measure


def scene(frames: int = 30, height: int = 48, width: int = 64) -> NDArray[np.uint8]:
    """(T, H, W, 3): a smooth picture, more light and dark than colour, that drifts; each frame unlike the others."""
    rng = np.random.default_rng(0)
    noise = rng.random((height, width + frames, 1)) + 0.3 * rng.random((height, width + frames, 3))
    picture = cv2.GaussianBlur(noise, (0, 0), 5)
    picture = ((picture - picture.min()) / np.ptp(picture) * 255).astype(np.uint8)
    return np.stack([picture[:, t : t + width] for t in range(frames)])


def random_levels(frames: int, height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (frames, height, width, 2), dtype=np.uint8)


def psnr(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    return float(10 * np.log10(255**2 / np.mean((a.astype(float) - b) ** 2)))


@pytest.fixture(scope="module")
def levels() -> NDArray[np.uint8]:
    return random_levels(30, 16, 24)


@pytest.fixture(scope="module")
def flow(levels) -> bytes:
    return encode_flow(levels, fps=25, gop=12)


@pytest.fixture(scope="module")
def video() -> bytes:
    return encode_video(scene(), fps=25, crf=17, gop=12)


# ---------------------------------------------------------------- flow is lossless
@pytest.mark.parametrize(
    ("frames", "height", "width"),
    [(1, 16, 16), (2, 1, 1), (1, 2, 2), (5, 5, 7), (30, 33, 17), (13, 16, 15), (12, 15, 16), (3, 240, 320)],
)
def test_flow_comes_back_exactly(frames, height, width):
    levels = random_levels(frames, height, width)
    decoded = decode_flow(encode_flow(levels, fps=25, gop=12), np.arange(frames))
    assert decoded.dtype == np.uint8
    assert np.array_equal(decoded, levels)


def test_the_full_range_of_levels_survives():
    """A limited-range conversion would map 0..255 to 16..235: levels would merge, by up to 0.5 px at a bound of 20."""
    ramp = np.arange(256, dtype=np.uint8)
    levels = np.stack([np.tile(ramp, (16, 1)), np.tile(ramp[::-1], (16, 1))], axis=-1)[None]
    assert np.array_equal(decode_flow(encode_flow(levels, fps=25, gop=12), np.array([0])), levels)


def test_the_file_itself_says_that_its_range_is_full(flow):
    with av.open(io.BytesIO(flow)) as container:
        assert next(container.decode(video=0)).color_range == av.video.reformatter.ColorRange.JPEG


def test_x_and_y_do_not_mix():
    levels = np.zeros((2, 8, 8, 2), np.uint8)
    levels[..., 0], levels[..., 1] = 200, 50
    decoded = decode_flow(encode_flow(levels, fps=25, gop=12), np.arange(2))
    assert (decoded[..., 0] == 200).all()
    assert (decoded[..., 1] == 50).all()


@pytest.mark.parametrize("fps", [1, 10, 25, 30, 60])
@pytest.mark.parametrize("frames", [1, 2, 3, 26])
def test_any_constant_rate_keeps_its_frames(fps, frames):
    levels = random_levels(frames, 8, 8)
    encoded = encode_flow(levels, fps=fps, gop=12)
    assert np.array_equal(decode_flow(encoded, np.arange(frames)), levels)
    assert np.array_equal(decode_flow(encoded, np.array([frames - 1])), levels[-1:])


# ---------------------------------------------------------------- video is close
def test_video_comes_back_at_the_quality_of_camera_clips(video):
    decoded = decode_video(video, np.arange(30))
    assert decoded.shape == (30, 48, 64, 3)
    assert decoded.dtype == np.uint8
    assert min(psnr(a, b) for a, b in zip(scene(), decoded, strict=True)) > 36


def test_every_frame_comes_back_at_its_place(video):
    decoded = decode_video(video, np.arange(30))
    for index in (0, 11, 12, 29):
        assert np.argmax([psnr(frame, decoded[index]) for frame in scene()]) == index


def test_colours_stay_in_rgb_order():
    frames = np.zeros((3, 32, 32, 3), np.uint8)
    frames[:] = (200, 100, 30)
    decoded = decode_video(encode_video(frames, fps=25, crf=17, gop=12), np.arange(3))
    assert np.abs(decoded.mean(axis=(0, 1, 2)) - (200, 100, 30)).max() < 3


def test_black_and_white_stay_black_and_white():
    frames = np.repeat(np.array([0, 255], np.uint8), 2)[:, None, None, None] * np.ones((1, 32, 32, 3), np.uint8)
    decoded = decode_video(encode_video(frames, fps=25, crf=10, gop=1), np.arange(4))
    assert decoded[:2].max() <= 2
    assert decoded[2:].min() >= 253


def test_a_smaller_crf_is_better_and_larger():
    sizes, qualities = [], []
    for crf in (30, 20, 10):
        encoded = encode_video(scene(), fps=25, crf=crf, gop=12)
        sizes.append(len(encoded))
        qualities.append(psnr(scene(), decode_video(encoded, np.arange(30))))
    assert sizes == sorted(sizes)
    assert qualities == sorted(qualities)


def test_full_colour_resolution_is_better_where_colours_change_fast():
    frames = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    half = decode_video(encode_video(frames, 25, 10, 12), np.arange(4))
    full = decode_video(encode_video(frames, 25, 10, 12, pixel_format="yuv444p"), np.arange(4))
    assert psnr(frames, full) > psnr(frames, half) + 6


@pytest.mark.parametrize(("frames", "height", "width"), [(1, 32, 32), (2, 2, 2), (5, 18, 34)])
def test_small_clips_keep_their_shape(frames, height, width):
    encoded = encode_video(np.full((frames, height, width, 3), 90, np.uint8), fps=25, crf=17, gop=12)
    assert decode_video(encoded, np.arange(frames)).shape == (frames, height, width, 3)


# ---------------------------------------------------------------- bytes
def test_the_same_flow_gives_the_same_bytes(levels):
    assert len({encode_flow(levels.copy(), 25, 12) for _ in range(50)}) == 1


def test_the_same_frames_give_the_same_bytes():
    """At 32 x 32, with other users of memory between: where x264's macroblock tree gave other bytes for 12 of 20."""
    for start in range(6):
        frames = scene(12 + start, 32, 32)[start:]
        seen = set()
        for _ in range(20):
            seen.add(encode_video(frames, 25, 17, 12))
            decode_video(encode_video(frames[::-1], 25, 30, 12), np.arange(12))
        assert len(seen) == 1


def test_other_frames_give_other_bytes(levels):
    assert encode_flow(levels, 25, 12) != encode_flow(levels[::-1], 25, 12)


def test_the_layout_of_the_array_does_not_matter(levels):
    view = np.ascontiguousarray(levels.transpose(3, 0, 2, 1)).transpose(1, 3, 2, 0)
    assert not view.flags.c_contiguous
    assert encode_flow(view, 25, 12) == encode_flow(levels, 25, 12)
    frames = np.concatenate([scene(), scene()])[::2, ::-1]
    assert not frames.flags.c_contiguous
    assert psnr(frames, decode_video(encode_video(frames, 25, 10, 12), np.arange(30))) > 38


@pytest.mark.parametrize("gop", [1, 2, 12])
def test_key_frames_come_every_gop_and_there_are_no_b_frames(gop):
    encoded = encode_video(scene(25), fps=25, crf=20, gop=gop)
    with av.open(io.BytesIO(encoded)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    assert [index for index, packet in enumerate(packets) if packet.is_keyframe] == list(range(0, 25, gop))
    assert all(packet.pts == packet.dts for packet in packets)


def test_what_is_stored_is_quick_to_decode(video, flow):
    for encoded in (video, flow):
        with av.open(io.BytesIO(encoded)) as container:
            header = container.streams.video[0].codec_context.extradata
        parameters = header[11 + int.from_bytes(header[6:8], "big") :]  # of pictures, behind those of the sequence
        assert parameters[0] & 31 == 8
        assert parameters[1] >> 5 == 0b110  # two ids of 0, and entropy_coding_mode_flag: not CABAC


def test_a_cut_does_not_add_a_key_frame():
    frames = np.concatenate([scene(6), 255 - scene(6)])
    with av.open(io.BytesIO(encode_video(frames, fps=25, crf=20, gop=12))) as container:
        assert sum(packet.is_keyframe for packet in container.demux(video=0) if packet.size) == 1


# ---------------------------------------------------------------- any frames in any order
PATTERNS = {
    "all": range(30),
    "first": [0],
    "last": [29],
    "key frame": [12],
    "before a key frame": [11],
    "across a key frame": range(10, 15),
    "from a key frame": range(24, 30),
    "stride 2": range(0, 30, 2),
    "stride 7": range(1, 30, 7),
    "stride over key frames": [0, 13, 26],
    "backwards": range(29, -1, -1),
    "repeats": [3, 3, 3, 20, 20],
    "looped": [*range(25, 30), *range(10)],
    "out of order": [17, 2, 29, 0, 12, 11, 13],
    "ends": [0, 29],
}


@pytest.mark.parametrize("pattern", PATTERNS)
def test_frames_come_out_as_they_were_asked_for(levels, flow, video, pattern):
    indices = np.array(PATTERNS[pattern])
    assert np.array_equal(decode_flow(flow, indices), levels[indices])
    assert np.array_equal(decode_video(video, indices), decode_video(video, np.arange(30))[indices])


@pytest.mark.parametrize("gop", [1, 2, 7, 250])
def test_random_frames_equal_those_decoded_in_sequence(levels, gop):
    encoded = encode_flow(levels, fps=25, gop=gop)
    rng = np.random.default_rng(gop)
    for _ in range(20):
        indices = rng.integers(0, 30, size=rng.integers(1, 12))
        assert np.array_equal(decode_flow(encoded, indices), levels[indices])


# ---------------------------------------------------------------- what cannot be decoded
@pytest.mark.parametrize("indices", [[30], [29, 30], [0, 1000]])
def test_a_frame_beyond_the_end_is_refused(flow, video, indices):
    with pytest.raises(CodecError, match=rf"frame {indices[-1]} of 30 was asked for and is not there"):
        decode_flow(flow, np.array(indices))
    with pytest.raises(CodecError, match=rf"frame {indices[-1]} of 30 was asked for and is not there"):
        decode_video(video, np.array(indices))


@pytest.mark.parametrize("indices", [[-1], [0, -3]])
def test_a_frame_before_the_start_is_refused(flow, indices):
    with pytest.raises(CodecError, match=rf"frame {indices[-1]} of 30"):
        decode_flow(flow, np.array(indices))


def test_no_frame_at_all_is_refused(flow):
    with pytest.raises(CodecError, match="no frame asked for"):
        decode_flow(flow, np.array([], np.int64))


@pytest.mark.parametrize("decode", [decode_video, decode_flow])
@pytest.mark.parametrize("content", [b"", b"\0" * 500, b"no video at all" * 40, bytes(range(256)) * 20])
def test_garbage_is_a_codec_error(decode, content):
    with pytest.raises(CodecError, match="stored clip does not decode"):
        decode(content, np.arange(3))


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.8])
def test_a_truncated_clip_is_a_codec_error(flow, video, share):
    for decode, encoded in ((decode_flow, flow), (decode_video, video)):
        with pytest.raises(CodecError):
            decode(encoded[: int(share * len(encoded))], np.arange(30))


def test_a_clip_cut_within_its_header_is_a_codec_error(flow):
    """The header of these files is at their end."""
    start = flow.rindex(b"moov")
    for end in range(start, len(flow) - 200, 7):
        with pytest.raises(CodecError):
            decode_flow(flow[:end], np.arange(30))


def test_a_codec_error_is_a_value_error_for_whoever_does_not_know_it():
    assert issubclass(CodecError, ValueError)


# ---------------------------------------------------------------- how long and large
def test_a_stream_is_measured_by_decoding_it(flow, video):
    assert measure(video) == (30, 48, 64)
    assert measure(flow) == (30, 32, 24)  # x above y


@pytest.mark.parametrize("content", [b"", b"not a video " * 40])
def test_what_does_not_decode_is_not_measured(content):
    with pytest.raises(CodecError, match="stored clip does not decode"):
        measure(content)


def test_a_stream_cut_short_is_not_measured_as_whole(video):
    with pytest.raises(CodecError, match="stored clip does not decode"):
        measure(video[: len(video) // 2])


# ---------------------------------------------------------------- a part of the frames
@pytest.mark.parametrize("area", [Area(0, 0, 16, 24), Area(3, 5, 8, 7), Area(15, 23, 1, 1)])
def test_a_part_of_the_frames_is_cut_from_them(video, flow, area):
    indices = np.array([13, 2, 2])
    for decode, encoded in ((decode_video, video), (decode_flow, flow)):
        whole, part = decode(encoded, indices), decode(encoded, indices, area)
        assert np.array_equal(part, whole[:, area.top : area.top + area.height, area.left : area.left + area.width])
        assert part.flags.c_contiguous
