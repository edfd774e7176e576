"""Is this stream whole? Whole files of every kind are taken as they are; what is cut or damaged is refused or noted."""

from pathlib import Path

import av
import numpy as np
import pytest

from pipeline.ingest.clip_errors import DecodeError, MoovMissing, TooLong, Truncated
from pipeline.ingest.decode.avi import chunks
from pipeline.ingest.decode.child_process import decode_in_child
from pipeline.ingest.decode.clip import decode_clip
from pipeline.ingest.decode.transport_stream import packets_broken_at
from tests.ingest.numbered import numbered, numbers

GROUPS = {"g": "12"}
ALL = list(range(100))


def decode(path: Path, start_s=None, end_s=None, **limits) -> tuple[list[int], str]:
    """The number of the frame on screen at each tick, 25 a second, and the notes."""
    frames, facts = decode_clip(str(path), start_s, end_s, 25, 64, **limits)
    return numbers(frames), facts.source_notes


def changed(path: Path, how: str, start: float = 0.4, end: float = 0.6) -> Path:
    """A file of which a part is missing or overwritten, from and to a share of its length."""
    content = path.read_bytes()
    first, last = int(start * len(content)), int(end * len(content))
    middle = {"lost": b"", "zeros": bytes(last - first), "noise": np.random.default_rng(0).bytes(last - first)}[how]
    result = path.with_name(f"{how}_{start}_{end}_{path.name}")
    result.write_bytes(content[:first] + middle + content[last:])
    return result


def cut(path: Path, share: float) -> Path:
    """The first part of a file."""
    return changed(path, "lost", share, 1.0)


KINDS = {
    "sound.avi": ("mpeg4", {"bf": "2", **GROUPS}, {}, (0, 4.0)),
    "h264.avi": ("libx264", {"bf": "2", **GROUPS}, {}, None),
    "jpegs.avi": ("mjpeg", {}, {}, None),
    "sound.mkv": ("libx264", GROUPS, {}, (0, 4.0)),
    "mpeg4.mkv": ("mpeg4", {"bf": "2", **GROUPS}, {}, None),
    "vp8.webm": ("libvpx", {"deadline": "realtime", "cpu-used": "8", **GROUPS}, {}, None),
    "vp9.webm": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8", **GROUPS}, {}, None),
    "live.mkv": ("libx264", GROUPS, {"live": "1"}, None),
    "sound.flv": ("libx264", GROUPS, {}, (0, 4.0)),
    "first.mp4": ("libx264", GROUPS, {"movflags": "faststart"}, (0, 4.0)),
}
HOLES = {
    **KINDS,
    "sound.ts": ("libx264", GROUPS, {}, (0, 4.0)),
    "mpeg2.ts": ("mpeg2video", {"bf": "2", **GROUPS}, {}, None),
    "index.mp4": ("mpeg4", GROUPS, {}, None),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("whole")
    return {
        name: numbered(
            folder / name, codec, options=options, container=container, sound=sound,
            pixels="yuvj420p" if codec == "mjpeg" else "yuv420p",
        )
        for name, (codec, options, container, sound) in HOLES.items()
    }  # fmt: skip


@pytest.mark.parametrize("name", HOLES)
def test_a_whole_file_is_taken_without_a_note(made, name):
    assert decode(made[name]) == (ALL, "")


@pytest.mark.parametrize("share", [0.2, 0.45, 0.8])
@pytest.mark.parametrize("name", KINDS)
def test_a_file_that_was_cut_is_refused_and_may_be_tried_again(made, name, share):
    with pytest.raises(Truncated):
        decode(cut(made[name], share))


@pytest.mark.parametrize("how", ["zeros", "noise", "lost"])
@pytest.mark.parametrize("name", HOLES)
def test_damage_in_the_middle_is_no_still_picture(made, name, how):
    with pytest.raises((DecodeError, Truncated, MoovMissing)):
        decode(changed(made[name], how))


@pytest.mark.parametrize("name", ["sound.avi", "h264.avi", "sound.mkv", "vp9.webm", "sound.flv"])
def test_a_file_whose_end_was_never_written_is_refused(made, name):
    """The length is that of the whole file, as some programs reserve it before they fetch."""
    with pytest.raises((DecodeError, Truncated)):
        decode(changed(made[name], "zeros", 0.6, 1.0))


@pytest.mark.parametrize("name", ["sound.avi", "h264.avi"])
def test_an_avi_that_only_lacks_its_index_is_a_good_clip_with_a_note(made, name):
    content = made[name].read_bytes()
    short = made[name].with_name(f"no_index_{name}")
    short.write_bytes(content[: content.rindex(b"idx1")])
    assert decode(short) == (ALL, "cut after its last frame")


@pytest.mark.parametrize("name", ["sound.avi", "h264.avi", "mpeg2.ts"])
def test_a_frame_that_is_lost_is_counted(made, name):
    path = made[name]
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(container.streams.video[0]) if packet.size]
    content, first, last = bytearray(path.read_bytes()), packets[51].pos, packets[52].pos
    if path.suffix == ".avi":
        first, last = first - 8, first  # the head of its chunk
    content[first:last] = bytes(last - first)
    hole = path.with_name(f"one_lost_{name}")
    hole.write_bytes(content)
    shown, notes = decode(hole)
    assert shown[:45] == ALL[:45]
    assert "1 lost frames" in notes or "damaged frames" in notes
    assert "damaged container" in notes


