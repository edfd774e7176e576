"""Stored streams are MP4 files of H.264 as ingest writes them; nothing else is opened, and no large one is decoded."""

import resource
import socket
import struct

import numpy as np
import pytest

from pipeline.shards import CodecError, decode_flow, decode_planes, decode_video, encode_flow, encode_video
from pipeline.shards.codec import Area, measure
from pipeline.shards.limits import MAX_FRAMES
from pipeline.shards.mp4 import check_mp4
from tests.shards import hostile

READERS = {
    "video": lambda content: decode_video(content, np.arange(2)),
    "planes": lambda content: decode_planes(content, np.arange(2), Area(0, 0, 8, 8)),
    "flow": lambda content: decode_flow(content, np.arange(2)),
    "measure": measure,
}
every_reader = pytest.mark.parametrize("read", READERS.values(), ids=READERS)


@pytest.fixture(scope="module")
def video() -> bytes:
    frames = np.random.default_rng(0).integers(0, 256, (12, 48, 64, 3), dtype=np.uint8)
    return encode_video(frames, 25, 20, 6)


@pytest.fixture(scope="module")
def flow() -> bytes:
    return encode_flow(np.random.default_rng(0).integers(0, 256, (12, 24, 32, 2), dtype=np.uint8), 25, 6)


@pytest.fixture(scope="module")
def picture() -> bytes:
    return hostile.huge_png()


def test_what_ingest_writes_passes(video, flow):
    check_mp4(video)
    check_mp4(flow)
    check_mp4(encode_video(np.zeros((1, 2, 2, 3), np.uint8), 1, 20, 1, "yuv444p"))


# ---------------------------------------------------------------- other formats, codecs and protocols
@every_reader
def test_a_list_of_other_files_opens_none(read, video, tmp_path):
    """libav, asked to guess the format, reads such a list and decodes the file that it names."""
    (tmp_path / "secret.mp4").write_bytes(video)
    with pytest.raises(CodecError, match="not the MP4 that ingest writes"):
        read(hostile.ffconcat(tmp_path / "secret.mp4"))


@every_reader
@pytest.mark.parametrize("content", [hostile.sdp(), b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/x.ts\n"])
def test_a_list_of_addresses_reaches_no_network(read, content, monkeypatch):
    monkeypatch.setattr(socket.socket, "connect", lambda *given: pytest.fail(f"connects to {given}"))
    with pytest.raises(CodecError, match="not the MP4 that ingest writes"):
        read(content)


@every_reader
def test_a_huge_picture_is_refused_before_it_is_decoded(read, picture):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CodecError, match="not the MP4 that ingest writes"):
        read(picture)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kB; the picture has 144 MB


@every_reader
@pytest.mark.parametrize(
    ("codec", "pixel_format", "container", "streams"),
    [
        ("png", "rgb24", "mp4", 1),
        ("mpeg4", "yuv420p", "mp4", 1),
        ("mjpeg", "yuvj420p", "mp4", 1),
        ("libx264", "yuv420p", "mp4", 2),
        ("libx264", "yuv420p", "matroska", 1),
        ("libx264", "yuv420p", "mov", 1),
        ("libx264", "yuv420p", "h264", 1),
    ],
)
def test_another_codec_or_container_is_refused(read, codec, pixel_format, container, streams):
    content = hostile.mp4_of(codec, pixel_format, container, streams)
    with pytest.raises(CodecError, match=r"stored clip (does not decode|is)"):
        read(content)


def test_flow_and_video_do_not_take_each_others_place(video, flow):
    with pytest.raises(CodecError, match="stored clip is yuvj420p, and must be yuv420p or yuv444p"):
        decode_video(flow, np.arange(2))
    with pytest.raises(CodecError, match="stored clip is yuv420p, and must be gray"):
        decode_flow(video, np.arange(2))


# ---------------------------------------------------------------- limits
@every_reader
@pytest.mark.parametrize(("width", "height"), [(16_384, 16_384), (32_768, 16_384), (12_000, 12_000)])
def test_a_stream_that_states_a_huge_size_is_refused_before_it_is_decoded(read, video, width, height):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CodecError, match="stored clip does not decode"):
        read(hostile.with_sequence(hostile.with_size(video, width, height), width, height))
    with pytest.raises(CodecError, match="stored clip does not decode"):
        read(hostile.with_sequence(video, width, height))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kB


def test_the_changed_header_is_one_that_libav_reads(video):
    """With the size that it had, the stream still decodes: so it is for the size that the test above refuses it."""
    assert measure(hostile.with_sequence(video, 64, 48)) == (12, 48, 64)


@every_reader
@pytest.mark.parametrize("frames", [MAX_FRAMES + 1, 2_000_000_000, 2**32 - 1])
def test_a_stream_that_states_many_frames_is_refused_before_an_index_is_made(read, video, frames):
    with pytest.raises(CodecError, match=rf"it states {frames} frames in {len(video)} bytes"):
        read(hostile.with_frames(video, frames))


@pytest.mark.parametrize("kind", [b"moof", b"cmov", b"sidx", b"uuid", b"dref"])
def test_boxes_that_ingest_does_not_write_are_refused(video, kind):
    for place in (b"free", b"udta"):
        with pytest.raises(CodecError, match="not the MP4 that ingest writes"):
            check_mp4(video.replace(place, kind))


@pytest.mark.parametrize("kind", [b"elst", b"stsd"])
def test_more_entries_than_one_are_refused(video, kind):
    """Each entry of an edit list makes libav copy the index."""
    changed = bytearray(video)
    struct.pack_into(">I", changed, video.index(kind) + 8, 1000)
    with pytest.raises(CodecError, match=f"not one entry in {kind.decode()}"):
        check_mp4(bytes(changed))


def test_two_files_in_one_cell_are_refused():
    small, large = (encode_video(np.zeros((1, side, side, 3), np.uint8), 25, 20, 1) for side in (32, 48))
    with pytest.raises(CodecError, match="no MP4 with one track"):
        measure(small + large)
