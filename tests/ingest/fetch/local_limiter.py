"""The limiter of one process and its threads: what the actor of a cluster does, without a cluster."""

import threading
import time
from collections.abc import Callable
from typing import Any

from pipeline.config import FetchConfig
from pipeline.ingest.fetch.limiter import Circuits, _wait_for_turn


class LocalLimiter:
    """See `Limiter`.

    Args:
        settings: `youtube_per_hour` and `youtube_pause_s` are used.
        clock: Seconds that never go back.
        sleep: Waits so many seconds.
    """

    def __init__(
        self,
        settings: FetchConfig,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._circuits = Circuits(settings, clock)
        self._lock = threading.Lock()
        self._sleep = sleep

    def acquire(self, egress: str) -> None:
        """See `Limiter`."""
        _wait_for_turn(lambda: self._call("ask", egress), self._sleep)

    def refused(self, egress: str, reason: str) -> None:
        """See `Limiter`."""
        self._call("refused", egress, reason)

    def succeeded(self, egress: str) -> None:
        """See `Limiter`."""
        self._call("succeeded", egress)

    def _call(self, method: str, *arguments: str) -> Any:
        with self._lock:
            return getattr(self._circuits, method)(*arguments)