def test_a_clip_before_the_damage_is_good_and_one_behind_it_is_not(made):
    for name in ("sound.avi", "h264.avi"):
        hole = changed(made[name], "zeros")
        assert decode(hole, 0.2, 0.6) == (ALL[5:15], "")
        with pytest.raises(DecodeError, match="chunks are broken at byte"):
            decode(hole, 2.2, 2.6)  # its frames would be those of a later time
    for name in ("sound.mkv", "sound.ts", "sound.flv"):
        hole = changed(made[name], "zeros")
        assert decode(hole, 0.2, 0.8) == (ALL[5:20], "")
        assert decode(hole, 3.2, 3.8)[0] == ALL[80:95]


@pytest.mark.parametrize(
    ("suffix", "codec", "options"),
    [
        (".mkv", "libx264", {}), (".mkv", "mpeg4", {}), (".webm", "libvpx-vp9", {"deadline": "realtime"}),
        (".webm", "libvpx", {"deadline": "realtime"}), (".flv", "libx264", {}), (".flv", "flv", {}),
        (".mp4", "libx264", {}), (".avi", "mpeg4", {}), (".ts", "libx264", {}), (".mpg", "mpeg2video", {}),
    ],
)  # fmt: skip
def test_sound_may_be_longer_or_shorter_or_begin_later(tmp_path, suffix, codec, options):
    for sound in ((0, 9.0), (0, 1.0), (2.0, 7.0)):
        path = numbered(tmp_path / f"v{suffix}", codec, options=options, sound=sound)
        assert decode(path) == (ALL, ""), sound


@pytest.mark.parametrize(
    ("suffix", "codec"), [(".mkv", "libx264"), (".mp4", "libx264"), (".ts", "libx264"), (".avi", "mpeg4")]
)
def test_the_last_frames_are_there_where_the_video_is_not_the_first_stream(tmp_path, suffix, codec):
    """The decoder holds frames back for B-frames until it is flushed."""
    path = numbered(tmp_path / f"v{suffix}", codec, options={"bf": "2"}, sound=(0, 4.0), sound_first=True)
    assert decode(path) == (ALL, "")


@pytest.mark.parametrize(
    ("name", "codec"), [("v.mkv", "libx264"), ("v.webm", "libvpx-vp9"), ("v.flv", "libx264"), ("v.mp4", "libx264")]
)
def test_the_first_frame_may_come_late(tmp_path, name, codec):
    late = range(125, 150)
    path = numbered(tmp_path / name, codec, 25, {"deadline": "realtime"} if "vp9" in codec else {}, times=list(late))
    assert decode(path) == (ALL[:25], "")


def test_subtitles_may_be_longer(tmp_path):
    numbered(tmp_path / "v.mkv", options={"bf": "0"})
    (tmp_path / "words.srt").write_text("1\n00:00:03,000 --> 00:00:12,000\nstill talking\n")
    with (
        av.open(str(tmp_path / "v.mkv")) as given,
        av.open(str(tmp_path / "words.srt")) as words,
        av.open(str(tmp_path / "subtitled.mkv"), "w") as output,
    ):
        sources = (given.streams.video[0], words.streams.subtitles[0])
        for source, stream in [(source, output.add_stream_from_template(source)) for source in sources]:
            for packet in source.container.demux(source):
                if packet.dts is not None:
                    packet.stream = stream
                    output.mux(packet)
    with av.open(str(tmp_path / "subtitled.mkv")) as container:
        assert container.duration == 12_000_000
    assert decode(tmp_path / "subtitled.mkv") == (ALL, "")


