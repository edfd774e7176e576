"""When each frame is shown: in containers that store no presentation times, and where times begin anew."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from pipeline.ingest.decode.clip import decode_clip
from tests.ingest.numbered import numbered, numbers

ALL = list(range(100))


def decode(path: Path, start_s=None, end_s=None, **limits) -> tuple[list[int], str]:
    """The number of the frame on screen at each tick, 25 a second, and the notes."""
    frames, facts = decode_clip(str(path), start_s, end_s, 25, 64, **limits)
    return numbers(frames), facts.source_notes


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("one.avi", "mpeg4", {"bf": "1"}),
        ("two.avi", "mpeg4", {"bf": "2", "g": "12"}),
        ("none.avi", "mpeg4", {}),
        ("three.avi", "libx264", {"bf": "3", "g": "25"}),
        ("pyramid.avi", "libx264", {"bf": "4", "x264-params": "b-pyramid=normal:b-adapt=0"}),
        ("mpeg2.avi", "mpeg2video", {"bf": "2"}),
        ("divx3.avi", "msmpeg4", {}),
        ("mpeg4.wmv", "mpeg4", {"bf": "2"}),
        ("wmv2.wmv", "wmv2", {}),
        ("video_for_windows.mkv", "msmpeg4", {}),
        ("mpeg4.mkv", "mpeg4", {"bf": "2"}),
        ("mpeg4.mp4", "mpeg4", {"bf": "2"}),
        ("three.flv", "libx264", {"bf": "3"}),
        ("two.mpg", "mpeg2video", {"bf": "2"}),
    ],
)
def test_frames_are_shown_in_their_order_each_at_its_time(tmp_path, name, codec, options):
    assert decode(numbered(tmp_path / name, codec, options=options)) == (ALL, "")


def test_a_packed_bitstream_of_xvid(clips_dir):
    """Two frames in one chunk, and an empty one behind it: the frames that the decoder gives, one a tick."""
    path = clips_dir / "mpeg4_320x240.avi"
    with av.open(str(path)) as container:
        expected = [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]
    frames, facts = decode_clip(str(path), None, None, 25, 240)
    assert (len(frames), facts.source_notes) == (164, "")
    for shown, given in zip(frames, expected, strict=True):
        assert np.abs(shown.mean(axis=-1) - given.astype(float)).mean() < 12
    distances = [
        [np.abs(frames[place].mean(axis=-1) - expected[other].astype(float)).mean() for other in range(40)]
        for place in range(40)
    ]
    assert sum(int(np.argmin(row)) == place for place, row in enumerate(distances)) >= 36  # some pictures are equal


def dropped(path: Path, codec: str, options: dict[str, str]) -> Path:
    """An AVI in which every seventh slot is an empty chunk, which says that the picture stays."""
    pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    numbered(path.with_name("given.avi"), codec, options=options, pixels=pixels)
    with av.open(str(path.with_name("given.avi"))) as given, av.open(str(path), "w") as output:
        stream = output.add_stream_from_template(given.streams.video[0])
        packets = [packet for packet in given.demux(given.streams.video[0]) if packet.dts is not None]
        for index, packet in enumerate(packets):
            packet.stream, packet.time_base, packet.duration = stream, Fraction(1, 25), 1
            packet.pts = packet.dts = index + index // 6
            output.mux(packet)
    return path


@pytest.mark.parametrize(
    ("codec", "options"), [("mpeg4", {"bf": "2"}), ("mpeg4", {}), ("libx264", {"bf": "2"}), ("mjpeg", {})]
)
def test_skipped_frames_of_an_avi_leave_the_picture_on_screen(tmp_path, codec, options):
    path = dropped(tmp_path / "v.avi", codec, options)
    shown, notes = decode(path)
    assert shown[:35] == [tick - tick // 7 - (tick % 7 == 6) for tick in range(35)]
    assert notes == ""


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("v.ts", "libx264", {"bf": "2"}), ("v.ts", "mpeg2video", {"bf": "2"}), ("v.ts", "libx265", {}),
        ("v.vob", "mpeg2video", {"bf": "2"}), ("v.mpg", "mpeg2video", {}), ("v.mpg", "mpeg1video", {"bf": "2"}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("seconds", [0, 1000])
def test_the_clock_goes_on_where_parts_are_joined(tmp_path, name, codec, options, seconds):
    """The times of the second part begin anew, or later or earlier than those of the first end."""
    quiet = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    times = [[index + 25 * seconds for index in range(50)], list(range(50))]
    parts = [
        numbered(tmp_path / f"{place}_{name}", codec, 50, {**options, **quiet}, times=of, first=50 * place)
        for place, of in enumerate(times)
    ]
    for order in ((0, 1), (1, 0)):
        path = tmp_path / f"joined_{order[0]}_{name}"
        path.write_bytes(b"".join(parts[place].read_bytes() for place in order))
        shown, notes = decode(path)
        assert shown == [50 * place + index for place in order for index in range(50)]
        assert notes.removeprefix("times guessed, ") == "times begin anew (1)"
        assert decode(path, 2.2, 3.0)[0] == [50 * order[1] + index for index in range(5, 25)]


def test_clips_of_different_parts_have_different_digests(tmp_path):
    one, two = (numbered(tmp_path / f"{first}.ts", "mpeg2video", 50, first=first) for first in (0, 50))
    (tmp_path / "joined.ts").write_bytes(one.read_bytes() + two.read_bytes())
    digests = [
        decode_clip(str(tmp_path / "joined.ts"), start, start + 0.4, 25, 64)[1].packets_sha256 for start in (0.4, 2.4)
    ]
    assert digests[0] != digests[1]


def test_times_of_another_container_do_not_begin_anew(tmp_path):
    path = numbered(tmp_path / "v.mkv", "libx264", 20, {"bf": "0"}, times=[*range(10), *range(400, 410)])
    shown, notes = decode(path)
    assert (shown[:400], notes) == ([*range(10), *[9] * 390], "")
