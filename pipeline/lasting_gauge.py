"""A gauge of Ray's metrics that Prometheus sees for as long as what it is about goes on.

A process hands the value of a gauge on once after it was set, and its node forgets it two report intervals later, which
is 20 s (Ray 2.60, whose metrics go through OpenTelemetry). So a thread sets it again. Counters need none of this, but a
node goes on to say them when their process is gone; only a gauge says that something is at work.
"""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from ray.util import metrics

EVERY_S = 5.0


class LastingGauge:
    """A gauge with one set of tags.

    Args:
        name: name of the metric, without Ray's prefix.
        description: what its value is.
        tags: values of its tags by name.
    """

    def __init__(self, name: str, description: str, tags: Mapping[str, str] | None = None) -> None:
        self._tags = dict(tags or {})
        self._gauge = metrics.Gauge(name, description, tuple(self._tags))
        self._value: float | None = None

    def set(self, value: float) -> None:
        """Set the value."""
        self._value = value
        self._gauge.set(value, self._tags)

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Set the last value again and again until the end of the `with` statement."""
        over = threading.Event()

        def again() -> None:
            while not over.wait(EVERY_S):
                if self._value is not None:
                    self._gauge.set(self._value, self._tags)

        thread = threading.Thread(target=again, name="lasting-gauge", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
