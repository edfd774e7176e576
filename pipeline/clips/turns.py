"""Threads that take turns at one processor, of which each gives up its turn while it waits for an object store."""

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

_mine = threading.local()


def in_turns(function: Callable[[T], R], items: Iterable[T], at_once: int) -> list[R]:
    """Call a function on each item, and return the results in the order of the items.

    Args:
        function: is called by one thread at a time, except while a thread is inside `waiting`.
        items: the arguments.
        at_once: number of threads, and so the largest number of calls that wait at the same time.

    Raises:
        Exception: `function` raised it; if it raised several times, the exception of the first item.
    """
    turn = threading.Lock()

    def run(item: T) -> R:
        _mine.turn = turn
        with turn:
            return function(item)

    with ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(run, items))


@contextmanager
def waiting() -> Iterator[None]:
    """Let the other threads of `in_turns` go on inside the block; elsewhere this does nothing."""
    turn: threading.Lock | None = getattr(_mine, "turn", None)
    if turn is None:
        yield
        return
    turn.release()
    try:
        yield
    finally:
        turn.acquire()
