"""Ctrl-C and SIGTERM: the first ends a job in order, the second at once.

The first is said at once and raised as KeyboardInterrupt in the main thread, wherever that is. Who knows what stays of
the work, and how it goes on, makes an `Interrupted` of it on its way out.
"""

import contextlib
import os
import signal
from collections.abc import Iterator, Sequence
from typing import Any

from pipeline import console

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(KeyboardInterrupt):
    """A job that was ended by its user.

    Attributes:
        stays: what is there of its work; a clause.
        goes_on: words of the command line that goes on from there, without program and script; None for the same again.
        anew: whether the same command would begin from the beginning.
    """

    def __init__(self, stays: str, goes_on: Sequence[str] | None = None, anew: bool = False) -> None:
        super().__init__(stays)
        self.stays, self.goes_on, self.anew = stays, goes_on, anew


_active = False
_received: int | None = None


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Let both signals interrupt what is inside; in the main thread, once."""
    global _active, _received
    if _active:
        yield
        return
    try:
        before = {number: signal.signal(number, _interrupt) for number in SIGNALS}
    except ValueError:  # not the main thread: nothing arrives here
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
    """Take the signals back from a library that took them, such as Ray when it starts."""
    if _active:
        with contextlib.suppress(ValueError):
            for number in SIGNALS:
                signal.signal(number, _interrupt)


def status() -> int:
    """Of a process that was interrupted, as a shell has it: 130 after Ctrl-C, 143 after SIGTERM."""
    return 128 + (_received or signal.SIGINT)


def _interrupt(number: int, _frame: Any) -> None:
    global _received
    if _received is not None:
        os._exit(128 + number)
    _received = number
    with contextlib.suppress(RuntimeError):  # it came while a line was being written
        console.say("interrupted: ending; Ctrl-C again ends it at once")
    raise KeyboardInterrupt
