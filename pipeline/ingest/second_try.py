"""Further tries of a stage that failed because of the machine and not because of the clip."""

import time
from collections.abc import Callable
from typing import Any

from pipeline.ingest.clip_errors import ClipError
from pipeline.ingest.decode.child_process import ChildError

Row = dict[str, Any]

OF_THE_MACHINE = (OSError, MemoryError, ChildError)
"""What a stage raises if the machine lacks memory, open files or processes at this moment."""

PAUSES_S = (1.0, 5.0)
"""Seconds before the second and the third try."""


def persistently(stage: Callable[[Row], Row], row: Row) -> Row:
    """Call a stage, and call it again after a pause if the machine is at fault.

    Each try gets a copy of the row, because a stage removes columns. The last error is raised.
    """
    for pause_s in PAUSES_S:
        try:
            return stage(dict(row))
        except ClipError:
            raise
        except OF_THE_MACHINE:
            time.sleep(pause_s)
    return stage(dict(row))
