"""Screen output of a job: its own lines and progress bars; the output of libraries goes into a log file.

A job writes its messages with `say` and `show`. An `Update` is a progress bar on a terminal, and an occasional line
elsewhere. In another process of the job, such as a worker, `forward` makes both write lines to standard output. Ray
carries these lines to the driver, which picks them out of the other output.

What is printed may hold names from other people's files. So control sequences in messages and in standard output are
spelled out; only the bars use them.

After `log_to`, the standard error of Python and of native code goes into a file, and so does the output that Ray
forwards from workers. So nothing is lost, and the job's own messages stay readable. `PIPELINE_VERBOSE=1` leaves
everything on the screen.
"""

import contextlib
import dataclasses
import io
import json
import os
import re
import shutil
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

from pipeline.escaping import printable
from pipeline.masking import masked

VERBOSE = "PIPELINE_VERBOSE"
MARK = "@progress1:"  # prefix of a message that another process forwards
_OF_RAY = re.compile(r"^(\x1b\[\d+m)?\((autoscaler|raylet|[^()]*\bpid=\d+)")  # Ray's prefix of another process's line
_BAR = 20  # length of a bar in characters


@dataclasses.dataclass(frozen=True)
class Update:
    """The progress of a long task.

    Attributes:
        what: name of the task; there is one bar for each name until the task is done.
        said: text with counts, rate and time left.
        share: share of the task that is done, 0 to 1.
        line: whether to print a line where there are no bars.
        done: whether this is the last update of the task.
    """

    what: str
    said: str
    share: float
    line: bool = True
    done: bool = False

    def __str__(self) -> str:
        return printable(f"{self.what} {self.said}")

    def bar(self, width: int) -> str:
        """Return the update as a progress bar for a terminal, at most `width` characters long."""
        full = round(_BAR * min(max(self.share, 0.0), 1.0))
        return " ".join(printable(f"{self.what} {'█' * full}{'░' * (_BAR - full)} {self.said}").split())[:width]


class Screen:
    """A screen that shows lines and, on a terminal, progress bars below them."""

    def __init__(self, stream: TextIO, bars: bool | None = None) -> None:
        self.stream = stream
        self.bars = stream.isatty() if bars is None else bars
        self._running: dict[str, Update] = {}
        self._drawn = 0
        self._lock = threading.RLock()

    def say(self, line: str, stream: TextIO | None = None) -> None:
        """Print a line above the bars, to another stream if one is given."""
        with self._lock:
            self._erase()
            print(printable(line), file=stream or self.stream, flush=True)
            self._draw()

    def show(self, update: Update) -> None:
        """Redraw the bar of a task; if there are no bars, or the task is done, print a line instead."""
        with self._lock:
            if self.bars and not update.done:
                self._running[update.what] = update
                self._erase()
                self._draw()
                return
            self._running.pop(update.what, None)
            if update.line:
                self.say(str(update))
            else:
                self._erase()
                self._draw()

    def clear(self) -> None:
        """Remove the bars."""
        with self._lock:
            self._running.clear()
            self._erase()

    def _erase(self) -> None:
        if self._drawn:
            self.stream.write(f"\r\x1b[{self._drawn}A\x1b[J")
            self._drawn = 0

    def _draw(self) -> None:
        if self._running:
            size = shutil.get_terminal_size()
            shown = list(self._running.values())[-max(1, size.lines - 2) :]
            self.stream.write("".join(f"{update.bar(size.columns - 1)}\n" for update in shown))
            self._drawn = len(shown)
        self.stream.flush()


class Forwarded:
    """The screen of a process that is not the driver: it writes messages that the driver's `_Lines` understand."""

    def __init__(self, label: str) -> None:
        self.label = label
        self._before = label and f"{label}: "

    def say(self, line: str, stream: TextIO | None = None) -> None:  # noqa: ARG002
        """See `Screen`."""
        self._send({"say": self._before + line})

    def show(self, update: Update) -> None:
        """See `Screen`."""
        self._send(dataclasses.asdict(dataclasses.replace(update, what=self._before + update.what)))

    def _send(self, values: dict[str, object]) -> None:
        """Write the values as one word that contains a digit.

        Ray removes duplicates among other lines: of lines that differ only in their numbers it forwards one. `print`
        would not do: Ray Train turns it into log records, and drops them at the log level that `quiet_worker` sets.
        """
        word = json.dumps(values, separators=(",", ":")).replace(" ", "\\u0020")
        sys.stdout.write(f"{MARK}{word}\n")
        sys.stdout.flush()


