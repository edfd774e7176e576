"""A jump to the clip's start gives what decoding from the film's beginning gives, or is not taken."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from pipeline.ingest.clip_errors import ClipError
from pipeline.ingest.decode import clip as decode
from pipeline.ingest.decode.constant_rate import ConstantRate
from pipeline.ingest.decode.reading import Reader
from pipeline.ingest.decode.seek import Doubt, after_jump
from pipeline.ingest.decode.timestamps import Clock
from tests.ingest.videos import QUIET, make_video

STARTS = (0.03, 0.96, 1.0, 1.01, 2.5, 3.9, 5.4)
OPEN_GOP = {"x264-params": "open-gop=1:bframes=3:b-adapt=0:keyint=25:min-keyint=25:scenecut=0"}
LEADING = {"x265-params": "log-level=none:open-gop=1:bframes=4:b-adapt=0:keyint=25:min-keyint=25:scenecut=0"}
HIDDEN = {"lag-in-frames": "16", "auto-alt-ref": "1", "g": "25", "deadline": "good", "cpu-used": "8"}
REAL = {
    "arm_wrestling.mp4": True, "flipping_a_pancake.mkv": True, "v_ZNVhz7ctTq0.mp4": True, "street_10s.mp4": True,
    "nasa_multi_audio.mp4": True, "av1.mkv": True, "h265_10bit.mp4": True,
    "mpeg4_320x240.avi": False, "cricket_rgb.gif": False, "cricket_flow.gif": False,
}  # fmt: skip
FILMS = {
    "open.mp4": ("libx264", OPEN_GOP, {}, True),
    "open.mkv": ("libx264", OPEN_GOP, {}, True),
    "closed.mov": ("libx264", {"g": "25", "bf": "3"}, {}, True),
    "fragments.mp4": ("libx264", {"g": "25"}, {"movflags": "frag_keyframe+empty_moov"}, True),
    "no_cues.mkv": ("libx264", {"g": "25"}, {"live": "1"}, True),
    "one_key.mp4": ("libx264", {"g": "1000"}, {}, True),
    "refreshed.mp4": ("libx264", {"g": "25", "x264-params": "intra-refresh=1"}, {}, None),
    "leading.mp4": ("libx265", LEADING, {}, True),
    "leading.mkv": ("libx265", LEADING, {}, True),
    "hidden.webm": ("libvpx-vp9", HIDDEN, {}, True),
    "hidden.mp4": ("libvpx-vp9", HIDDEN, {}, True),
    "vp8.webm": ("libvpx", {"g": "25", "auto-alt-ref": "1", "lag-in-frames": "16", "deadline": "realtime"}, {}, True),
    "av1.mkv": ("libsvtav1", {"g": "25"}, {}, True),
    "b_frames.mp4": ("mpeg4", {"g": "25", "bf": "2"}, {}, True),
    "b_frames.mkv": ("mpeg4", {"g": "25", "bf": "2"}, {}, None),
    "mpeg2.mkv": ("mpeg2video", {"g": "25", "bf": "2"}, {}, None),
    "b_frames.avi": ("mpeg4", {"g": "25", "bf": "2"}, {}, False),
    "open.ts": ("libx264", OPEN_GOP, {}, False),
    "open.flv": ("libx264", OPEN_GOP, {}, False),
}


def film(path: Path, codec: str, options: dict, container: dict, times: list[int] | None = None) -> Path:
    """Six seconds of a picture that glides, so that frames are made from one another and none is like the next."""
    texture = np.random.default_rng(0).integers(0, 256, (15, 60, 3)).repeat(8, 0).repeat(8, 1).astype(np.uint8)
    moving = (texture[i % 70 : i % 70 + 48, 2 * i : 2 * i + 64] for i in range(150))
    make_video(
        path, codec, 150, options={**QUIET.get(codec, {}), **options}, container=container, times=times, arrays=moving
    )
    return path


def taken(path: Path, start: float, end: float | None, *, jump: bool):
    """Pictures and facts, or the error; `Doubt` where a jump is not taken."""
    pictures: dict[int, np.ndarray] = {}
    clip = ConstantRate(25, start, end, 300, pictures.__setitem__)
    try:
        facts = decode._decode(str(path), (0, ""), clip, 32, 300, jump)
    except ClipError as error:
        return type(error), str(error)
    return np.stack([pictures[position] for position in range(len(pictures))]), facts


def check_same(path: Path, start: float, end: float | None) -> bool:
    """Compare both ways; whether the jump was taken."""
    pictures, facts = taken(path, start, end, jump=False)
    try:
        jumped, jumped_facts = taken(path, start, end, jump=True)
    except Doubt:
        return False
    np.testing.assert_array_equal(jumped, pictures, err_msg=f"{path.name} from {start}")
    assert jumped_facts == facts
    return True


@pytest.mark.parametrize("name", REAL)
def test_real_clips(clips_dir, name):
    with av.open(str(clips_dir / name)) as container:
        seconds = container.duration / av.time_base
    for share in (0.3, 0.62, 0.9):
        start = round(share * seconds, 2)
        assert check_same(clips_dir / name, start, start + 0.5) is REAL[name], share


def test_a_film_that_breaks_part_way(clips_dir):
    """Its beginning is good, what comes after the break is an error by either way."""
    path = clips_dir / "corrupted.mp4"
    assert check_same(path, 0.3, 0.6)
    with pytest.raises(Doubt):
        taken(path, 3.1, 3.6, jump=True)


@pytest.mark.parametrize("name", FILMS)
def test_films_of_every_kind(tmp_path, name):
    *how, expected = FILMS[name]
    path = film(tmp_path / name, *how)
    jumps = {start: check_same(path, start, start + 0.4) for start in STARTS}
    assert expected is None or set(jumps.values()) == {expected}, jumps
    check_same(path, 5.4, None)
    check_same(path, 60.0, 61.0)


@pytest.mark.parametrize(
    ("name", "codec", "times"),
    [
        ("variable.mp4", "libx264", [i + i // 3 + i % 2 for i in range(0, 300, 2)]),
        ("variable.mkv", "libx265", [i + 40 * (i // 30) for i in range(150)]),
        ("late.mkv", "libx264", range(500, 650)),
        ("below_zero.mp4", "libx264", range(-20, 130)),
    ],
)
def test_odd_times(tmp_path, name, codec, times):
    path = film(tmp_path / name, codec, {"g": "25"}, {}, list(times))
    assert [check_same(path, start, start + 0.4) for start in STARTS] == [True] * len(STARTS)


def test_an_edit_list_that_begins_within_a_group(tmp_path):
    whole = film(tmp_path / "whole.mp4", "libx264", {"g": "25", "bf": "2"}, {})
    with av.open(str(whole)) as given, av.open(str(tmp_path / "cut.mp4"), "w") as output:
        stream = output.add_stream_from_template(given.streams.video[0])
        for packet in given.demux(given.streams.video[0]):
            if packet.dts is not None:
                packet.pts, packet.dts = (int(time - 0.6 / packet.time_base) for time in (packet.pts, packet.dts))
                packet.stream = stream
                output.mux(packet)
    assert [check_same(tmp_path / "cut.mp4", start, start + 0.4) for start in (1.0, 2.22, 4.0)] == [True] * 3
    check_same(tmp_path / "cut.mp4", 0.03, 0.5)


@pytest.mark.parametrize("codec", ["libx264", "libx265", "mpeg4"])
def test_an_index_that_calls_every_frame_a_key_frame_is_not_believed(tmp_path, codec):
    path = film(tmp_path / "v.mp4", codec, {"g": "50"}, {})
    path.write_bytes(path.read_bytes().replace(b"stss", b"free"))
    assert {check_same(path, start, start + 0.4) for start in (1.0, 2.5, 5.4)} == {False}


def test_a_turned_picture_is_turned_after_a_jump_too(tmp_path):
    path = make_video(tmp_path / "v.mp4", options={"g": "10"}, prepare=lambda stream: stream.set_display_rotation(90))
    assert check_same(path, 0.8, 1.1)


def test_little_is_read_of_a_long_film(tmp_path):
    packets: list[av.Packet] = []
    with av.open(str(film(tmp_path / "v.mp4", "libx264", {"g": "25", "sc_threshold": "0"}, {}))) as container:
        stream = container.streams.video[0]
        reader = Reader(container, stream, [], Fraction(25))
        frames = list(after_jump(container, stream, reader, Clock(Fraction(25), 300), Fraction(5), packets.append))
    assert sum(packet.size > 0 for packet in packets) == 25
    assert len(frames) == 26  # and the first of all
