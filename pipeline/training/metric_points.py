"""Points of a run's curves on their way to MLflow: sent by a thread, so that no step waits, and kept till they arrived.

Before it sends, the thread asks how far the server is, after a failure again: a point that an outage delayed comes
later, and steps that are made once more after a restart are not logged twice.
"""

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

from pipeline.tracking.outages import tolerated
from pipeline.tracking.runs import Run


class Point(NamedTuple):
    """Numbers at an optimiser step."""

    step: int
    time_ms: int
    metrics: Mapping[str, float]


class Sender:
    """Sends points to a run, one batch after the other.

    Args:
        run: the run of MLflow.
        points: new ones are appended here by their maker; those that have arrived are taken away.
    """

    def __init__(self, run: Run, points: list[Point]) -> None:
        self.run, self.points = run, points
        self._thread = ThreadPoolExecutor(1, "points")
        self._sending: Future[int | None] | None = None
        self._known: int | None = None  # step that the server is at; None while that must be asked
        self._failed = False

    def send(self) -> None:
        """Set out with what is there, unless some are on their way; waits for nothing."""
        if self._sending is not None and self._sending.done():
            self._settle()
        if self._sending is None and self.points:
            self._sending = self._thread.submit(self._deliver, list(self.points))

    def finish(self) -> None:
        """Send all, once, and wait for it."""
        self._settle()
        self.send()
        self._settle()
        self._thread.shutdown()

    def _settle(self) -> None:
        """Wait for what is on its way, and forget what has arrived."""
        if self._sending is not None and (arrived := self._sending.result()) is not None:
            self.points[:] = [point for point in self.points if point.step > arrived]
        self._sending = None

    def _deliver(self, points: list[Point]) -> int | None:
        """The step that the server is at then; None where it does not answer."""
        known, self._known = self._known, None
        with tolerated(self.run.uri, aloud=not self._failed):
            if known is None:
                known = self.run.last_step(next(iter(points[0].metrics)))
            self.run.log_points([point for point in points if point.step > known])
            self._known = max(known, points[-1].step)
        self._failed = self._known is None
        return self._known