class _Lines(io.TextIOBase):
    """Standard output while there is a log: the job's own lines go to the screen, Ray's forwarded lines do not."""

    def __init__(self, logged: "_Logged") -> None:
        self._logged, self._thread = logged, threading.local()  # print writes a line and its newline separately

    def write(self, text: str) -> int:
        begun, ray = self._begun if self._begun[0] else ("", _OF_RAY.match(text) is not None)
        *lines, begun = (begun + text).split("\n")
        self._thread.begun = begun, ray  # Ray writes the lines of one message at once, with its prefix before the first
        for line in lines:
            self._logged.take(line, ray)
        return len(text)

    def close(self) -> None:
        begun, ray = self._begun
        if begun:
            self._thread.begun = "", False
            self._logged.take(begun, ray)

    @property
    def _begun(self) -> tuple[str, bool]:
        """The line that has no end yet, and whether it is Ray's."""
        return getattr(self._thread, "begun", ("", False))

    def isatty(self) -> bool:
        return not self._logged.stdout.closed and self._logged.stdout.isatty()  # also called at exit

    def fileno(self) -> int:
        return self._logged.stdout.fileno()


class _Printed(io.TextIOBase):
    """Standard output of a command: control sequences in what is printed are spelled out."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        self.stream.write(printable(text))
        return len(text)

    def flush(self) -> None:
        if not self.stream.closed:
            self.stream.flush()

    def isatty(self) -> bool:
        return not self.stream.closed and self.stream.isatty()

    def fileno(self) -> int:
        return self.stream.fileno()


class _File(io.TextIOWrapper):
    """The file of a log, which drops what does not fit on its disk: a full disk ends no job by its log."""

    def __init__(self, path: Path) -> None:
        raw = open(path, "ab", buffering=0)  # noqa: SIM115, PTH123
        super().__init__(raw, encoding="utf-8", errors="replace", write_through=True)

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            super().write(text)
        return len(text)


class _Logged:
    """The log that replaces standard output and error of this process until `restore`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = _File(path)
        self.stdout, self.stderr = sys.stdout, sys.stderr
        for stream in (self.stdout, self.stderr):
            stream.flush()
        self._native = os.dup(2)  # native code and loggers that exist already write to descriptor 2
        os.dup2(self.file.fileno(), 2)
        own = _descriptor(self.stderr) == 2
        self._own = open(os.dup(self._native), "w", buffering=1, errors="replace") if own else None  # noqa: SIM115, PTH123
        self.screen = Screen(self._own or self.stderr)
        sys.stdout, sys.stderr = _Lines(self), self.file

    def take(self, line: str, ray: bool) -> None:
        """Handle a line that was written to standard output, by Ray for another process or by this one."""
        if MARK in line:
            _receive(line.partition(MARK)[2])
        elif ray:
            self.note(line)
        else:
            self.note(printable(line))
            self.screen.say(line, self.stdout)

    def note(self, line: str) -> None:
        """Write a line to the log only."""
        with contextlib.suppress(ValueError):  # the file is closed
            self.file.write(line + "\n")

    def restore(self) -> None:
        """Put the original streams back."""
        self.screen.clear()
        sys.stdout.close()
        sys.stdout, sys.stderr = self.stdout, self.stderr
        os.dup2(self._native, 2)
        os.close(self._native)
        self.file.close()
        if self._own is not None:
            self._own.close()


_logged: _Logged | None = None
_endings: list[Callable[[], object]] = []
_screen: Screen | Forwarded | None = None  # the screen of a process without a log


