"""What a person sees of a job: its own lines and bars on the screen; what libraries say is in a file.

A job's words go through `say` and `show`. On a terminal an `Update` is a bar, elsewhere a line now and then. In another
process of the job, such as a worker, `forward` sends both on as lines of its standard output, which Ray carries to the
driver; there they are taken out of what else comes that way.

From `log_to` on, standard error, Python's and that of native code, goes into a file, and so does what Ray forwards of
workers: nothing is lost, and nothing drowns what the job says. `PIPELINE_VERBOSE=1` leaves everything on the screen.
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

VERBOSE = "PIPELINE_VERBOSE"
MARK = "@progress1:"  # before what another process forwards
_OF_RAY = re.compile(r"^(\x1b\[\d+m)?\((autoscaler|raylet|[^()]*\bpid=\d+)")  # how Ray begins a line of another process
_BAR = 20  # cells


@dataclasses.dataclass(frozen=True)
class Update:
    """How far a piece of long work is.

    Attributes:
        what: is being done; a bar stands for it until it is done.
        said: counts, rate and time left.
        share: done of it, 0 to 1.
        line: whether it is worth a line where there are no bars.
        done: whether it was the last.
    """

    what: str
    said: str
    share: float
    line: bool = True
    done: bool = False

    def __str__(self) -> str:
        return f"{self.what} {self.said}"

    def bar(self, width: int) -> str:
        """The same for a terminal of some width."""
        full = round(_BAR * min(max(self.share, 0.0), 1.0))
        return f"{self.what} {'█' * full}{'░' * (_BAR - full)} {self.said}"[:width]


class Screen:
    """Lines, and on a terminal bars below them."""

    def __init__(self, stream: TextIO, bars: bool | None = None) -> None:
        self.stream = stream
        self.bars = stream.isatty() if bars is None else bars
        self._running: dict[str, Update] = {}
        self._drawn = 0
        self._lock = threading.RLock()

    def say(self, line: str, stream: TextIO | None = None) -> None:
        """A line, above the bars; to another stream where one is given."""
        with self._lock:
            self._erase()
            print(line, file=stream or self.stream, flush=True)
            self._draw()

    def show(self, update: Update) -> None:
        """Move a bar; where there are none, or at its end, print the line."""
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
        """Take the bars away."""
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
    """Stands for the screen in a process that has none: writes what the driver's `_Lines` understand."""

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
        """One word with a number in it: of other lines Ray forwards only one of those that differ in numbers.

        Not by print: Ray Train turns that into log records, which its log level, raised to spare us its own, drops.
        """
        word = json.dumps(values, separators=(",", ":")).replace(" ", "\\u0020")
        sys.stdout.write(f"{MARK}{word}\n")
        sys.stdout.flush()


class _Lines(io.TextIOBase):
    """Stands for standard output while there is a log: what the job prints is on the screen, what Ray forwards not."""

    def __init__(self, logged: "_Logged") -> None:
        self._logged, self._begun = logged, threading.local()  # print writes a line and its end one after the other

    def write(self, text: str) -> int:
        *lines, self._begun.line = (getattr(self._begun, "line", "") + text).split("\n")
        for line in lines:
            self._logged.take(line)
        return len(text)

    def close(self) -> None:
        if begun := getattr(self._begun, "line", ""):
            self._begun.line = ""
            self._logged.take(begun)

    def isatty(self) -> bool:
        return not self._logged.stdout.closed and self._logged.stdout.isatty()  # asked at the exit as well

    def fileno(self) -> int:
        return self._logged.stdout.fileno()


class _Logged:
    """Standard output and error of this process, turned to a log until `restore`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = path.open("a", buffering=1, encoding="utf-8", errors="replace")
        self.stdout, self.stderr = sys.stdout, sys.stderr
        for stream in (self.stdout, self.stderr):
            stream.flush()
        self._native = os.dup(2)  # native code, and loggers that were made before, write there
        os.dup2(self.file.fileno(), 2)
        own = _descriptor(self.stderr) == 2
        self._own = open(os.dup(self._native), "w", buffering=1, errors="replace") if own else None  # noqa: SIM115, PTH123
        self.screen = Screen(self._own or self.stderr)
        sys.stdout, sys.stderr = _Lines(self), self.file

    def take(self, line: str) -> None:
        """A line that was written to standard output."""
        if MARK in line:
            _receive(line.partition(MARK)[2])
        elif _OF_RAY.match(line):
            self.note(line)
        else:
            self.note(line)
            self.screen.say(line, self.stdout)

    def note(self, line: str) -> None:
        """Into the log alone."""
        with contextlib.suppress(ValueError, OSError):  # closed, or on a disk that is full
            self.file.write(line + "\n")

    def restore(self) -> None:
        """Give the streams back."""
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
_screen: Screen | Forwarded | None = None  # of a process without a log


def say(line: str) -> None:
    """A line for the person who waits."""
    if _logged is not None:
        _logged.note(f"{time.strftime('%H:%M:%S')} {line}")
        _logged.screen.say(line)
    else:
        _plain().say(line)


def show(update: Update) -> None:
    """How far something is."""
    if _logged is not None:
        if update.line:
            _logged.note(f"{time.strftime('%H:%M:%S')} {update}")
        _logged.screen.show(update)
    else:
        _plain().show(update)


def forward(label: str = "") -> None:
    """From now on, in a process that Ray has started: to the driver's screen.

    Args:
        label: before all that it says, such as the name of a trial.
    """
    global _screen
    _screen = Forwarded(label)


def label() -> str:
    """What this process puts before what it says, for processes that it starts."""
    return _screen.label if isinstance(_screen, Forwarded) else ""


def log_to(folder: str, name: str) -> Path | None:
    """Turn all that is not the job's own words into a new file; its path, or None where all stays on the screen.

    Args:
        folder: made where it is not there; a temporary one where it cannot be, or is on an object store.
        name: the name of the job.
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
    """Call a function when the job ends, while the log still takes what the function makes libraries say."""
    _endings.append(ending)


@contextlib.contextmanager
def logged() -> Iterator[None]:
    """Where a log that is begun inside ends: the streams are given back, and the last line names it.

    It is printed where the last word is not: what came of a job is the end of its standard output, an error that of
    standard error.
    """
    global _logged
    outer, good = _logged is not None, False
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


class _Crash:
    """What is printed of an error that nobody expected: one line; the traceback is in the log."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def hook(self, kind: type[BaseException], error: BaseException, trace: object) -> None:  # noqa: ARG002
        """As `sys.excepthook`."""
        with contextlib.suppress(OSError), self.path.open("a", encoding="utf-8") as file:
            file.write("".join(traceback.format_exception(error)))
        frames = traceback.extract_tb(error.__traceback__)
        where = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
        words = " ".join(str(error).split())[:300]
        print(f"error: {kind.__name__}: {words}{where}; the log has the traceback", file=sys.stderr)


def _plain() -> Screen | Forwarded:
    return _screen or Screen(sys.stderr, bars=False)


def _receive(text: str) -> None:
    """A line that another process forwarded."""
    with contextlib.suppress(ValueError, TypeError):  # cut off by Ray, or by the death of the process
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
