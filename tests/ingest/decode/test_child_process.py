"""The decoding process: the same frames as without it; killed when it hangs, replaced when it crashes."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pipeline.config import IngestConfig
from pipeline.ingest.clip_errors import (
    BadTimes,
    ChildError,
    DecodeCrash,
    DecodeError,
    DecodeTimeout,
    FileNotFound,
    NotAVideo,
    TooLarge,
    Truncated,
    WorkerKilled,
    ZeroByte,
)
from pipeline.ingest.decode import child_process as children
from pipeline.ingest.decode.child_process import (
    SLICE_PICTURES,
    SPARE_FILES,
    USUAL_BYTES,
    Child,
    decode_in_child,
    slices_from_child,
)
from pipeline.ingest.decode.clip import decode_clip
from pipeline.ingest.stages import make_convert
from tests.ingest.videos import remux

CLIP = (None, None, 25, 64)
REAL = [
    "arm_wrestling.mp4", "av1.mkv", "cricket_flow.gif", "cricket_rgb.gif", "flipping_a_pancake.mkv", "h265_10bit.mp4",
    "mpeg4_320x240.avi", "nasa_multi_audio.mp4", "street_10s.mp4", "v_ZNVhz7ctTq0.mp4",
]  # fmt: skip


def memfds() -> int:
    """Memfds of pictures that this process holds."""
    held = []
    for link in Path("/proc/self/fd").iterdir():
        try:
            held.append(str(link.readlink()))
        except FileNotFoundError:  # the one that lists
            continue
    return sum("memfd:clip" in name for name in held)


def gone(pid: int, seconds: float = 20) -> bool:
    """Whether a process ends soon."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize("name", ["arm_wrestling.mp4", "h265_10bit.mp4", "cricket_rgb.gif"])
def test_frames_and_facts_are_those_of_decoding_here(clips_dir, name):
    frames, facts = decode_in_child(str(clips_dir / name), *CLIP)
    expected, expected_facts = decode_clip(str(clips_dir / name), *CLIP)
    np.testing.assert_array_equal(frames, expected)
    assert facts == expected_facts
    assert frames.flags.c_contiguous
    assert frames.flags.writeable


def test_errors_keep_their_class_and_libavs_own_words(clips_dir, tmp_path):
    with pytest.raises(DecodeError, match="Invalid data found when processing input after 28 frames; libav: "):
        decode_in_child(str(clips_dir / "corrupted.mp4"), *CLIP)
    with pytest.raises(FileNotFound, match=r"no file gone\.mp4 in /"):
        decode_in_child(str(tmp_path / "gone.mp4"), *CLIP)
    with pytest.raises(BadTimes, match="end 1 s is not after start 2 s"):
        decode_in_child(str(clips_dir / "h265_10bit.mp4"), 2.0, 1.0, 25, 64)


def test_one_child_decodes_many_clips(clips_dir):
    decode_in_child(str(clips_dir / "h265_10bit.mp4"), *CLIP)
    pid = children._child().pid
    for _ in range(3):
        decode_in_child(str(clips_dir / "h265_10bit.mp4"), *CLIP)
        with pytest.raises(DecodeError):
            decode_in_child(str(clips_dir / "corrupted.mp4"), *CLIP)
    assert children._child().pid == pid


