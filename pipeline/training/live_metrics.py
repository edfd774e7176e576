"""Metrics of a running training for Prometheus, through Ray; rank 0 alone updates them.

Counters, so that a dashboard has the mean over whatever time it shows: clips per second are the rate of `clips`, and
the share of time without data is that of `data_wait_seconds` in `seconds`. A node goes on to say the last value of a
counter when the training is over; the time of the last checkpoint is a gauge, and ends with the training.
"""

import functools
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager

from ray.util import metrics

from pipeline.lasting_gauge import LastingGauge

TAGS = ("run", "stream")


@functools.cache
def _counters() -> Mapping[str, metrics.Counter]:
    """Return the counters of this process by name."""
    return {
        "clips": metrics.Counter("training_clips", "Clips trained on, over all workers.", TAGS),
        "seconds": metrics.Counter("training_seconds", "Seconds in steps; the ends of epochs do not count.", TAGS),
        "waited": metrics.Counter("training_data_wait_seconds", "Seconds for which a step had no data.", TAGS),
    }


@functools.cache
def _checkpoint(run: str, stream: str) -> LastingGauge:
    tags = {"run": run, "stream": stream}
    return LastingGauge("training_checkpoint_time_seconds", "Time of the last checkpoint, in Unix seconds.", tags)


class LiveMetrics:
    """The metrics of one network's training.

    Args:
        run: name of the run.
        stream: name of the network.
    """

    def __init__(self, run: str, stream: str) -> None:
        self.tags = {"run": run, "stream": stream}

    def begin(self) -> None:
        """Begin an epoch: the time until now counts for no step."""
        self._at, self._waited = time.monotonic(), 0.0

    def step(self, clips: int, waited: float) -> None:
        """Count a step.

        Args:
            clips: number of clips in the step, over all ranks.
            waited: seconds spent waiting for data since `begin`.
        """
        now = time.monotonic()
        amounts = {"clips": clips, "seconds": now - self._at, "waited": waited - self._waited}
        self._at, self._waited = now, waited
        for name, amount in amounts.items():
            if amount > 0:  # Ray refuses to count nothing
                _counters()[name].inc(amount, self.tags)

    def checkpoint(self) -> None:
        """Say that a checkpoint was written now, or that there was nothing to lose until now."""
        _checkpoint(**self.tags).set(time.time())

    def heard(self) -> AbstractContextManager[None]:
        """Return the `with` statement of a training, during which Prometheus sees the time of its last checkpoint."""
        return _checkpoint(**self.tags).heard()
