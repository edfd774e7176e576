"""A job that a user submits to the cluster, watched as this user sees it."""

import itertools
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

OF_RAY = re.compile(
    r"(packaging|cli|sdk|job_manager)\.py:\d+ -- |^Job submission server address|^Next steps$|^-+$|^\s*$|^Tailing logs"
    r"|^Job '\S+' (submitted|succeeded|failed|was stopped)|^  (Query|Request|ray job|Or)|^Running entrypoint"
)
"""What `ray job submit` itself says: its steps, its advice, how the job has ended."""
ENDING = "Status message:"
"""After it, Ray's command repeats the last lines of a job that has failed."""
GOES_ON = ("PENDING", "RUNNING")
LOUD = re.compile(r'Traceback \(most recent|^\s+File ".*", line|\.cc:\d+')


class Job:
    """A `ray job submit` that runs until its job has ended.

    Attributes:
        lines: what it has printed so far.
    """

    def __init__(self, command: Sequence[str], cwd: Path, status: Callable[[], str | None] = lambda: None) -> None:
        """Start the command.

        Args:
            command: the command line.
            cwd: where it runs.
            status: asks Ray for the job's status; None where Ray does not answer or the job is not submitted.
        """
        self.lines: list[str] = []
        self._status = status
        self._process = subprocess.Popen(
            command, cwd=cwd, text=True, errors="replace", start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self._process.stdout or ():
            self.lines.append(line.rstrip("\n"))

    @property
    def said(self) -> list[str]:
        """Its lines without those of Ray's command."""
        own = itertools.takewhile(lambda line: ENDING not in line, list(self.lines))
        return [line for line in own if not OF_RAY.search(line)]

    @property
    def text(self) -> str:
        """All its lines, for the message of a failed test."""
        return "\n".join(self.lines)

    def assert_calm(self, most: int = 60) -> None:
        """No traceback, no line of Ray's C++, and no more lines than a person reads."""
        assert not [line for line in self.lines if LOUD.search(line)], self.text
        assert len(self.said) <= most, self.text

    def says(self, pattern: str) -> bool:
        """Whether such a line has come; a busy head passes lines on seconds after they were printed."""
        return any(re.search(pattern, line) for line in list(self.lines))

    def wait_for(self, pattern: str, seconds: float = 180) -> None:
        """Wait for a line."""
        self.wait_until(lambda: self.says(pattern), seconds)

    def wait_until(self, reached: Callable[[], object], seconds: float = 180) -> None:
        """Wait for a state of the world outside, such as a file, that the job brings about, as soon as it is there.

        Raises:
            AssertionError: the job has ended without it, or time is over.
        """
        deadline = time.monotonic() + seconds
        while not reached():
            assert self._reader.is_alive() or self._status() in GOES_ON, f"ended too early:\n{self.text}"
            assert time.monotonic() < deadline, f"not reached in {seconds} s:\n{self.text}"
            time.sleep(0.1)

    def ended(self) -> bool:
        """Whether the command has ended."""
        return self._process.poll() is not None

    def end(self, seconds: float = 300) -> int:
        """Wait for the end, and return the exit status.

        Raises:
            AssertionError: the job is still running when time is over.
        """
        deadline = time.monotonic() + seconds
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.leave()
            raise AssertionError(f"still running after {seconds} s:\n{self.text}") from None
        self._reader.join(10)
        while (status := self._status()) in GOES_ON:  # on a busy head, Ray's command may lose the job's lines, and end
            assert time.monotonic() < deadline, f"still running after {seconds} s:\n{self.text}"
            time.sleep(0.5)
        return code if status is None else int(status != "SUCCEEDED")

    def leave(self) -> None:
        """End the command, if it still runs; a submitted job goes on without it."""
        if not self.ended():
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