def test_a_path_with_an_odd_name_arrives_as_it_is(clips_dir, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("with space & 'quotes'.mp4", "concat:a|b.mp4", "%d.mp4", os.fsdecode(b"\xff\xfe.mp4")):
        Path(name).write_bytes((clips_dir / "h265_10bit.mp4").read_bytes())
        assert len(decode_in_child(name, *CLIP)[0]) == 25


def test_a_hang_costs_one_clip_and_its_time(clips_dir):
    pid = children._child().pid
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(DecodeTimeout, match=r"killed after 0\.3 s \(ingest\.decode_timeout_s\)"):
        decode_in_child(str(clips_dir / "h265_10bit.mp4"), *CLIP, timeout_s=0.3)
    assert gone(pid)
    assert len(decode_in_child(str(clips_dir / "h265_10bit.mp4"), *CLIP)[0]) == 25
    assert children._child().pid != pid


def test_native_code_that_takes_too_long_is_killed_at_its_work(clips_dir):
    children._child()
    with pytest.raises(DecodeTimeout):
        decode_in_child(str(clips_dir / "street_10s.mp4"), *CLIP, timeout_s=0.02)


@contextlib.contextmanager
def crash(how: str) -> Iterator[int]:
    """A signal to this thread's child while it is at the next clip."""
    pid = children._child().pid
    os.kill(pid, signal.SIGSTOP)  # so that the request is under way when it crashes

    def strike() -> None:
        os.kill(pid, signal.Signals[how])
        os.kill(pid, signal.SIGCONT)

    timer = threading.Timer(0.2, strike)
    timer.start()
    yield pid
    timer.join()


@pytest.mark.parametrize("how", ["SIGSEGV", "SIGABRT"])
def test_a_crash_costs_one_clip_and_names_the_signal(clips_dir, how):
    with crash(how), pytest.raises(DecodeCrash, match=f"the decoding process died of {how}"):
        decode_in_child(str(clips_dir / "h265_10bit.mp4"), *CLIP)
    assert len(decode_in_child(str(clips_dir / "h265_10bit.mp4"), *CLIP)[0]) == 25


def test_a_child_killed_from_outside_is_no_fault_of_the_clip_which_is_decoded_again(clips_dir):
    with crash("SIGKILL") as pid:
        assert len(decode_in_child(str(clips_dir / "h265_10bit.mp4"), *CLIP)[0]) == 25
    assert children._child().pid != pid


def test_a_clip_whose_every_child_is_killed_has_a_class_of_its_own(clips_dir):
    slices = slices_from_child(str(clips_dir / "arm_wrestling.mp4"), *CLIP, 300.0, 60.0)
    for _ in range(children.KILLS):
        one = next(slices)
        assert (one.start, len(one.pictures)) == (0, SLICE_PICTURES)  # decoded again from the beginning
        os.kill(children._children.child.pid, signal.SIGKILL)
    with pytest.raises(WorkerKilled, match="the decoding process died of SIGKILL, 2 times; most often for lack of"):
        next(slices)
    assert len(decode_in_child(str(clips_dir / "h265_10bit.mp4"), *CLIP)[0]) == 25


def test_a_child_that_was_ended_and_is_slow_to_die_is_not_handed_out_again(clips_dir, monkeypatch):
    """Killed, it may sleep in the kernel for long; here it does because the kill does not reach it."""
    child = children._child()
    process = child._process

    def late(timeout=None):
        raise subprocess.TimeoutExpired("child", timeout)

    for name, answer in (("wait", late), ("kill", lambda: None), ("poll", lambda: None)):
        monkeypatch.setattr(process, name, answer, raising=False)
    os.kill(child.pid, signal.SIGSTOP)
    with pytest.raises(DecodeTimeout):
        decode_in_child(str(clips_dir / "street_10s.mp4"), *CLIP, timeout_s=0.2)
    assert not child.alive
    for _ in range(2):
        assert len(decode_in_child(str(clips_dir / "h265_10bit.mp4"), *CLIP)[0]) == 25
    os.kill(child.pid, signal.SIGKILL)
    os.waitpid(child.pid, 0)


def test_a_child_killed_at_its_start_is_started_again(clips_dir, tmp_path, monkeypatch):
    killed = f"if mkdir {tmp_path}/once 2> /dev/null; then kill -9 $$; fi"
    monkeypatch.setattr(sys, "executable", str(program(tmp_path / "python", f'{killed}\nexec {sys.executable} "$@"')))
    children._child().end()
    assert len(decode_in_child(str(clips_dir / "h265_10bit.mp4"), *CLIP)[0]) == 25
    assert (tmp_path / "once").is_dir()


def test_where_no_child_starts_the_clip_may_be_tried_again(clips_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", str(program(tmp_path / "python", "echo no memory >&2; exit 3")))
    monkeypatch.setattr(children, "STARTS", 1)
    children._child().end()
    with pytest.raises(ChildError, match="does not start: the decoding process ended with code 3: no memory; tried 1"):
        decode_in_child(str(clips_dir / "h265_10bit.mp4"), *CLIP)
    assert ChildError.verdict == "retryable"


def program(path: Path, script: str) -> Path:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("name", ["arm_wrestling.mp4", "h265_10bit.mp4", "mpeg4_320x240.avi"])
def test_slices_are_the_clip_in_pieces(clips_dir, name):
    whole, facts = decode_in_child(str(clips_dir / name), *CLIP)
    slices = list(slices_from_child(str(clips_dir / name), *CLIP, 300.0, 60.0))
    assert [one.start for one in slices] == list(range(0, len(whole), SLICE_PICTURES))
    assert [one.facts for one in slices] == [None] * (len(slices) - 1) + [facts]
    np.testing.assert_array_equal(np.concatenate([one.pictures for one in slices]), whole)


def test_large_pictures_make_short_slices(clips_dir):
    slices = slices_from_child(str(clips_dir / "arm_wrestling.mp4"), None, 0.5, 25, 1024, 300.0, 60.0)
    size = 0
    for one in slices:
        assert one.pictures.nbytes <= SLICE_PICTURES * USUAL_BYTES
        size += len(one.pictures)
    assert size == 12


def test_the_child_waits_until_the_next_slice_is_asked_for(clips_dir):
    slices = slices_from_child(str(clips_dir / "arm_wrestling.mp4"), *CLIP, 300.0, 60.0)
    next(slices)
    stat = Path(f"/proc/{children._children.child.pid}/stat")
    used = [stat.read_text().split()[13:15] for _ in range(2) if time.sleep(0.3) is None]
    assert used[0] == used[1]
    slices.close()


def test_a_clip_that_is_not_read_to_its_end_leaves_the_child_free(clips_dir):
    pid = children._child().pid
    slices = slices_from_child(str(clips_dir / "arm_wrestling.mp4"), *CLIP, 300.0, 60.0)
    next(slices)
    assert children._child().pid != pid, "it is at a clip"
    pid = children._child().pid
    slices.close()
    slices = slices_from_child(str(clips_dir / "arm_wrestling.mp4"), *CLIP, 300.0, 60.0)
    next(slices)
    slices.close()
    assert len(decode_in_child(str(clips_dir / "h265_10bit.mp4"), *CLIP)[0]) == 25
    assert children._child().pid == pid


def test_decoding_that_starts_again_says_so_by_its_first_slice(tmp_path):
    """Times fall back near the end, so the jump to the clip's start is taken back when two slices were sent."""
    times = [40 * i for i in range(180)]
    times[170], times[171] = times[171], times[170]
    path = remux(tmp_path / "v.mkv", times, frames=180)
    slices = list(slices_from_child(str(path), 0.4, None, 25, 64, 300.0, 60.0))
    assert [one.start for one in slices] == [0, 64, 0, 64, 128]
    expected, facts = decode_clip(str(path), 0.4, None, 25, 64)
    np.testing.assert_array_equal(np.concatenate([one.pictures for one in slices[2:]]), expected)
    assert slices[-1].facts == facts


def test_the_time_between_slices_does_not_count(clips_dir):
    for _ in slices_from_child(str(clips_dir / "arm_wrestling.mp4"), *CLIP, 300.0, 3.0):
        time.sleep(1.1)


def test_a_clip_too_large_for_one_piece_is_refused_with_its_size(clips_dir):
    code = "import pipeline.ingest.decode.child_process as child; child.WHOLE_BYTES = 1 << 20; child._serve()"
    child = Child([sys.executable, "-c", code])
    with pytest.raises(TooLarge, match="65 pictures of 84x64 take"):
        list(child.decode([str(clips_dir / "arm_wrestling.mp4"), *CLIP, 300.0], 60))


def test_last_words_are_kept():
    child = Child()
    os.write(child._log, b"Fatal Python error: Aborted\nfree(): invalid pointer\n\n")
    os.kill(child.pid, signal.SIGABRT)
    gone(child.pid)
    with pytest.raises(DecodeCrash, match=r"died of SIGABRT: free\(\): invalid pointer"):
        list(child.decode(["/nowhere", None, None, 25, 64, 300.0], 10))


def test_a_child_that_dies_between_clips_costs_nothing(clips_dir):
    child = children._child()
    os.kill(child.pid, signal.SIGKILL)
    while child.alive:
        time.sleep(0.01)
    assert len(decode_in_child(str(clips_dir / "h265_10bit.mp4"), *CLIP)[0]) == 25


def test_after_many_clips_it_is_replaced(clips_dir, monkeypatch):
    monkeypatch.setattr(children, "CLIPS_A_CHILD", 2)
    children._child().end()
    pids = []
    for _ in range(4):
        decode_in_child(str(clips_dir / "h265_10bit.mp4"), *CLIP)
        pids.append(children._children.child.pid)
    assert pids[0] == pids[1] != pids[2] == pids[3]


def test_frames_that_are_held_stay_as_they_are(clips_dir):
    names = ["h265_10bit.mp4", "cricket_rgb.gif", "h265_10bit.mp4", "cricket_flow.gif"]
    held = [decode_in_child(str(clips_dir / name), *CLIP)[0][1:] for name in names]  # views keep the memory too
    for name, frames in zip(names, held, strict=True):
        np.testing.assert_array_equal(frames, decode_clip(str(clips_dir / name), *CLIP)[0][1:])
    assert memfds() >= len(names)
    del held, frames
    assert memfds() <= SPARE_FILES


def test_the_memory_of_a_huge_clip_is_not_kept(clips_dir, monkeypatch):
    monkeypatch.setattr(children, "SPARE_BYTES", 1 << 20)
    monkeypatch.setattr(children, "_spare", [])
    frames, _ = decode_in_child(str(clips_dir / "arm_wrestling.mp4"), *CLIP)
    del frames
    assert children._spare == []


@pytest.mark.parametrize("stopped", [False, True])
def test_a_worker_killed_with_9_leaves_no_child_even_one_that_hangs(stopped):
    code = (
        "import time; from pipeline.ingest.decode.child_process import _child; "
        "print(_child().pid, flush=True); time.sleep(600)"
    )
    worker = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    pid = int(worker.stdout.readline())
    if stopped:
        os.kill(pid, signal.SIGSTOP)
    worker.kill()
    worker.communicate()
    assert gone(pid)


def test_a_thread_has_its_own_child_that_ends_with_it(clips_dir):
    pids = []

    def work() -> None:
        assert len(decode_in_child(str(clips_dir / "h265_10bit.mp4"), *CLIP)[0]) == 25
        pids.append(children._child().pid)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert pids[0] != children._child().pid
    assert gone(pids[0])


def test_a_fork_starts_its_own(clips_dir):
    pid = children._child().pid
    fork = os.fork()
    if fork == 0:
        try:
            fine = len(decode_in_child(str(clips_dir / "h265_10bit.mp4"), *CLIP)[0]) == 25
            os._exit(0 if fine and children._child().pid != pid else 1)
        finally:
            os._exit(2)
    assert os.waitpid(fork, 0)[1] == 0
    assert children._child().pid == pid
    assert len(decode_in_child(str(clips_dir / "h265_10bit.mp4"), *CLIP)[0]) == 25


def test_the_child_imports_pyav_and_numpy_and_no_more():
    code = "import sys, pipeline.ingest.decode.child_process; print(*{name.split('.')[0] for name in sys.modules})"
    loaded = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    )
    assert not loaded & {"ray", "torch", "cv2", "pyarrow", "pydantic", "numba", "mlflow"}


def test_the_stage_takes_the_time_out_of_the_config(clips_dir):
    row = {"source": str(clips_dir / "street_10s.mp4"), "start_s": None, "end_s": None, "status": None}
    after = make_convert(IngestConfig(decode_timeout_s=0.01))(row)
    assert (after["status"], after["error_class"]) == ("failed", "DecodeTimeout")


@pytest.mark.parametrize("name", REAL)
def test_content_in_memory_is_decoded_as_a_file_is(clips_dir, name):
    frames, facts = decode_in_child((clips_dir / name).read_bytes(), 0.2, 0.9, 25, 64)
    expected, expected_facts = decode_in_child(str(clips_dir / name), 0.2, 0.9, 25, 64)
    np.testing.assert_array_equal(frames, expected)
    assert facts == expected_facts


def test_a_descriptor_of_memory_is_a_path(clips_dir):
    memory = children._sealed((clips_dir / "h265_10bit.mp4").read_bytes())
    frames, facts = decode_clip(f"/proc/{os.getpid()}/fd/{memory}", *CLIP)
    os.close(memory)
    assert (len(frames), facts.source_codec) == (25, "hevc")
    with pytest.raises(FileNotFound, match=r"^what was fetched into memory is gone$"):
        decode_clip(f"/proc/{os.getpid()}/fd/{memory}", *CLIP)


def test_errors_of_content_in_memory_name_no_descriptor(clips_dir):
    content = (clips_dir / "corrupted.mp4").read_bytes()
    whole = (clips_dir / "h265_10bit.mp4").read_bytes()
    for source, kind in (
        (b"", ZeroByte),
        (b"hello" * 99, NotAVideo),
        (content, DecodeError),
        (whole[:-2000], Truncated),
    ):
        with pytest.raises(kind) as caught:
            decode_in_child(source, *CLIP)
        assert "/proc" not in str(caught.value)
        assert "/fd" not in str(caught.value)


def test_memory_of_sources_is_let_go(clips_dir):
    content = (clips_dir / "h265_10bit.mp4").read_bytes()
    decode_in_child(content, *CLIP)
    held = [len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in (os.getpid(), children._child().pid)]
    for _ in range(3):
        decode_in_child(content, *CLIP)
        with pytest.raises(NotAVideo):
            decode_in_child(b"no video", *CLIP)
    assert held == [len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in (os.getpid(), children._child().pid)]
