"""What is on the screen of a job, and what is in its log: in processes of their own, with and without a terminal."""

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import console
from pipeline.console import MARK, Forwarded, Screen, Update

CHECKOUT = Path(__file__).parents[1]
HEAD = """
import logging, os, sys, threading, warnings
from pipeline import console
from pipeline.command_line import one_line_errors
from pipeline.console import Forwarded, Update
from pipeline.progress import Progress
before = logging.StreamHandler()
logging.getLogger("early").addHandler(before)
"""
NOISE = """
with one_line_errors():
    print("parsed")
    console.log_to(sys.argv[1], "job")
    os.write(2, b"[E 1 2] core_worker.cc: native noise\\n")
    logging.getLogger("early").warning("of a handler that was there before")
    logging.getLogger("late").warning("of one that was not")
    warnings.warn("FutureWarning: soon")
    print("\\x1b[36m(PlacementGroupCleaner pid=7)\\x1b[0m Exception in thread")
    print("(autoscaler +4s) Tip: use ray status")
    print("\\x1b[33m(raylet)\\x1b[0m Raylet is terminated. Its end:\\n    (raylet) store.cc:366: x\\n\\t(2) it lags")
    thread = threading.Thread(target=lambda: 1 / 0)
    thread.start()
    thread.join()
    console.say("waiting for room")
    Forwarded("trial 3").say("epoch 1")
    Forwarded("trial 3").show(Update("flow", "step 1/2", 0.5))
    progress = Progress("clips", 4, every_s=0)
    for _ in range(4):
        progress.advance()
    print("(two things) are ours")
    console.at_end(lambda: os.write(2, b"said at the end"))
"""
QUIET = [
    "said at the end",
    "native noise",
    "was there before",
    "was not",
    "soon",
    "in thread",
    "Tip: use",
    "store.cc",
    "it lags",
    "ZeroDivisionError: division",
]


def run(source: str, *argv: str, **options) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), **options}
    return subprocess.run([sys.executable, "-c", HEAD + source, *argv], env=environment, capture_output=True, text=True)


def test_the_screen_has_the_jobs_own_lines_and_the_log_everything(tmp_path):
    done = run(NOISE, str(tmp_path))
    (log,) = tmp_path.glob("job-*.log")
    assert done.stdout.splitlines() == ["parsed", "(two things) are ours"]
    *said, last = done.stderr.splitlines()
    assert last == f"log: {log}"
    assert said[:3] == ["waiting for room", "trial 3: epoch 1", "trial 3: flow step 1/2"]
    assert [line.split(" (")[0] for line in said[3:]] == [f"clips {count}/4" for count in range(1, 5)]
    text = log.read_text()
    assert [words for words in [*QUIET, *said, "(two things) are ours"] if words not in text] == []


def test_verbose_leaves_all_on_the_screen(tmp_path):
    done = run(NOISE, str(tmp_path), PIPELINE_VERBOSE="1")
    assert [words for words in QUIET if words not in done.stdout + done.stderr] == []
    assert not list(tmp_path.iterdir())


def test_an_error_that_nobody_expected_is_one_line_and_its_traceback_is_in_the_log(tmp_path):
    crash = "with one_line_errors():\n    console.log_to(sys.argv[1], 'job')\n    {}['rgb']\n"
    done = run(crash, str(tmp_path))
    assert done.returncode == 1
    assert re.fullmatch(r"error: KeyError: 'rgb' \(<string>, line \d+\); the log has the traceback\n", done.stderr)
    (log,) = tmp_path.glob("job-*.log")
    assert done.stdout == f"log: {log}\n"
    assert "Traceback (most recent call last)" in log.read_text()


def test_a_folder_that_cannot_be_written_to_costs_no_job_its_log(tmp_path):
    done = run(
        "with one_line_errors():\n    console.log_to(sys.argv[1], 'job')\n    os.write(2, b'x')\n", "s3://bucket/logs"
    )
    log = Path(done.stderr.removeprefix("log: ").strip())
    assert log.read_text() == "x"
    assert done.stdout == ""


FULL = """
with one_line_errors():
    console._logged = console._Logged(Path("/dev/full"))
    print("result")
    sys.stderr.write("of a library\\n")
    warnings.warn("of another")
    console.say("said")
    {}
"""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("last", ["", "{}['rgb']"])
def test_a_full_disk_takes_the_log_and_nothing_else(last):
    done = run("from pathlib import Path" + FULL.format(last))
    said, end = done.stderr.splitlines()
    assert said == "said"
    crash = (
        "error: KeyError: 'rgb' (<string>, line 16); the log has no room for the traceback (No space left on device)"
    )
    assert end == (crash if last else "log: /dev/full")
    assert done.stdout == ("result\nlog: /dev/full\n" if last else "result\n")
    assert done.returncode == bool(last)


def test_a_terminal_has_bars_and_lines_above_them(tmp_path):
    ours, theirs = pty.openpty()
    source = """
with one_line_errors():
    console.log_to(sys.argv[1], "job")
    console.show(Update("rgb", "step 5/10, 1:04 left", 0.5, line=False))
    console.show(Update("flow", "step 1/10", 0.1, line=True))
    print("a line")
    console.show(Update("rgb", "step 10/10", 1.0, done=True))
"""
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), "COLUMNS": "60", "LINES": "20"}
    with subprocess.Popen(
        [sys.executable, "-c", HEAD + source, str(tmp_path)], env=environment, stdout=theirs, stderr=theirs
    ):
        os.close(theirs)
        seen = b""
        while chunk := _read(ours):
            seen += chunk
    text = seen.decode().replace("\r\n", "\n")
    assert f"rgb {'█' * 10}{'░' * 10} step 5/10, 1:04 left\n" in text
    assert "\x1b[2A\x1b[Ja line\n" in text  # both bars make room, and come again below it
    assert text.index("a line\n") < text.rindex(f"flow {'█' * 2}")
    assert "rgb step 10/10\n" in text
    (log,) = tmp_path.glob("job-*.log")
    assert text.endswith(f"log: {log}\n")
    assert "░" not in log.read_text()


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 1 << 16)
    except OSError:  # the other side is closed
        return b""


def test_what_is_forwarded_is_one_word_with_a_number_which_ray_never_takes_for_a_repetition(capsys):
    Forwarded("frames 8 stride 1").show(Update("flow epoch", "step 1/2, 0:04 left", 0.5))
    line = capsys.readouterr().out
    assert line.startswith(MARK)
    assert len(line.split()) == 1
    assert any(sign.isdigit() for sign in MARK)


def test_a_forwarded_line_that_was_cut_off_is_passed_over(capsys):
    console._receive('{"what":"flow","sa')
    console._receive('{"what":"flow","unknown":1}')
    assert capsys.readouterr() == ("", "")


def test_a_long_bar_is_cut_to_the_width_of_the_terminal():
    assert len(Update("flow", "x" * 200, 0.5).bar(79)) == 79
    screen = Screen(sys.stderr, bars=True)
    screen.clear()
