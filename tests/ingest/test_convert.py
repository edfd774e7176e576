"""A clip in slices of time: the bytes of the whole clip, memory that does not grow with its length."""

import re
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from pipeline.benchmarks.long_clips import peaks
from pipeline.config import FlowConfig, IngestConfig
from pipeline.flow import quantise, tvl1
from pipeline.ingest import memory
from pipeline.ingest.clip_errors import EncodeError, SourceChanged, TooLarge
from pipeline.ingest.convert import Stopwatch, convert
from pipeline.ingest.decode.child_process import SLICE_PICTURES, Slice, decode_in_child, slices_from_child
from pipeline.ingest.encode import qualities, worst_psnr
from pipeline.ingest.stages import make_convert
from pipeline.shards import codec, decode_video, encode_flow, encode_video
from tests.ingest.videos import make_video

FAST = IngestConfig(short_side=64, flow=FlowConfig(nscales=2, warps=1, epsilon=0.1))


def row(source, **changes):
    return {"clip_id": "a", "source": str(source), "start_s": None, "end_s": None, "status": None, **changes}


def given(slices):
    yield from slices


def compute(config):
    return lambda frames: tvl1(frames, "cpu", **config.flow.parameters)


@pytest.mark.parametrize("name", ["arm_wrestling.mp4", "mpeg4_320x240.avi"])
def test_the_bytes_and_facts_are_those_of_the_clip_encoded_as_a_whole(clips_dir, name):
    frames, facts = decode_in_child(str(clips_dir / name), 0.0, 6.0, 25, 64)
    assert len(frames) > 2 * SLICE_PICTURES
    made = make_convert(FAST)(row(clips_dir / name, start_s=0.0, end_s=6.0))
    assert made["status"] is None, made["error_message"]
    for pixel_format, quality in qualities(FAST.crf):
        video = encode_video(frames, 25, quality, FAST.gop, pixel_format)
        psnr = worst_psnr(frames, decode_video(video, np.arange(len(frames))))
        if psnr >= FAST.min_psnr:
            break
    assert made["video"].read() == video
    assert (made["video_crf"], made["video_pixel_format"]) == (quality, pixel_format)
    assert made["video_psnr"] == pytest.approx(psnr)
    assert made["brightness"] == pytest.approx(frames.mean())
    field = tvl1(frames, "cpu", **FAST.flow.parameters)
    assert made["flow"].read() == encode_flow(quantise(field, FAST.flow.bound), 25, FAST.gop)
    assert made["flow_magnitude"] == pytest.approx(np.linalg.norm(field, axis=-1).mean(), rel=1e-4)
    assert made["flow_clipped"] == pytest.approx((np.abs(field) > FAST.flow.bound).mean())
    assert (made["num_frames"], made["num_flow"]) == (len(frames), len(field))
    assert {name: made[name] for name in facts.columns()} == facts.columns()


def test_a_slice_of_one_picture_is_no_end_of_flow(clips_dir):
    frames, facts = decode_in_child(str(clips_dir / "h265_10bit.mp4"), None, None, 25, 64)
    whole = convert(lambda: given([Slice(0, frames, facts)]), FAST, compute(FAST), Stopwatch())
    ones = [Slice(i, frame[None], facts if i == 24 else None) for i, frame in enumerate(frames)]
    made = convert(lambda: given(ones), FAST, compute(FAST), Stopwatch())
    assert [made[name].read() for name in ("video", "flow")] == [whole[name].read() for name in ("video", "flow")]
    assert made["num_flow"] == 24


def test_decoding_that_starts_again_voids_what_came_before(clips_dir):
    frames, facts = decode_in_child(str(clips_dir / "h265_10bit.mp4"), None, None, 25, 64)
    void = [Slice(0, frames[::-1][:10], None), Slice(10, frames[::-1][10:], None)]
    made = convert(lambda: given([*void, Slice(0, frames, facts)]), FAST, compute(FAST), Stopwatch())
    assert made["video"].read() == encode_video(frames, 25, made["video_crf"], FAST.gop, made["video_pixel_format"])
    assert made["num_flow"] == 24


def test_the_clip_is_decoded_again_for_a_better_quality_and_its_flow_computed_once(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (150, 48, 64, 3), dtype=np.uint8)
    path = make_video(tmp_path / "noise.mkv", "ffv1", 150, pixels="bgr0", arrays=list(noise))
    read, computed = [], []

    def slices():
        read.append(1)
        return slices_from_child(str(path), None, None, 25, 48, 300.0, 60.0)

    def flow(frames):
        computed.append(len(frames) - 1)
        return compute(FAST)(frames)

    made = convert(slices, replace(FAST, min_psnr=40.0), flow, Stopwatch())
    assert made["video_pixel_format"] == "yuv444p"
    assert len(read) >= 3
    assert (sum(computed), made["num_flow"], made["num_frames"]) == (149, 149, 150)
    with pytest.raises(EncodeError, match=r"worst frame at \d+\.\d dB of 99 even at crf 1"):
        convert(slices, replace(FAST, min_psnr=99.0), flow, Stopwatch())


def test_a_file_replaced_between_two_readings_is_noticed(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (2, 30, 48, 64, 3), dtype=np.uint8)
    path = tmp_path / "noise.mkv"

    def slices():
        make_video(path, "ffv1", 30, pixels="bgr0", arrays=list(noise[path.exists() * 1]))
        return slices_from_child(str(path), None, None, 25, 48, 300.0, 60.0)

    with pytest.raises(SourceChanged, match="replaced while it was read"):
        convert(slices, FAST, None, Stopwatch())


