"""Sending of the points of a run's curves to MLflow, by a thread, so that no optimiser step waits.

Points are kept until they have arrived. Before the first batch, and again after a failure, the thread asks the server
for its last step. Therefore points that an outage delayed are sent later, and steps that are repeated after a restart
are not logged twice.
"""

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

from pipeline.tracking.outages import tolerated
from pipeline.tracking.runs import Run


class Point(NamedTuple):
    """The metrics at one optimiser step."""

    step: int
    time_ms: int
    metrics: Mapping[str, float]


class Sender:
    """A sender of points to a run, one batch after the other.

    Args:
        run: the MLflow run.
        points: the list to which the caller appends new points; the sender removes those that have arrived.
    """

    def __init__(self, run: Run, points: list[Point]) -> None:
        self.run, self.points = run, points
        self._thread = ThreadPoolExecutor(1, "points")
        self._sending: Future[int | None] | None = None
        self._known: int | None = None  # last step that the server has; None if the server must be asked
        self._failed = False

    def send(self) -> None:
        """Start to send all points, unless a batch is being sent; return at once."""
        if self._sending is not None and self._sending.done():
            self._settle()
        if self._sending is None and self.points:
            self._sending = self._thread.submit(self._deliver, list(self.points))

    def finish(self) -> None:
        """Try once to send all points, and wait for the result."""
        self._settle()
        self.send()
        self._settle()
        self._thread.shutdown()

    def _settle(self) -> None:
        """Wait for the batch that is being sent, and remove the points that have arrived."""
        if self._sending is not None and (arrived := self._sending.result()) is not None:
            self.points[:] = [point for point in self.points if point.step > arrived]
        self._sending = None

    def _deliver(self, points: list[Point]) -> int | None:
        """Send points; return the last step that the server then has, or None if it does not answer."""
        known, self._known = self._known, None
        with tolerated(self.run.uri, aloud=not self._failed):
            if known is None:
                known = self.run.last_step(next(iter(points[0].metrics)))
            self.run.log_points([point for point in points if point.step > known])
            self._known = max(known, points[-1].step)
        self._failed = self._known is None
        return self._known
