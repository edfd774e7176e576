"""Ctrl-C and SIGTERM: one line at once, one that says what stays, the status that shells expect; the second ends it."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.command_line import one_line_errors
from pipeline.interruptions import Interrupted

CHECKOUT = Path(__file__).parents[1]
JOB = """
import sys, time
from pipeline.command_line import one_line_errors
from pipeline.interruptions import Interrupted
sys.argv = ["jobs/ingest.py", "--storage", "my videos"]
with one_line_errors():
    try:
        print("begun", flush=True)
        time.sleep(60)
    {end}
"""
PLAIN = "finally: pass"
SAYS = """except KeyboardInterrupt:
        raise Interrupted("3 of 8 clips are done")"""
RESUMES = """except KeyboardInterrupt:
        raise Interrupted("run a keeps step 8", ["--resume", "a"])"""
ANEW = """except KeyboardInterrupt:
        raise Interrupted("1 of 2 trials is done", anew=True)"""
STUCK = """except KeyboardInterrupt:
        time.sleep(60)"""


def interrupted(end: str, *signals: int) -> tuple[int, list[str], float]:
    """Status, lines of stderr, seconds that it took to end."""
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    command = [sys.executable, "-c", JOB.format(end=end)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as job:
        assert job.stdout.readline() == "begun\n"
        start = time.monotonic()
        lines = []
        for number in signals:
            job.send_signal(number)
            lines += [job.stderr.readline().rstrip()] if not lines else []
        lines += job.stderr.read().splitlines()
        return job.wait(), lines, time.monotonic() - start


def on_path() -> bool:
    """Whether a shell would start this interpreter by its name."""
    return Path(shutil.which(Path(sys.executable).name) or "/").parent == Path(sys.executable).parent


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["INT", "TERM"])
@pytest.mark.parametrize(
    ("end", "line"),
    [
        (PLAIN, "interrupted; this begins again: PYTHON jobs/ingest.py --storage 'my videos'"),
        (SAYS, "interrupted: 3 of 8 clips are done; this goes on: PYTHON jobs/ingest.py --storage 'my videos'"),
        (RESUMES, "interrupted: run a keeps step 8; this goes on: PYTHON jobs/ingest.py --resume a"),
        (ANEW, "interrupted: 1 of 2 trials is done; this begins anew: PYTHON jobs/ingest.py --storage 'my videos'"),
    ],
    ids=["plain", "says", "resumes", "anew"],
)
def test_an_interrupted_job_says_what_stays_and_what_goes_on(end, line, number, status):
    code, lines, _ = interrupted(end, number)
    python = Path(sys.executable).name if on_path() else sys.executable
    assert code == status
    assert lines == ["interrupted: ending; Ctrl-C again ends it at once", line.replace("PYTHON", python)]


def test_the_second_ends_a_job_that_hangs_while_it_ends():
    code, lines, seconds = interrupted(STUCK, signal.SIGINT, signal.SIGINT)
    assert code == -signal.SIGINT  # a shell says 130
    assert lines == ["interrupted: ending; Ctrl-C again ends it at once"]
    assert seconds < 30


def test_a_program_with_verbs_goes_on_by_its_verb(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["/nowhere/video-actions", "pretrain", "--recipe", "demo"])
    with pytest.raises(SystemExit) as ended, one_line_errors():
        raise Interrupted("run a keeps step 8", ["--resume", "a"])
    assert ended.value.code == 130
    line = "interrupted: run a keeps step 8; this goes on: /nowhere/video-actions pretrain --resume a\n"
    assert capsys.readouterr().err == line
