"""How far the work on one clip is. The stage at work says it, and whoever runs the stage hears it every few seconds."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

EVERY_S = 10.0
"""Least time in seconds between two reports on a clip; most clips are done before the first one."""

Hear = Callable[[float], object]
"""A function that takes the seconds of a clip that are done."""


class _Listener:
    def __init__(self, hear: Hear) -> None:
        self._hear, self._last = hear, time.monotonic()

    def reached(self, seconds: float) -> None:
        now = time.monotonic()
        if now - self._last >= EVERY_S:
            self._last = now
            self._hear(seconds)


_listener: ContextVar[_Listener | None] = ContextVar("listener", default=None)


def reached(seconds: float) -> None:
    """Say how many seconds of the clip at work are done."""
    if listener := _listener.get():
        listener.reached(seconds)


@contextmanager
def heard(hear: Hear) -> Iterator[None]:
    """Call a function with what the work inside the context says, at most every `EVERY_S` seconds."""
    before = _listener.set(_Listener(hear))
    try:
        yield
    finally:
        _listener.reset(before)
