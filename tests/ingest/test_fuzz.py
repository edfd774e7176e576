"""Thousands of broken files through the decoding process: frames or a `ClipError`, nothing hangs, leaks or crashes.

What is stored of a broken file is whole and equal to the picture of the file before it broke, or it has a note. A bit
that changes in the data of a picture, and leaves data that decodes, is beyond what anybody can see: containers have no
checksums. So a small share of such files is allowed.

FUZZ_CASES=100000 FUZZ_SEED=7 pytest tests/ingest/test_fuzz.py   goes on for longer, with other damage.
"""

import contextlib
import os
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from pipeline.ingest.clip_errors import ClipError
from pipeline.ingest.decode import child_process as children
from pipeline.ingest.decode.child_process import SPARE_FILES, decode_in_child
from tests.ingest.mutations import mutated
from tests.ingest.numbered import numbered, numbers
from tests.ingest.videos import make_video

CASES = int(os.environ.get("FUZZ_CASES", "1000"))
SEED = int(os.environ.get("FUZZ_SEED", "0"))

FILES = {  # codec, pixel format, options of the muxer
    "a.mp4": ("libx264", "yuv420p", {}),
    "b.mp4": ("libx264", "yuv420p", {"movflags": "faststart"}),
    "c.mp4": ("libx264", "yuv420p", {"movflags": "frag_keyframe+empty_moov"}),
    "d.mp4": ("libx265", "yuv420p10le", {}),
    "e.mp4": ("mpeg4", "yuv420p", {}),
    "f.mkv": ("libx264", "yuv420p", {}),
    "g.mkv": ("libsvtav1", "yuv420p", {}),
    "h.webm": ("libvpx-vp9", "yuv420p", {}),
    "i.webm": ("libvpx", "yuv420p", {}),
    "j.avi": ("mpeg4", "yuv420p", {}),
    "k.avi": ("mjpeg", "yuvj420p", {}),
    "l.ts": ("libx264", "yuv420p", {}),
    "m.mpg": ("mpeg2video", "yuv420p", {}),
    "n.flv": ("flv", "yuv420p", {}),
    "o.wmv": ("wmv2", "yuv420p", {}),
    "p.gif": ("gif", "rgb8", {}),
    "q.mov": ("prores_ks", "yuv422p10le", {}),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> list[bytes]:
    """A small file of each kind."""
    folder = tmp_path_factory.mktemp("files")
    return [
        make_video(folder / name, codec, frames=12, size=(64, 64), pixels=pixels, container=container).read_bytes()
        for name, (codec, pixels, container) in FILES.items()
    ]


def held(pid: int) -> dict[str, int]:
    """What a process holds: open files (memory shared through memfds among them), child processes, bytes of memory."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return {
        "files": len(list(Path(f"/proc/{pid}/fd").iterdir())),
        "children": len(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()),
        "memory": pages * os.sysconf("SC_PAGESIZE"),
    }


def fuzz(files: list[bytes], cases: int, path: Path) -> Counter:
    """Decode `cases` broken files one after the other; how often each outcome came.

    Raises:
        AssertionError: some outcome was neither frames nor a `ClipError`, or something was left behind.
    """
    for content in files:  # every kind once as it was made, so that what libraries keep for good is there
        path.write_bytes(content)
        with contextlib.suppress(ClipError):
            decode_in_child(str(path), None, None, 25, 64)
    ours, child = held(os.getpid()), children._child().pid
    its = held(child)
    outcomes, strange = Counter(), []
    for case in range(cases):
        content, how = mutated(files, SEED, case)
        path.write_bytes(content)
        try:
            start_s = None if case % 3 else 0.4  # by a jump, where the file allows it
            frames, facts = decode_in_child(str(path), start_s, None, 25, 64, max_seconds=20, timeout_s=20)
        except ClipError as error:
            outcomes[type(error).__name__] += 1
            if re.match(r"\w+(Error|Exception): ", str(error)):  # of Python, not of the clip
                strange.append(f"case {case}, {how}: {error}")
        else:
            outcomes["frames"] += 1
            assert (frames.dtype, frames.ndim, frames.shape[-1]) == (np.uint8, 4, 3), (case, how)
            assert len(frames) >= 2
            assert min(frames.shape[1:3]) == 64
            assert facts.source_frames >= (1 if start_s else 2)
            del frames
    print(dict(outcomes.most_common()))
    assert outcomes.total() == cases
    assert not strange, strange
    assert outcomes["DecodeTimeout"] + outcomes["DecodeCrash"] <= cases / 500, outcomes  # each cost one clip
    after = held(os.getpid())
    assert after["files"] <= ours["files"] + SPARE_FILES
    assert after["children"] == ours["children"]
    assert after["memory"] < ours["memory"] + (64 << 20)
    now = children._child().pid
    assert held(now)["memory"] < its["memory"] + (256 << 20)
    assert now != child or held(now)["files"] == its["files"]
    return outcomes


def test_thousands_of_broken_files(files, tmp_path):
    outcomes = fuzz(files, CASES, tmp_path / "case")
    assert outcomes["frames"] > CASES / 20
    assert len(outcomes) >= 8, outcomes


def test_broken_real_clips(clips_dir, tmp_path):
    names = ["h265_10bit.mp4", "av1.mkv", "mpeg4_320x240.avi", "cricket_rgb.gif", "nasa_multi_audio.mp4"]
    fuzz([(clips_dir / name).read_bytes() for name in names], max(1, CASES // 50), tmp_path / "case")


SHOWN = 40  # frames
OUTCOMES = {  # codec, options of the encoder, of the muxer, and whether there is sound
    "a.mkv": ("libx264", {"g": "12"}, {}, False),
    "b.mkv": ("mpeg4", {"g": "12", "bf": "2"}, {}, True),
    "c.webm": ("libvpx-vp9", {"g": "12", "deadline": "realtime", "cpu-used": "8"}, {}, False),
    "d.mkv": ("libx264", {"g": "12"}, {"live": "1"}, False),
    "e.avi": ("mpeg4", {"g": "12", "bf": "2"}, {}, True),
    "f.avi": ("mjpeg", {}, {}, False),
    "g.avi": ("libx264", {"g": "12", "bf": "2"}, {}, False),
    "h.ts": ("libx264", {"g": "12"}, {}, True),
    "i.ts": ("mpeg2video", {"g": "12", "bf": "2"}, {}, False),
    "j.mp4": ("libx264", {"g": "12"}, {}, True),
    "k.mp4": ("mpeg4", {"g": "12", "bf": "2"}, {"movflags": "faststart"}, False),
    "l.mp4": ("libx264", {"g": "12"}, {"movflags": "frag_keyframe+empty_moov"}, False),
}
UNSEEN = 2 / 100
"""Largest share of broken files that may show something else without a note."""


def is_part(shown: list[int]) -> bool:
    """Whether frames are those of a part of the video, but for the last: a cut stream of MPEG-TS is a stream."""
    return shown[:-3] == list(range(shown[0], shown[0] + len(shown) - 3))


def test_what_is_stored_of_a_broken_file_is_whole_or_has_a_note(tmp_path):
    contents, whole = [], []
    for name, (codec, options, container, sound) in OUTCOMES.items():
        pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        noise = (0, SHOWN / 25) if sound else None
        path = numbered(tmp_path / name, codec, SHOWN, options, container, pixels, sound=noise)
        contents.append(path.read_bytes())
        frames, facts = decode_in_child(str(path), None, None, 25, 64)
        assert (numbers(frames), facts.source_notes) == (list(range(SHOWN)), ""), name
        whole.append(frames.astype(np.int16))
    outcomes, wrong = Counter(), []
    cases = max(1, CASES // 2)
    for case in range(cases):
        content, how = mutated(contents, SEED + 1, case)
        which = int(how.split(":")[0].removeprefix("file "))
        (tmp_path / "case").write_bytes(content)
        start = 0 if case % 3 else 10  # by a jump, where the file allows it
        try:
            frames, facts = decode_in_child(str(tmp_path / "case"), start / 25, None, 25, 64, 20, timeout_s=20)
        except ClipError:
            outcomes["refused"] += 1
            continue
        expected = whole[which][start:]
        if facts.source_notes:
            outcomes["noted"] += 1
        elif frames.shape == expected.shape and np.abs(frames - expected).mean(axis=(1, 2, 3)).max() < 8:
            outcomes["equal"] += 1
        elif frames.shape == expected.shape and numbers(frames) == list(range(start, SHOWN)):
            outcomes["equal, but for blemishes"] += 1
        elif list(OUTCOMES)[which].endswith((".ts", "l.mp4")) and is_part(numbers(frames)):
            outcomes["a part, which nothing tells from the whole"] += 1
        else:
            wrong.append(f"case {case}, {list(OUTCOMES)[which]}, {how}: {numbers(frames)}")
    print(dict(outcomes), *wrong, sep="\n")
    assert len(wrong) <= max(3, UNSEEN * cases), wrong
    assert min(outcomes["refused"], outcomes["noted"], outcomes["equal"]) > cases / 25
