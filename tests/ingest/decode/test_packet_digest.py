"""The digest of a clip's compressed video: equal for copies, whatever holds them."""

import hashlib
from pathlib import Path

import av
import pytest

from pipeline.ingest.decode.clip import decode_clip
from tests.ingest.videos import make_video


def copied(source: Path, target: Path, first: int = 0, **metadata: str) -> Path:
    """The same packets of video from the `first` on in another container, without sound."""
    with av.open(str(source)) as given, av.open(str(target), "w") as output:
        stream = output.add_stream_from_template(given.streams.video[0])
        output.metadata.update(metadata)
        for index, packet in enumerate(given.demux(given.streams.video[0])):
            if packet.dts is not None and index >= first:
                packet.stream = stream
                output.mux(packet)
    return target


def digest(path: Path, start_s: float | None = None, end_s: float | None = None) -> str:
    return decode_clip(str(path), start_s, end_s, 25, 32)[1].packets_sha256


@pytest.mark.parametrize("name", ["arm_wrestling.mp4", "v_ZNVhz7ctTq0.mp4", "h265_10bit.mp4", "flipping_a_pancake.mkv"])
def test_a_copy_under_another_name_and_container_has_the_same_digest(clips_dir, tmp_path, name):
    source = clips_dir / name
    copies = [copied(source, tmp_path / f"copy.{form}", title="another") for form in ("mkv", "mp4", "mov")]
    for times in ((None, None), (0.2, 0.7), (0.0, 0.5), (0.31, None)):
        assert {digest(copy, *times) for copy in copies} == {digest(source, *times)}


def test_it_is_that_of_the_payload_alone(clips_dir):
    with av.open(str(clips_dir / "arm_wrestling.mp4")) as container:
        payload = b"".join(bytes(packet) for packet in container.demux(container.streams.video[0]))
    assert digest(clips_dir / "arm_wrestling.mp4") == hashlib.sha256(payload).hexdigest()


def test_of_a_cut_clip_the_frames_on_screen_count(tmp_path):
    path = make_video(tmp_path / "v.mp4", frames=60, options={"bf": "2", "g": "12"})
    with av.open(str(path)) as container:
        packets = [(packet.pts * packet.time_base, bytes(packet)) for packet in container.demux() if packet.size]
    shown = b"".join(payload for time, payload in packets if 1 <= time < 2)
    assert digest(path, 1.0, 2.0) == hashlib.sha256(shown).hexdigest()
    assert digest(path, 1.02, 2.02) == hashlib.sha256(shown).hexdigest()  # the frame of 1.00 s is still on screen
    assert digest(path, 1.04, 2.04) != digest(path, 1.0, 2.0)


def test_clips_within_one_still_picture_differ_from_those_within_another(tmp_path):
    path = make_video(tmp_path / "v.mkv", frames=4, times=[0, 50, 100, 150], options={"bf": "0"})
    assert digest(path, 2.2, 3.0) == digest(path, 2.6, 3.4) != digest(path, 4.2, 5.0)


def test_other_pictures_have_another_digest(tmp_path):
    assert digest(make_video(tmp_path / "a.mp4", frames=20)) != digest(make_video(tmp_path / "b.mp4", frames=21))
