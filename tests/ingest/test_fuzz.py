"""Thousands of broken files through the decoding process: frames or a `ClipError`, nothing hangs, leaks or crashes.

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
from tests.ingest.videos import make_video

CASES = int(os.environ.get("FUZZ_CASES", "5000"))
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
