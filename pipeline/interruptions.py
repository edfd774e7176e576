"""Handling of Ctrl-C and SIGTERM: the first signal ends a job in order, the second ends it immediately.

The first signal prints a line at once and raises KeyboardInterrupt in the main thread. Code that knows what is kept of
the work, and how to continue it, re-raises this as `Interrupted`.
"""

import contextlib
import signal
from collections.abc import Iterator, Sequence
from typing import Any

from pipeline import console

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(KeyboardInterrupt):
    """An interruption of a job by its user, with what is kept of the work.

    Attributes:
        stays: what is kept of the work, as a clause for the message.
        goes_on: arguments of the command that continues the job, without program and script; None for the same ones.
        anew: whether the same command would start from the beginning.
    """

    def __init__(self, stays: str, goes_on: Sequence[str] | None = None, anew: bool = False) -> None:
        super().__init__(stays)
        self.stays, self.goes_on, self.anew = stays, goes_on, anew


_active = False
_received: int | None = None


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Let both signals interrupt the code inside; this has an effect in the main thread only, and not when nested."""
    global _active, _received
    if _active:
        yield
        return
    try:
        before = {number: signal.signal(number, _interrupt) for number in SIGNALS}
    except ValueError:  # not the main thread, where no signal arrives
        yield
        return
    _active, _received = True, None
    try:
        yield
    finally:
        _active = False
        for number, handler in before.items():
            signal.signal(number, handler)


def again() -> None:
    """Install the signal handlers again after a library has replaced them, as Ray does when it starts."""
    if _active:
        with contextlib.suppress(ValueError):
            for number in SIGNALS:
                signal.signal(number, _interrupt if _received is None else signal.SIG_DFL)


def status() -> int:
    """Return the exit status that a shell expects of an interrupted process: 130 after Ctrl-C, 143 after SIGTERM."""
    return 128 + (_received or signal.SIGINT)


def _interrupt(number: int, _frame: Any) -> None:
    global _received
    _received = number
    for each in SIGNALS:  # the operating system ends the process, even where Python waits and would not see a signal
        signal.signal(each, signal.SIG_DFL)
    with contextlib.suppress(RuntimeError):  # the signal came while a line was being written
        console.say("interrupted: ending; Ctrl-C again ends it at once")
    raise KeyboardInterrupt