def retagged(path: Path) -> Path:
    """A Matroska without the tags that state each stream's own duration, as other programs write it."""
    other = path.with_name(f"untagged_{path.name}")
    other.write_bytes(path.read_bytes().replace(b"DURATION", b"NOTATION"))
    return other


def test_matroska_that_does_not_state_the_duration_of_its_video(tmp_path):
    path = retagged(numbered(tmp_path / "v.mkv", options=GROUPS, sound=(0, 9.0)))
    assert decode(path) == (ALL, "")
    with pytest.raises(Truncated):
        decode(cut(path, 0.3))
    for how in ("zeros", "noise"):
        with pytest.raises(DecodeError):
            decode(changed(path, how, 0.1, 0.3))


def stills(folder: Path) -> dict[str, Path]:
    """Videos in which a picture stays for 3.6 s."""
    times = [*range(10), *range(100, 110)]
    return {
        name: numbered(folder / name, codec, 20, {"bf": "0"} if codec == "libx264" else {}, options, times=times)
        for name, codec, options in (
            ("v.mkv", "libx264", {}), ("live.mkv", "libx264", {"live": "1"}), ("v.mp4", "libx264", {}),
            ("v.ts", "libx264", {}), ("v.flv", "libx264", {}), ("v.avi", "mpeg4", {}), ("v.nut", "ffv1", {}),
        )
    }  # fmt: skip


def test_a_true_still_picture_stays_on_screen_without_a_note(tmp_path):
    for name, path in stills(tmp_path).items():
        shown, notes = decode(path)
        assert (shown[:100], shown[100:110], notes) == ([*range(10), *[9] * 90], [*range(10, 20)], ""), name


def test_live_matroska_states_no_length_and_is_whole_if_it_ends_with_an_element(made):
    with av.open(str(made["live.mkv"])) as container:
        assert container.duration is None
    assert decode(made["live.mkv"]) == (ALL, "")
    with pytest.raises(Truncated, match="ends within an element"):
        decode(cut(made["live.mkv"], 0.97))


def test_fragments_of_mp4(tmp_path):
    path = numbered(tmp_path / "v.mp4", options=GROUPS, container={"movflags": "frag_keyframe+empty_moov"})
    assert decode(path) == (ALL, "")
    with pytest.raises(Truncated):
        decode(cut(path, 0.5))


