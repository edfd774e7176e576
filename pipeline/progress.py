"""Progress of long work as plain lines: share done, rate, time left. Made for job logs, not for a terminal's cursor."""

import sys
import time
from collections.abc import Callable


class Progress:
    """Prints a line at most every `every_s` seconds, and one at the end."""

    def __init__(
        self,
        what: str,
        total: int,
        before: int = 0,
        every_s: float = 5.0,
        write: Callable[[str], object] | None = None,
    ) -> None:
        """`before` of the `total` were done by an earlier run: they count as done, not for the rate."""
        self.what, self.total, self.done, self.before = what, total, before, before
        self._every_s = every_s
        self._write = write or (lambda line: print(line, file=sys.stderr, flush=True))
        self._start = self._last = time.monotonic()
        if before:
            self._write(f"{what}: {before} of {total} done before")

    def advance(self, count: int = 1, note: str = "") -> None:
        """Count `count` more as done."""
        self.done += count
        now = time.monotonic()
        if self.done >= self.total or now - self._last >= self._every_s:
            self._last = now
            self._write(self.line(now - self._start, note))

    def line(self, seconds: float, note: str = "") -> str:
        """The line after so many seconds, such as `ingest 120/640 (19 %), 8.1/s, 1:04 left`."""
        rate = (self.done - self.before) / max(seconds, 1e-9)
        share = 100 * self.done / max(self.total, 1)
        running = self.before < self.done < self.total
        left = duration((self.total - self.done) / rate) + " left" if running else duration(seconds)
        return (
            f"{self.what} {self.done}/{self.total} ({share:.0f} %), {rate:.1f}/s, {left}{', ' + note if note else ''}"
        )


def duration(seconds: float) -> str:
    """Seconds as h:mm:ss or m:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
