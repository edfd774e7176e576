"""Every kind of odd file has its outcome: frames as a viewer sees them, or an error that says what is wrong."""

import json
import shutil
import socket
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from pipeline.ingest import clip_errors as errors
from pipeline.ingest.clip_errors import (
    BadTimes,
    BrokenTimestamps,
    ClipError,
    DecodeError,
    MoovMissing,
    NotAVideo,
    TooLarge,
    TooLong,
    TooShort,
    Truncated,
    UnknownCodec,
    Unreadable,
    error_named,
)
from pipeline.ingest.decode.child_process import decode_in_child
from pipeline.ingest.decode.timestamps import Clock
from tests.ingest.videos import make_video, remux, sound


def decode(path, start_s=None, end_s=None, **limits):
    """At 25 a second, short side 48."""
    return decode_in_child(str(path), start_s, end_s, 25, 48, timeout_s=30, **limits)


def cut(path: Path, share: float) -> Path:
    """The first part of a file."""
    content = path.read_bytes()
    short = path.with_name(f"cut_{share}_{path.name}")
    short.write_bytes(content[: int(share * len(content))])
    return short


def corner(frames) -> str:
    """Where the white quarter is."""
    height, width = frames.shape[1:3]
    where = {
        "upper left": frames[1, height // 4, width // 4, 0], "upper right": frames[1, height // 4, -width // 4, 0],
        "lower left": frames[1, -height // 4, width // 4, 0], "lower right": frames[1, -height // 4, -width // 4, 0],
    }  # fmt: skip
    return max(where, key=where.__getitem__)


@pytest.mark.parametrize(
    ("name", "codec", "pixels", "decoder"),
    [
        ("h264.mp4", "libx264", "yuv420p", "h264"),
        ("h264.mkv", "libx264", "yuv420p", "h264"),
        ("h264.ts", "libx264", "yuv420p", "h264"),
        ("h264.flv", "libx264", "yuv420p", "h264"),
        ("ten_bit.mp4", "libx264", "yuv420p10le", "h264"),
        ("hevc.mp4", "libx265", "yuv420p", "hevc"),
        ("hevc_ten_bit.mkv", "libx265", "yuv420p10le", "hevc"),
        ("vp8.webm", "libvpx", "yuv420p", "vp8"),
        ("vp9.webm", "libvpx-vp9", "yuv420p", "vp9"),
        ("av1.mkv", "libsvtav1", "yuv420p", "libdav1d"),
        ("av1.mp4", "libsvtav1", "yuv420p", "libdav1d"),
        ("mpeg4.avi", "mpeg4", "yuv420p", "mpeg4"),
        ("mpeg2.mpg", "mpeg2video", "yuv420p", "mpeg2video"),
        ("mjpeg.avi", "mjpeg", "yuvj420p", "mjpeg"),
        ("wmv2.wmv", "wmv2", "yuv420p", "wmv2"),
        ("prores.mov", "prores_ks", "yuv422p10le", "prores"),
        ("ffv1.mkv", "ffv1", "yuv420p", "ffv1"),
    ],
)
def test_every_codec_and_container_gives_its_frames(tmp_path, name, codec, pixels, decoder):
    frames, facts = decode(make_video(tmp_path / name, codec, pixels=pixels))
    assert frames.shape == (30, 48, 64, 3)
    levels = frames[:, 36, 48].mean(axis=-1)
    assert np.abs(levels - 5 * np.arange(30)).max() < 8  # in order, none twice
    assert (facts.source_codec, facts.source_notes) == (decoder, "")


def test_the_ending_of_a_name_says_nothing(tmp_path):
    made = make_video(tmp_path / "v.mp4")
    for name in ("v.txt", "v.m3u8", "v.avi", "v", "v.jpg"):
        shutil.copy(made, tmp_path / name)
        assert len(decode(tmp_path / name)[0]) == 30


def test_a_file_cut_short_says_so(tmp_path):
    index_last = make_video(tmp_path / "last.mp4")
    index_first = make_video(tmp_path / "first.mov", "mjpeg", pixels="yuvj420p", container={"movflags": "faststart"})
    with pytest.raises(MoovMissing, match=r"index \(moov\).*cut short.*libav: moov atom not found"):
        decode(cut(index_last, 0.4))
    with pytest.raises(Truncated, match="bytes, and its header promises"):
        decode(cut(index_last, 0.95))
    for share in (0.6, 0.8):
        with pytest.raises(Truncated):
            decode(cut(index_first, share))
    with pytest.raises(Truncated, match=r"ends at .* s; its header says 1\.20 s"):
        decode(cut(make_video(tmp_path / "v.mkv", "ffv1"), 0.4))
    with pytest.raises(Truncated, match="header promises"):
        decode(cut(make_video(tmp_path / "v.avi", "mjpeg", pixels="yuvj420p"), 0.5))


def test_a_clip_before_the_cut_is_a_good_clip(tmp_path):
    short = cut(make_video(tmp_path / "v.mkv", "ffv1", frames=100), 0.5)
    assert len(decode(short, 0.2, 1.0)[0]) == 20
    with pytest.raises(Truncated):
        decode(short, 2.5, 3.5)


def test_sound_is_no_video_and_a_cover_picture_is_none_either(tmp_path):
    with pytest.raises(NotAVideo, match="no video stream in it; it is wav"):
        decode(sound(tmp_path / "s.wav"))
    with pytest.raises(NotAVideo, match="no video stream in it but a cover picture; it is mp3"):
        decode(sound(tmp_path / "s.mp3", cover=True))


def test_a_cover_picture_is_not_taken_for_the_video(tmp_path):
    path = make_video(tmp_path / "v.mp4", cover=True)
    with av.open(str(path)) as container:
        assert {stream.codec_context.name for stream in container.streams.video} == {"h264", "mjpeg"}
    frames, facts = decode(path)
    assert (facts.source_codec, frames.shape) == ("h264", (30, 48, 64, 3))


def test_playlists_pictures_and_text_are_not_opened(clips_dir, tmp_path):
    inside = clips_dir / "h265_10bit.mp4"
    for name, content in {
        "list.m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{inside}\n#EXT-X-ENDLIST\n",
        "list.mp4": f"ffconcat version 1.0\nfile {inside}\n",
        "text.txt": "hello\n" * 100,
        "list.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n",
    }.items():
        (tmp_path / name).write_text(content)
        with pytest.raises(NotAVideo):
            decode(tmp_path / name)
    with pytest.raises(NotAVideo, match="playlists, pictures and text are not opened"):
        decode(tmp_path / "list.mp4")


def test_a_huge_resolution_is_refused_by_its_header(tmp_path):
    content = make_video(tmp_path / "v.avi", "rawvideo", frames=3).read_bytes()
    shape, claim = (np.array(sides, "<i4").tobytes() for sides in ((64, 48), (16000, 15000)))
    (tmp_path / "huge.avi").write_bytes(content.replace(b"(\0\0\0" + shape, b"(\0\0\0" + claim))
    with pytest.raises(TooLarge, match="16000x15000; 35651584 pixels a picture are the most"):
        decode(tmp_path / "huge.avi")


def test_an_extreme_aspect_does_not_blow_up_in_the_resize(tmp_path):
    path = make_video(tmp_path / "v.mkv", "ffv1", frames=3, size=(8192, 2))
    with pytest.raises(TooLarge, match="8192x2 with a shorter side of 256 makes pictures of 1048576x256; 64 MiB"):
        decode_in_child(str(path), None, None, 25, 256)


def test_a_child_that_needs_too_much_memory_says_too_large(clips_dir):
    code = "import pipeline.ingest.decode.child_process as child; child.MEMORY = 4 << 20; child._serve()"
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs, subprocess.Popen([sys.executable, "-c", code], stdin=theirs.fileno()) as process, ours:
        theirs.close()
        assert ours.recv(1 << 16)  # what is in force of the jail
        with Path("/dev/null").open("wb") as file:
            request = [64, str(clips_dir / "street_10s.mp4"), None, None, 25, 256, 300.0]
            socket.send_fds(ours, [json.dumps(request).encode()], [file.fileno()])
        reply = json.loads(ours.recv(1 << 16))
        ours.close()
        assert process.wait(10) == 0
    assert reply["error"] == "TooLarge", reply


def test_one_frame_is_too_short_however_long_it_stays(tmp_path):
    with pytest.raises(TooShort, match="1 frame in the source"):
        decode(make_video(tmp_path / "v.mp4", frames=1))
    assert len(decode(make_video(tmp_path / "two.mp4", frames=2))[0]) == 2


@pytest.mark.parametrize(
    ("degrees", "mirror", "shape", "where"),
    [
        (0, False, (48, 64), "upper left"),
        (90, False, (64, 48), "lower left"),  # counter-clockwise
        (180, False, (48, 64), "lower right"),
        (270, False, (64, 48), "upper right"),
        (0, True, (48, 64), "upper right"),
    ],
)
def test_a_rotated_video_comes_out_as_a_viewer_sees_it(tmp_path, degrees, mirror, shape, where):
    path = make_video(tmp_path / "v.mp4", prepare=lambda s: s.set_display_rotation(degrees, hflip=mirror))
    frames, facts = decode(path)
    assert (frames.shape[1:3], corner(frames)) == (shape, where)
    assert facts.source_notes == ("turned" if degrees or mirror else "")


def test_pixels_that_are_not_square_stay_as_they_are_and_are_noted(tmp_path):
    def wide(stream):
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)

    frames, facts = decode(make_video(tmp_path / "v.mp4", prepare=wide))
    assert (frames.shape[1:3], facts.source_notes) == ((48, 64), "pixel aspect 4:3")


def test_interlaced_frames_stay_whole_and_are_noted(tmp_path):
    options = {"flags": "+ildct+ilme", "x264-params": "interlaced=1:tff=1"}
    frames, facts = decode(make_video(tmp_path / "v.ts", options=options))
    assert (len(frames), facts.source_notes) == (30, "interlaced")


def test_missing_times_follow_the_rate(tmp_path):
    frames, facts = decode(make_video(tmp_path / "raw.h264", form="h264"))
    assert (len(frames), facts.source_notes) == (30, "times guessed")


def test_times_below_zero_count_from_the_first_frame():
    assert clocked([-400, -360, -320]) == [0, 0.04, 0.08]


def test_a_missing_presentation_time_is_taken_from_decoding_or_from_the_rate():
    assert clocked([None, None, None], [0, 40, 80]) == [0, 0.04, 0.08]
    assert clocked([0, None, None, 120]) == [0, 0.04, 0.08, 0.12]
    assert clocked([None, None, 1000, 1040]) == [0, 0.04, 0.08, 0.12]
    with pytest.raises(BrokenTimestamps, match="frame 1 has no time, and the header states no rate"):
        clocked([0, None], rate=None)


def test_presentation_times_that_go_wrong_more_often_than_decoding_times_are_not_trusted():
    assert clocked([0, 0, 0, 0, 0], [0, 40, 80, 120, 160])[2:] == [0.08, 0.12, 0.16]


def clocked(pts, dts=None, rate=Fraction(25)):
    """Seconds from the first frame, of frames with these times in milliseconds."""
    clock, seconds = Clock(rate, 300), []
    for index, time in enumerate(pts):
        frame = av.VideoFrame(16, 16, "yuv420p")
        frame.pts, frame.dts, frame.time_base = time, dts and dts[index], Fraction(1, 1000)
        seconds.append(float(clock.since_start(frame)))
    return seconds


def test_times_that_go_back_a_little_are_held(tmp_path):
    frames, facts = decode(remux(tmp_path / "v.mkv", [0, 40, 80, 120, 200, 160, 240, 280, 320, 360]))
    shown = [round(level / 20) for level in frames[:, 4, 4, 0].astype(float)]
    assert shown == [0, 1, 2, 3, 3, 5, 6, 7, 8, 9]
    assert facts.source_notes == "times guessed"


def test_times_that_jump_far_are_an_error(tmp_path):
    back = remux(tmp_path / "back.mkv", [4000, 4040, 4080, 4120, 4160, 0, 40, 80, 120, 160])
    with pytest.raises(BrokenTimestamps, match=r"times jump from 0\.16 s to -4 s at frame 5"):
        decode(back)
    ahead = [*range(15), *range(10**6, 10**6 + 15)]
    with pytest.raises(BrokenTimestamps, match=r"times jump from 0\.56 s to 40000 s at frame 15"):
        decode(make_video(tmp_path / "ahead.mkv", times=ahead, options={"bf": "0"}))


def test_a_still_picture_within_a_clip_stays_on_screen(tmp_path):
    times = [*range(10), *range(100, 110)]
    frames, _ = decode(make_video(tmp_path / "v.mkv", frames=20, times=times, options={"bf": "0"}))
    assert len(frames) >= 110
    assert np.ptp(frames[9:100, 40, 60, 0]) == 0


def test_a_picture_that_changes_its_shape_part_way_is_an_error_its_size_is_not(tmp_path):
    def stream(width, height):
        path = tmp_path / f"{width}.m2v"
        return make_video(path, "mpeg2video", size=(width, height), form="mpeg2video").read_bytes()

    (tmp_path / "shape.m2v").write_bytes(stream(64, 48) + stream(96, 48))
    with pytest.raises(DecodeError, match="changes its shape part-way, from 64x48 to 96x48"):
        decode(tmp_path / "shape.m2v")
    (tmp_path / "size.m2v").write_bytes(stream(64, 48) + stream(128, 96))
    assert decode(tmp_path / "size.m2v")[0].shape == (60, 48, 64, 3)


def test_a_codec_that_is_not_there_is_for_the_operator(tmp_path):
    content = make_video(tmp_path / "v.mp4").read_bytes()
    (tmp_path / "v.mp4").write_bytes(content.replace(b"avc1", b"zzz9"))
    with pytest.raises(UnknownCodec, match="no decoder"):
        decode(tmp_path / "v.mp4")


def test_times_of_the_catalog_that_make_no_sense(tmp_path):
    path = make_video(tmp_path / "v.mp4")
    for start, end in ((-1.0, 1.0), (float("nan"), 1.0), (0.0, float("inf")), (0.5, 0.5)):
        with pytest.raises(BadTimes):
            decode(path, start, end)
    with pytest.raises(TooLong, match="more than 2 s"):
        decode(path, 0.0, 3.0, max_seconds=2)


def test_a_file_that_may_not_be_read_says_why(tmp_path):
    path = make_video(tmp_path / "v.mp4")
    path.chmod(0)
    try:
        path.read_bytes()
    except PermissionError:
        with pytest.raises(Unreadable, match="Permission denied"):
            decode(path)
    else:
        pytest.skip("this user may read everything")


def test_every_error_says_what_may_come_of_another_try():
    classes = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, ClipError)]
    verdicts = {kind.__name__: kind.verdict for kind in classes}
    assert verdicts == {
        "ClipError": "permanent", "FileNotFound": "operator", "ZeroByte": "retryable", "Unreadable": "operator",
        "NotAVideo": "permanent", "MoovMissing": "retryable", "Truncated": "retryable", "UnknownCodec": "operator",
        "Encrypted": "operator",
        "DecodeError": "permanent", "BrokenTimestamps": "permanent", "DecodeTimeout": "retryable",
        "DecodeCrash": "permanent", "WorkerKilled": "retryable", "ChildError": "retryable",
        "BadTimes": "operator", "TooLong": "operator", "TooLarge": "permanent",
        "TooShort": "permanent", "EncodeError": "permanent", "BadRow": "operator", "DuplicateClip": "permanent",
        "VideoGone": "permanent", "LookupFailed": "retryable",
        "Network": "retryable", "RateLimited": "retryable", "Forbidden": "operator", "ServerError": "retryable",
        "SourceChanged": "retryable", "TarMemberMissing": "operator", "ArchiveBroken": "retryable",
        "UnsafeMember": "permanent", "VideoPrivate": "permanent", "CopyrightClaim": "permanent",
        "TermsViolation": "permanent", "AccountTerminated": "permanent", "CountryBlocked": "operator",
        "AgeRestricted": "operator", "SignInNeeded": "operator", "LiveOrPremiere": "retryable",
        "FormatUnavailable": "operator", "BotCheck": "retryable", "ExtractorOutdated": "operator",
    }  # fmt: skip
    assert all(error_named(kind.__name__) is kind for kind in classes)
    assert error_named("Path") is ClipError