def without_index(path: Path) -> Path:
    """An OpenDML AVI as capture programs leave it: a second RIFF, no idx1, and lengths that fit."""
    content = path.read_bytes()
    index = content.index(b"idx1")
    movi = content.index(b"movi") - 8
    half, place = None, movi + 12
    while place < index:
        half = half or (place if place > index // 2 else None)
        length = int.from_bytes(content[place + 4 : place + 8], "little")
        place += 8 + length + length % 2
    first = bytearray(content[:half])
    first[4:8] = (len(first) - 8).to_bytes(4, "little")
    first[movi + 4 : movi + 8] = (len(first) - movi - 8).to_bytes(4, "little")
    rest = b"movi" + content[half:index]
    second = b"AVIXLIST" + len(rest).to_bytes(4, "little") + rest
    other = path.with_name(f"opendml_{path.name}")
    other.write_bytes(bytes(first) + b"RIFF" + len(second).to_bytes(4, "little") + second)
    return other


@pytest.mark.parametrize("name", ["sound.avi", "h264.avi", "jpegs.avi"])
def test_an_avi_of_two_riffs_without_an_index(made, name):
    path = without_index(made[name])
    assert (chunks(str(path)).frames[0], chunks(str(path)).broken_at) == (100, None)
    assert decode(path) == (ALL, "")
    for share in (0.3, 0.7):
        with pytest.raises(Truncated):
            decode(cut(path, share))
    with pytest.raises((DecodeError, Truncated)):
        decode(changed(path, "zeros"))


def test_an_avi_that_was_never_finished_states_no_length(made):
    content = bytearray(without_index(made["jpegs.avi"]).read_bytes())
    movi, stream = content.index(b"movi"), content.index(b"strh")
    for place in (4, movi - 4, stream + 40, content.index(b"RIFF", 12) + 4, content.rindex(b"movi") - 4):
        content[place : place + 4] = bytes(4)
    path = made["jpegs.avi"].with_name("unfinished.avi")
    path.write_bytes(content)
    shown, _ = decode(path)
    assert shown[:50] == ALL[:50]


def test_packets_of_a_transport_stream(made, tmp_path):
    content = made["sound.ts"].read_bytes()
    for name, other in {
        "whole": content, "inside": content[100:], "blu_ray": b"".join(
            bytes(4) + content[place : place + 188] for place in range(0, len(content), 188)
        ),
    }.items():  # fmt: skip
        (tmp_path / name).write_bytes(other)
        assert packets_broken_at(str(tmp_path / name)) is None, name
    (tmp_path / "cut").write_bytes(content[:-50])
    assert packets_broken_at(str(tmp_path / "cut")) == len(content) - 188
    (tmp_path / "hole").write_bytes(content[:1880] + bytes(188) + content[2068:])
    assert packets_broken_at(str(tmp_path / "hole")) == 1880
    (tmp_path / "text").write_bytes(b"no packets at all" * 100)
    assert packets_broken_at(str(tmp_path / "text")) == 0


def test_a_transport_stream_that_was_cut_has_a_note(made):
    shown, notes = decode(cut(made["sound.ts"], 0.6))
    assert shown[:50] == ALL[:50]
    assert "damaged container" in notes


def test_a_transport_stream_may_begin_between_key_frames(made):
    content = made["sound.ts"].read_bytes()
    path = made["sound.ts"].with_name("begins_late.ts")
    path.write_bytes(content[188 * 300 :])
    shown, notes = decode(path)
    assert shown == ALL[shown[0] :]
    assert notes in ("", "17 undecodable packets before the first frame") or "before the first frame" in notes


def test_what_libav_says_is_kept_although_another_file_was_told_the_same(made):
    hole = changed(made["sound.mkv"], "zeros")
    for _ in range(2):
        with pytest.raises(DecodeError, match="libav: 0x00 at pos"):
            decode(hole)


@pytest.mark.parametrize(
    ("name", "codec"), [("v.mp4", "libx264"), ("v.mkv", "libx264"), ("v.avi", "mpeg4"), ("v.flv", "libx264")]
)
def test_a_film_that_is_too_long_is_refused_by_its_header(tmp_path, name, codec):
    """Behind the first frames is nothing that decodes: so whoever decodes to find the end does not get there."""
    path = numbered(tmp_path / name, codec, 300, GROUPS)
    content = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        places = [packet.pos for packet in container.demux(container.streams.video[0]) if packet.pos]
    content[places[4] + 20 : places[5] - 20] = bytes(places[5] - places[4] - 40)
    path.write_bytes(content)
    with pytest.raises(TooLong, match="more than 5 s"):
        decode(path, max_seconds=5.0)
    with pytest.raises(TooLong, match="more than 5 s"):
        decode(path, 2.0, max_seconds=5.0)


@pytest.mark.parametrize("name", ["v.mkv", "v.flv"])
def test_a_film_is_not_too_long_because_its_sound_is(tmp_path, name):
    path = numbered(tmp_path / name, options=GROUPS, sound=(0, 12.0))
    assert decode(path, max_seconds=5.0) == (ALL, "")
    assert decode(retagged(path), max_seconds=5.0) == (ALL, "")


def test_a_clip_that_ends_beyond_its_video_is_shorter_and_has_a_note(made):
    assert decode(made["sound.mkv"], 3.0, 9.0) == (ALL[75:], "ends before the clip (25 of 150 frames)")
    assert decode(made["first.mp4"], 3.0, 9.0) == (ALL[75:], "ends before the clip (25 of 150 frames)")
    assert decode(made["first.mp4"], 3.0, 4.04) == (ALL[75:], "")  # a frame is the accuracy of lists
    with pytest.raises(Truncated):
        decode(cut(made["sound.mkv"], 0.9), 3.0, 9.0)


def test_the_last_frame_stays_no_longer_than_a_clip_may_be(tmp_path):
    path = numbered(tmp_path / "v.mkv", "libx264", 3, {"bf": "0"}, times=[0, 1, 100])
    shown, _ = decode(path, max_seconds=4.4)
    assert len(shown) == 110


@pytest.mark.parametrize(("name", "codec", "pixels"), [("v.wmv", "wmv2", "yuv420p"), ("v.gif", "gif", "rgb8")])
def test_windows_media_and_gif_that_were_cut(tmp_path, name, codec, pixels):
    path = numbered(tmp_path / name, codec, pixels=pixels)
    assert decode(path) == (ALL, "")
    for share in (0.3, 0.8):
        with pytest.raises(Truncated):
            decode(cut(path, share))


def test_a_length_that_asks_for_too_much_memory_is_damage(tmp_path):
    path = numbered(tmp_path / "v.ivf", "libvpx", options={"deadline": "realtime"})
    path = changed(path, "zeros")
    with pytest.raises(DecodeError):
        decode_in_child(str(path), None, None, 25, 64)
