"""Files that are no plain video: encrypted, broken in their header, a series of JPEGs, with nameless side data."""

import shutil
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from pipeline.ingest.clip_errors import ClipError, DecodeError, Encrypted, NotAVideo
from pipeline.ingest.decode.clip import decode_clip
from pipeline.ingest.decode.encryption import encryption
from tests.ingest.numbered import numbered, numbers

KEYS = {
    "encryption_scheme": "cenc-aes-ctr",
    "encryption_key": "76a6c65c5ea762046bd749a2e632ccbb",
    "encryption_kid": "a7e61c373e219033c21091fa607bf3b8",
}


def decode(path: Path) -> tuple[list[int], str]:
    """The number of the frame on screen at each tick, 25 a second, and the notes."""
    frames, facts = decode_clip(str(path), None, None, 25, 64)
    return numbers(frames), facts.source_notes


@pytest.mark.parametrize("options", [{}, {"movflags": "frag_keyframe+empty_moov"}, {"movflags": "faststart"}])
def test_an_encrypted_mp4_says_so(tmp_path, options):
    path = numbered(tmp_path / "v.mp4", container={**KEYS, **options})
    with pytest.raises(Encrypted, match="decrypt it first"):
        decode(path)


def scrambled(path: Path, whole: bytes) -> Path:
    """A transport stream whose packets of video are scrambled."""
    content = bytearray(whole)
    noise = np.random.default_rng(0)
    for place in range(0, len(content), 188):
        if (content[place + 1] & 0x1F) << 8 | content[place + 2] == 0x100:
            begins = place + 4 + (content[place + 4] + 1 if content[place + 3] & 0x20 else 0)
            content[place + 3] |= 0x80
            content[begins : place + 188] = noise.bytes(place + 188 - begins)
    path.write_bytes(content)
    return path


def test_a_scrambled_transport_stream_says_so(tmp_path):
    whole = numbered(tmp_path / "v.ts").read_bytes()
    with pytest.raises(Encrypted, match="scrambled transport stream"):
        decode(scrambled(tmp_path / "scrambled.ts", whole))
    assert encryption(str(tmp_path / "v.ts")) is None


def test_a_scrambled_dvd_says_so(tmp_path):
    content = bytearray(numbered(tmp_path / "v.vob", "mpeg2video").read_bytes())
    place, noise = content.find(b"\x00\x00\x01\xe0"), np.random.default_rng(0)
    while place >= 0:
        content[place + 6] |= 0x30
        following = content.find(b"\x00\x00\x01", place + 4)
        begins = place + 9 + content[place + 8]
        end = min(begins + 1500, following if following > begins else len(content))
        content[begins:end] = noise.bytes(max(0, end - begins))
        place = content.find(b"\x00\x00\x01\xe0", place + 4)
    (tmp_path / "css.vob").write_bytes(content)
    with pytest.raises(Encrypted, match="CSS"):
        decode(tmp_path / "css.vob")
    assert encryption(str(tmp_path / "v.vob")) is None


def test_encrypted_matroska_and_windows_media_say_so(tmp_path):
    path = numbered(tmp_path / "v.mkv")
    content = path.read_bytes()
    track = content.index(b"\x86\x8fV_MPEG4/ISO/AVC")
    encodings = b"\x6d\x80\x8a\x62\x40\x87\x50\x35\x84\x47\xe1\x81\x05"
    (tmp_path / "encrypted.mkv").write_bytes(content[:track] + encodings + content[track:])
    assert encryption(str(tmp_path / "encrypted.mkv")) == "an encrypted Matroska file (ContentEncryption)"
    assert encryption(str(path)) is None
    windows = numbered(tmp_path / "v.wmv", "wmv2")
    assert encryption(str(windows)) is None
    (tmp_path / "drm.wmv").write_bytes(
        windows.read_bytes()[:30] + bytes.fromhex("fbb3112223bdd211b4b700a0c955fc6e") + windows.read_bytes()[30:]
    )
    assert encryption(str(tmp_path / "drm.wmv")) == "an encrypted ASF file"


