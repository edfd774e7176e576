"""Decoding by presentation time, on real files of many kinds."""

import shutil
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from pipeline.ingest.clip_errors import BadTimes, DecodeError, FileNotFound, NotAVideo, TooLong, TooShort, ZeroByte
from pipeline.ingest.decode.clip import decode_clip


def write_video(path: Path, times_ms: list[int], size: int = 32) -> None:
    """A video whose frame i is grey of level 8 * i, shown from times_ms[i] on."""
    with av.open(str(path), "w", format="matroska") as container:
        stream = container.add_stream("libx264", rate=1000, options={"qp": "0", "bf": "0"})
        stream.width = stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for index, time_ms in enumerate(times_ms):
            frame = av.VideoFrame.from_ndarray(np.full((size, size, 3), 8 * index % 256, np.uint8), format="rgb24")
            frame.pts, frame.time_base = time_ms, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def shown(frames: np.ndarray) -> list[int]:
    """Which source frame each output frame is."""
    return [round(level / 8) for level in frames[:, 4, 4, 0].astype(float)]


# seconds * 25, rounded: 280 frames at 28 a second are 10 s; 310 at 30 are 10.33 s
@pytest.mark.parametrize(
    ("name", "decoded", "frames", "size"),
    [
        ("arm_wrestling.mp4", 280, 250, (256, 340)),
        ("flipping_a_pancake.mkv", 310, 258, (256, 454)),
        ("v_ZNVhz7ctTq0.mp4", 420, 350, (256, 342)),
        ("mpeg4_320x240.avi", 164, 164, (256, 342)),
        ("street_10s.mp4", 240, 250, (256, 456)),
        ("nasa_multi_audio.mp4", 325, 325, (256, 456)),
        ("av1.mkv", 125, 125, (256, 456)),
        ("h265_10bit.mp4", 30, 25, (256, 256)),
        ("cricket_rgb.gif", 79, 79, (256, 256)),
    ],
)
def test_real_clips_have_the_frames_of_their_duration_at_25_a_second(clips_dir, name, decoded, frames, size):
    clip, facts = decode_clip(str(clips_dir / name), None, None, 25, 256)
    assert facts.source_frames == decoded
    assert clip.shape == (frames, *size, 3)


def test_a_constant_rate_shows_the_last_frame_that_has_begun(tmp_path):
    write_video(tmp_path / "v.mkv", [0, 33, 67, 100, 133, 167])  # 30 a second, 0.2 s
    clip, _ = decode_clip(str(tmp_path / "v.mkv"), None, None, 25, 32)
    assert shown(clip) == [0, 1, 2, 3, 4]  # at 0, 40, 80, 120, 160 ms


def test_a_variable_rate_is_followed_by_time_not_by_count(tmp_path):
    write_video(tmp_path / "v.mkv", [0, 10, 20, 200, 210, 320])
    clip, _ = decode_clip(str(tmp_path / "v.mkv"), None, None, 25, 32)
    assert shown(clip)[:9] == [0, 2, 2, 2, 2, 3, 4, 4, 5]  # at 0, 40, ... 320 ms


def test_a_first_frame_that_comes_late_is_the_start(tmp_path):
    write_video(tmp_path / "v.mkv", [500, 540, 580, 620])
    clip, _ = decode_clip(str(tmp_path / "v.mkv"), None, None, 25, 32)
    assert shown(clip) == [0, 1, 2, 3]


def test_start_and_end_cut_the_clip_out_of_the_file(tmp_path):
    write_video(tmp_path / "v.mkv", list(range(0, 1200, 40)))
    clip, facts = decode_clip(str(tmp_path / "v.mkv"), 0.2, 0.6, 25, 32)
    assert shown(clip) == list(range(5, 15))
    assert facts.source_frames < 30  # decoding stops at the end of the clip


def test_a_clip_ends_where_its_source_ends(tmp_path):
    write_video(tmp_path / "v.mkv", list(range(0, 400, 40)))
    clip, _ = decode_clip(str(tmp_path / "v.mkv"), 0.2, 10.0, 25, 32)
    assert shown(clip) == [5, 6, 7, 8, 9]


def test_the_shorter_side_is_as_asked_and_both_are_even(tmp_path):
    with av.open(str(tmp_path / "v.mkv"), "w", format="matroska") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 50, 82, "yuv420p"
        for index in range(3):
            frame = av.VideoFrame(50, 82, "yuv420p")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    clip, _ = decode_clip(str(tmp_path / "v.mkv"), None, None, 25, 32)
    assert clip.shape[1:3] == (52, 32)  # 82 * 32 / 50 = 52.5


def test_a_file_that_breaks_part_way_is_not_used(clips_dir):
    with pytest.raises(DecodeError, match="after 28 frames"):
        decode_clip(str(clips_dir / "corrupted.mp4"), None, None, 25, 256)


def test_what_is_no_video_says_so(tmp_path):
    (tmp_path / "text.mp4").write_text("not a video\n" * 500)
    (tmp_path / "empty.mp4").touch()
    with av.open(str(tmp_path / "sound.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=16000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1600), np.int16), format="s16", layout="mono")
        sound.sample_rate = 16000
        container.mux(stream.encode(sound))
        container.mux(stream.encode(None))
    with pytest.raises(NotAVideo, match="Invalid data"):
        decode_clip(str(tmp_path / "text.mp4"), None, None, 25, 256)
    with pytest.raises(ZeroByte, match="empty"):
        decode_clip(str(tmp_path / "empty.mp4"), None, None, 25, 256)
    with pytest.raises(NotAVideo, match="no video stream"):
        decode_clip(str(tmp_path / "sound.wav"), None, None, 25, 256)
    with pytest.raises(FileNotFound, match=r"no file gone\.mp4"):
        decode_clip(str(tmp_path / "gone.mp4"), None, None, 25, 256)


def test_times_outside_the_source_say_where_it_ends(tmp_path):
    write_video(tmp_path / "v.mkv", list(range(0, 400, 40)))
    with pytest.raises(BadTimes, match=r"starts at 5 s; the source ends at 0\.40 s"):
        decode_clip(str(tmp_path / "v.mkv"), 5.0, 6.0, 25, 32)
    with pytest.raises(BadTimes, match="end 1 s is not after start 2 s"):
        decode_clip(str(tmp_path / "v.mkv"), 2.0, 1.0, 25, 32)


def test_one_frame_is_too_short_and_a_film_too_long(tmp_path):
    write_video(tmp_path / "one.mkv", [0])
    write_video(tmp_path / "long.mkv", list(range(0, 4000, 40)))
    with pytest.raises(TooShort, match="two are the least"):
        decode_clip(str(tmp_path / "one.mkv"), None, None, 25, 32)
    with pytest.raises(TooLong, match="more than 2 s"):
        decode_clip(str(tmp_path / "long.mkv"), None, None, 25, 32, max_seconds=2)


def test_the_source_digest_is_that_of_its_bytes_wherever_it_lies(clips_dir, tmp_path):
    shutil.copy(clips_dir / "h265_10bit.mp4", tmp_path / "other name.mov")
    _, here = decode_clip(str(clips_dir / "h265_10bit.mp4"), None, None, 25, 32)
    _, there = decode_clip(str(tmp_path / "other name.mov"), None, None, 25, 32)
    assert here == there
    assert here.source_codec == "hevc"