def say(line: str) -> None:
    """Print a line for the user, with the secrets in its addresses masked."""
    line = masked(line)
    if _logged is not None:
        _logged.note(f"{time.strftime('%H:%M:%S')} {printable(line)}")
        _logged.screen.say(line)
    else:
        _plain().say(line)


def show(update: Update) -> None:
    """Show the progress of a task."""
    if _logged is not None:
        if update.line:
            _logged.note(f"{time.strftime('%H:%M:%S')} {update}")
        _logged.screen.show(update)
    else:
        _plain().show(update)


def forward(label: str = "") -> None:
    """Send all further messages to the driver's screen, in a process that Ray has started.

    Args:
        label: prefix of all messages, such as the name of a trial.
    """
    global _screen
    _screen = Forwarded(label)


def label() -> str:
    """Return the prefix of this process's messages, for the processes that it starts."""
    return _screen.label if isinstance(_screen, Forwarded) else ""


def log_to(folder: str, name: str) -> Path | None:
    """Send all output except the job's own messages to a new log file.

    Args:
        folder: folder of the file, which is created if needed; a temporary folder is used instead if this fails or the
            folder is on an object store.
        name: name of the job.

    Returns:
        The path of the file, or None if everything stays on the screen (`PIPELINE_VERBOSE`).
    """
    global _logged
    if os.environ.get(VERBOSE, "") not in ("", "0") or _logged is not None:
        return None if _logged is None else _logged.path
    file = f"{name}-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
    try:
        if "://" in folder:
            raise OSError(folder)
        Path(folder).mkdir(parents=True, exist_ok=True)
        _logged = _Logged(Path(folder) / file)
    except OSError:
        _logged = _Logged(Path(tempfile.mkdtemp(prefix="log-")) / file)
    return _logged.path


def at_end(ending: Callable[[], object]) -> None:
    """Call a function when the job ends, before the log is closed, so that what libraries write then is logged too."""
    _endings.append(ending)


@contextlib.contextmanager
def logged() -> Iterator[None]:
    """End the log that is started inside this context: restore the streams, and print a last line that names the file.

    The line goes to standard error after success and to standard output after an error, so that a job's result stays
    the end of its standard output, and an error message the end of its standard error.
    """
    global _logged
    outer, good, plain = _logged is not None, False, sys.stdout
    if not outer:
        sys.stdout = printed = _Printed(plain)
    try:
        yield
        good = True
    except BaseException as error:
        if _logged is not None and not outer and not isinstance(error, SystemExit | KeyboardInterrupt):
            sys.excepthook = _Crash(_logged.path).hook
        raise
    finally:
        while _endings and not outer:
            with contextlib.suppress(Exception):
                _endings.pop()()
        if _logged is not None and not outer:
            ended, _logged = _logged, None
            ended.restore()
            if ended.path.exists():
                print(f"log: {ended.path}", file=sys.stderr if good else sys.stdout, flush=True)
        if not outer and sys.stdout is printed:
            sys.stdout = plain


class _Crash:
    """The report of an unexpected error: one line on the screen, and the traceback in the log."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def hook(self, kind: type[BaseException], error: BaseException, trace: object) -> None:  # noqa: ARG002
        """Report the error; this takes the place of `sys.excepthook`."""
        there = "the log has the traceback"
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write("".join(traceback.format_exception(error)))
        except OSError as full:
            there = f"the log has no room for the traceback ({full.strerror})"
        frames = traceback.extract_tb(error.__traceback__)
        where = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
        words = printable(" ".join(str(error).split())[:300])
        print(f"error: {kind.__name__}: {words}{where}; {there}", file=sys.stderr)


def _plain() -> Screen | Forwarded:
    return _screen or Screen(sys.stderr, bars=False)


def _receive(text: str) -> None:
    """Show a message that another process forwarded."""
    with contextlib.suppress(ValueError, TypeError):  # cut off by Ray, or because the process died
        values = json.loads(text)
        if "say" in values:
            say(values["say"])
        else:
            show(Update(**values))


def _descriptor(stream: TextIO) -> int | None:
    try:
        return stream.fileno()
    except (OSError, ValueError, AttributeError):
        return None