def test_no_plain_file_is_called_encrypted(clips_dir):
    assert [path.name for path in sorted(clips_dir.iterdir()) if encryption(str(path))] == []


def test_a_header_that_asks_for_too_much_memory_is_damaged(tmp_path):
    """A table of MP4 with two thousand million entries, in a file of some kilobytes."""
    content = bytearray(numbered(tmp_path / "v.mp4", frames=20).read_bytes())
    refused = []
    for table in (b"stsz", b"stts", b"ctts", b"stsc", b"stco", b"stss", b"elst"):
        place = content.find(table)
        if place < 0:
            continue
        broken = bytearray(content)
        count = place + (12 if table == b"stsz" else 8)
        broken[count : count + 4] = (0x7FFFFFF0).to_bytes(4, "big")
        (tmp_path / "broken.mp4").write_bytes(broken)
        try:
            decode(tmp_path / "broken.mp4")
        except ClipError as error:
            refused.append(type(error).__name__)
    assert refused
    assert "TooLarge" not in refused


def test_a_series_of_jpegs_is_a_video_and_one_jpeg_is_none(tmp_path):
    path = numbered(tmp_path / "v.avi", "mjpeg", 20, pixels="yuvj420p")
    with av.open(str(path)) as container:
        pictures = [bytes(packet) for packet in container.demux(container.streams.video[0]) if packet.size]
    for name, between in (("v.mjpeg", b""), ("padded.mjpg", bytes(3)), ("named.mp4", b"")):
        (tmp_path / name).write_bytes(between.join(pictures))
        assert decode(tmp_path / name)[0] == list(range(20))
    (tmp_path / "one.mjpeg").write_bytes(pictures[0])
    with pytest.raises(NotAVideo, match="pictures"):
        decode(tmp_path / "one.mjpeg")
    (tmp_path / "within.mjpeg").write_bytes(path.read_bytes()[-len(pictures[0]) * 9 :])
    with pytest.raises(NotAVideo):
        decode(tmp_path / "within.mjpeg")


def with_exif(path: Path, orientation: int, container: str) -> Path:
    """Motion JPEG whose pictures carry EXIF, as cameras write it."""
    tiff = b"II*\0\x08\0\0\0" + struct.pack("<H", 1) + struct.pack("<HHII", 0x0112, 3, 1, orientation) + bytes(4)
    exif = b"Exif\0\0" + tiff
    segment = b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif
    source = numbered(path.with_name("plain.avi"), "mjpeg", 20, pixels="yuvj420p")
    with av.open(str(source)) as given, av.open(str(path), "w", format=container) as output:
        stream = output.add_stream_from_template(given.streams.video[0])
        for packet in given.demux(given.streams.video[0]):
            if packet.size:
                content = bytes(packet)
                other = av.Packet(content[:2] + segment + content[2:])
                other.stream, other.pts, other.dts, other.time_base = stream, packet.pts, packet.dts, packet.time_base
                other.is_keyframe, other.duration = True, packet.duration
                output.mux(other)
    return path


@pytest.mark.parametrize("container", ["avi", "mov", "matroska"])
def test_side_data_that_pyav_cannot_name_does_no_harm(tmp_path, container):
    path = with_exif(tmp_path / "v", 1, container)
    assert decode(path) == (list(range(20)), "")


def test_a_picture_is_turned_by_its_exif(tmp_path):
    plain, _ = decode_clip(str(with_exif(tmp_path / "plain", 1, "avi")), None, None, 25, 64)
    for orientation, turn in ((3, (2, False)), (2, (0, True)), (6, (3, False))):
        path = with_exif(tmp_path / f"turned_{orientation}", orientation, "avi")
        frames, facts = decode_clip(str(path), None, None, 25, 64)
        quarter, mirrored = turn
        expected = np.rot90(plain[:, :, ::-1] if mirrored else plain, quarter, axes=(1, 2))
        assert facts.source_notes == "turned"
        assert np.abs(frames.astype(int) - expected).mean() < 3, orientation