def test_three_frames_of_which_the_last_is_far_away_are_a_clip_no_longer_than_allowed(tmp_path):
    """Such a file of 1.8 kB had its worker killed for memory; its last frame stays as long as the mean frame."""
    path = make_video(tmp_path / "far.mkv", frames=3, times=[0, 1, 25 * 20], options={"bf": "0"})
    assert path.stat().st_size < 4000
    made = make_convert(replace(FAST, max_seconds=25.0))(row(path))
    assert made["status"] is None, made["error_message"]
    assert made["num_frames"] == 25 * 25


def test_a_bug_and_a_bad_clip_become_the_status_of_their_row(clips_dir):
    def broken(*arguments, **options):
        raise ZeroDivisionError("of flow")

    made = make_convert(FAST, broken)(row(clips_dir / "h265_10bit.mp4", content=None))
    assert (made["status"], made["error_class"]) == ("failed", "ZeroDivisionError")
    assert made["error_message"] == "in flow: of flow"
    assert not {"content", "video", "flow"} & made.keys()
    made = make_convert(FAST)(row(clips_dir / "corrupted.mp4"))
    assert (made["status"], made["error_class"]) == ("failed", "DecodeError")


# ---------------------------------------------------------------- memory
def test_pictures_whose_flow_would_take_too_much_memory_are_refused_before_it_is_taken(tmp_path):
    path = make_video(tmp_path / "wide.mkv", "ffv1", frames=3, size=(2048, 48))
    made = make_convert(replace(FAST, short_side=256, memory_gib=0.5))(row(path))
    assert made["error_class"] == "TooLarge"
    assert re.fullmatch(
        r"pictures of 10922x256 and their flow take about 0\.73 GiB to work on; ingest\.memory_gib allows 0\.5",
        made["error_message"],
    )


def test_a_clip_whose_stream_is_larger_than_a_cell_may_be_stops_there(tmp_path, monkeypatch):
    noise = np.random.default_rng(0).integers(0, 256, (200, 48, 64, 3), dtype=np.uint8)
    path = make_video(tmp_path / "noise.mkv", "ffv1", 200, pixels="bgr0", arrays=list(noise))
    monkeypatch.setattr(memory, "MOST_BYTES", 600_000)
    made = make_convert(replace(FAST, short_side=48))(row(path))
    assert made["error_class"] == "TooLarge"
    assert re.match(r"its first \d+ frames make 0\.00 GiB of video and 0\.00 GiB of flow; ", made["error_message"])


def test_a_long_stream_is_no_part_of_memory(tmp_path, monkeypatch):
    """It is written to a file without a name while it is made, and from there into the staged row."""
    noise = np.random.default_rng(0).integers(0, 256, (60, 48, 64, 3), dtype=np.uint8)
    monkeypatch.setattr(codec, "IN_MEMORY", 1000)
    encoder = codec.VideoEncoder(25, 17, 12)
    for picture in noise:
        encoder.add(picture)
    content = encoder.end()[1]
    assert content.fileno() > 0
    assert content.read() == encode_video(noise, 25, 17, 12)


def test_a_clip_of_an_extreme_shape_is_refused_before_its_pictures_are_made(tmp_path):
    path = make_video(tmp_path / "wide.mkv", "ffv1", frames=3, size=(4096, 32))
    with pytest.raises(TooLarge, match=r"6250 pictures of 32768x256 take 146\.48 GiB; 5\.49 are the most"):
        decode_in_child(str(path), 0.0, 250.0, 25, 256)


def test_an_hour_of_usual_pictures_is_not_refused_for_its_size(tmp_path):
    path = make_video(tmp_path / "hour.mkv", frames=3, size=(340, 256), times=[0, 1, 25 * 3590], options={"bf": "0"})
    slices = slices_from_child(str(path), 0.0, 3600.0, 25, 256, 3600.0, 60.0)
    first = next(slices)
    assert first.pictures.shape == (SLICE_PICTURES, 256, 340, 3)
    slices.close()


def test_levels_are_not_computed_in_double_precision_all_at_once():
    flow = np.random.default_rng(0).normal(0, 9, (32, 64, 64, 2)).astype(np.float32)
    expected = np.rint((flow.astype(np.float64) + 20) * (255 / 40)).clip(0, 255).astype(np.uint8)
    tracemalloc.start()
    levels = quantise(flow, 20.0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.array_equal(levels, expected)
    assert peak < flow.nbytes  # a byte a level, and one field in float64


@pytest.mark.slow
def test_memory_does_not_grow_with_the_length_of_a_clip(tmp_path):
    """Worker and decoder together, at three minutes and at half a minute, each in a process of its own."""
    slope = np.indices((96, 128)).sum(0)[..., None] / 20
    pictures = [(100 + 20 * np.sin(slope + i / 8) + [9, 5, 0]).astype(np.uint8) for i in range(50)]
    path = make_video(tmp_path / "drift.mp4", frames=50, size=(128, 96), options={"bf": "0"}, arrays=pictures)
    short, long = peaks(path, [5, 60], IngestConfig(short_side=96))
    assert (short.frames, long.frames) == (5 * 25, 60 * 25)
    assert long.worker_mb + long.child_mb < short.worker_mb + short.child_mb + 20
    assert 3 * 96 * 128 * (long.frames - short.frames) / 1e6 > 2 * 20, "pictures that were kept cannot hide in 20 MB"
