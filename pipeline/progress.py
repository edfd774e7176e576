"""Progress of long tasks (share done, rate, time left), shown as lines in a log or as a bar on a terminal."""

import time
from collections.abc import Callable

from pipeline import console
from pipeline.console import Update

BAR_S = 0.5  # seconds between updates of a bar
QUIET_S = 30.0  # seconds without a line after which `tell` writes one


class Progress:
    """A progress counter that reports at most every `every_s` seconds and at the end; a bar moves more often."""

    def __init__(
        self,
        what: str,
        total: int,
        before: int = 0,
        every_s: float = 5.0,
        write: Callable[[str], object] | None = None,
        last_line: bool = True,
    ) -> None:
        """Start to count.

        Args:
            what: name of the task.
            total: number of items.
            before: number of items that an earlier run has done; they count as done, but not for the rate.
            every_s: seconds between lines.
            write: function that takes the lines; if None, they go to the console, as a bar on a terminal.
            last_line: whether to write a line at the end even if the task was so short that it has written none.
        """
        self.what, self.total, self.done, self.before = what, total, before, before
        self._every_s, self._write, self._said = every_s, write, last_line
        self._start = self._line = self._bar = time.monotonic()
        self._first: tuple[float, int] | None = None  # seconds and number done at the first call of `advance`
        if before:
            (write or console.say)(f"{what}: {before} of {total} done before")

    def advance(self, count: int = 1, note: str = "") -> None:
        """Count `count` more items as done."""
        self.done = self.done + count
        now, ended = time.monotonic(), self.done >= self.total
        if self._first is None:
            self._first = now - self._start, self.done
        line = self._said if ended else now - self._line >= self._every_s
        if line:
            self._line, self._said = now, True
        if self._write is None and (line or ended or now - self._bar >= BAR_S):
            self._bar = now
            console.show(Update(self.what, self._words(now - self._start, note), self._share, line, ended))
        elif self._write is not None and line:
            self._write(self.line(now - self._start, note))

    def tell(self, note: str) -> None:
        """Write a line on what happens within an item, unless there was a line in the last `QUIET_S` seconds."""
        now = time.monotonic()
        if self.done >= self.total or now - self._line < QUIET_S:
            return
        self._line = now
        if self._write is None:
            console.show(Update(self.what, self._words(now - self._start, note), self._share, True, False))
        else:
            self._write(self.line(now - self._start, note))

    def line(self, seconds: float, note: str = "") -> str:
        """Return the line after `seconds` seconds, such as `ingest 120/640 (19 %), 8.1/s, 1:04 left`."""
        return f"{self.what} {self._words(seconds, note)}"

    @property
    def _share(self) -> float:
        return self.done / max(self.total, 1)

    def _words(self, seconds: float, note: str) -> str:
        since, counted = self._first or (0.0, self.before)
        running = counted < self.done < self.total
        if not running:  # before the second item, and at the end
            since, counted = 0.0, self.before
        rate = (self.done - counted) / max(seconds - since, 1e-9)  # the first items include the start-up time
        clock = duration((self.total - self.done) / rate) + " left" if running else duration(seconds)
        return f"{self.done}/{self.total} ({100 * self._share:.0f} %), {rate:.1f}/s, {clock}{note and f', {note}'}"


def duration(seconds: float) -> str:
    """Format seconds as h:mm:ss or m:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