def test_the_name_of_a_file_says_nothing(tmp_path):
    shutil.copy(numbered(tmp_path / "v.ts", "mpeg2video", 20), tmp_path / "v.mjpeg")
    assert decode(tmp_path / "v.mjpeg")[0] == list(range(20))


def test_transparency_and_high_dynamic_range_are_noted(tmp_path):
    def video(name, codec, pixels, fill, prepare=lambda stream: None):
        with av.open(str(tmp_path / name), "w") as output:
            stream = output.add_stream(codec, rate=25)
            stream.width, stream.height, stream.pix_fmt = 64, 48, pixels
            prepare(stream.codec_context)
            for index in range(5):
                array = np.full((48, 64, 4), 200, np.uint8)
                array[..., 3], array[8:16, 8:16, 3] = 255, fill
                frame = av.VideoFrame.from_ndarray(array, format="rgba").reformat(format=pixels)
                frame.pts, frame.time_base = index, Fraction(1, 25)
                output.mux(stream.encode(frame))
            output.mux(stream.encode(None))
        return decode_clip(str(tmp_path / name), None, None, 25, 48)[1].source_notes

    def hdr(transfer):
        def prepare(codec):
            codec.color_trc, codec.color_primaries, codec.colorspace = transfer, 9, 9
            codec.options = {"x265-params": "log-level=none"}

        return prepare

    assert video("clear.mov", "png", "rgba", 0) == "alpha"
    assert video("opaque.mov", "png", "rgba", 255) == ""
    assert video("clear.mkv", "ffv1", "yuva420p", 100) == "alpha"
    assert video("prores.mov", "prores_ks", "yuva444p10le", 0) == "alpha"
    assert video("pq.mp4", "libx265", "yuv420p10le", 255, hdr(16)) == "HDR (PQ)"
    assert video("hlg.mkv", "libx265", "yuv420p10le", 255, hdr(18)) == "HDR (HLG)"
    assert video("ten_bit.mkv", "libx265", "yuv420p10le", 255, hdr(1)) == ""


@pytest.mark.parametrize(
    ("aspect", "note"),
    [
        (Fraction(64, 51), "pixel aspect 64:51"), (Fraction(16, 15), "pixel aspect 16:15"),
        (Fraction(255, 256), ""), (Fraction(1215, 1216), ""), (Fraction(171, 170), ""), (Fraction(1), ""),
        (Fraction(10, 11), "pixel aspect 10:11"),
    ],
)  # fmt: skip
def test_a_pixel_aspect_is_noted_where_it_can_be_seen(tmp_path, aspect, note):
    def prepared(path):
        with av.open(str(path), "w") as output:
            stream = output.add_stream("libx264", rate=25)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            stream.codec_context.sample_aspect_ratio = aspect
            for index in range(3):
                frame = av.VideoFrame(64, 48, "yuv420p")
                frame.pts, frame.time_base = index, Fraction(1, 25)
                output.mux(stream.encode(frame))
            output.mux(stream.encode(None))
        return path

    assert decode_clip(str(prepared(tmp_path / "v.mp4")), None, None, 25, 48)[1].source_notes == note


def test_a_broken_video_is_not_called_encrypted(tmp_path):
    content = bytearray(numbered(tmp_path / "v.mp4").read_bytes())
    place = content.index(b"mdat")
    content[place + 4 : place + 4000] = np.random.default_rng(0).bytes(3996)
    (tmp_path / "v.mp4").write_bytes(content)
    with pytest.raises(DecodeError):
        decode(tmp_path / "v.mp4")


@pytest.mark.parametrize("name", ["v.mp4", "v.avi"])
def test_a_title_that_is_not_in_unicode_costs_no_video(tmp_path, name):
    path = numbered(tmp_path / name)
    titled = tmp_path / f"titled_{name}"
    with av.open(str(path)) as source, av.open(str(titled), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        target.metadata["title"] = "cafeteria"
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    content = titled.read_bytes()
    assert b"cafeteria" in content
    titled.write_bytes(content.replace(b"cafeteria", "cafétéria".encode("latin-1")))
    assert decode(titled) == decode(path)
