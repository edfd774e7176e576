"""Further tries of work that failed because of the machine and not because of the clip."""

import time
from collections.abc import Callable
from typing import TypeVar

from pipeline.ingest.clip_errors import ClipError

T = TypeVar("T")

OF_THE_MACHINE = (OSError, MemoryError)
"""What is raised if the machine lacks memory, open files or processes at this moment."""

PAUSES_S = (1.0, 5.0)
"""Seconds before the second and the third try."""


def persistently(work: Callable[[], T]) -> T:
    """Do some work, and do it again after a pause if the machine is at fault; the last error is raised."""
    for pause_s in PAUSES_S:
        try:
            return work()
        except ClipError:
            raise
        except OF_THE_MACHINE:
            time.sleep(pause_s)
    return work()
