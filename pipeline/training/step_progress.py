"""Progress of the optimiser steps inside an epoch: lines, a bar, and points of the curves `step/...` in MLflow.

A point is the mean over the steps since the previous point. All numbers are on the host already, so nothing waits for
the GPU.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline import console
from pipeline.console import Update
from pipeline.progress import BAR_S, duration
from pipeline.training.checkpoints import State
from pipeline.training.job import Job
from pipeline.training.live_metrics import LiveMetrics
from pipeline.training.metric_points import Point, Sender


class Steps:
    """The progress reports of a training's steps; only rank 0 uses them.

    Args:
        job: the job of this worker.
        state: the state of the training, which also holds the points that MLflow does not have yet.
    """

    def __init__(self, job: Job, state: State) -> None:
        self.job, self.state, self.tracking = job, state, job.config.tracking
        self._sender = Sender(job.run, state.points)
        self._live = LiveMetrics(job.config.name, job.stream)
        self._between = 0.0  # seconds from the last step of an epoch to the first of the next
        self._ended: float | None = None

    @contextmanager
    def sending(self) -> Iterator[None]:
        """Let Prometheus see the training, and send all remaining points when it ends, also when it fails."""
        try:
            with self._live.heard():
                yield
        finally:
            self._sender.finish()

    def begin(self, steps: int, planned: int) -> None:
        """Begin an epoch of `steps` steps, in a training of `planned` steps."""
        self.steps, self.planned, self.first = steps, planned, self.state.position.steps
        self._begun = self._bar = time.monotonic()
        if self._ended is not None:
            self._between = self._begun - self._ended
        self._reset(self._begun, 0.0)
        self._live.begin()

    def after(self, clips: int, waited: float) -> None:
        """Count a finished step, and report progress if it is time.

        Args:
            clips: number of clips in the step, over all ranks.
            waited: seconds spent waiting for data since `begin`.
        """
        self._live.step(clips, waited)
        now, last = time.monotonic(), self.state.position.steps >= self.steps
        self._losses.append(self.state.loss)
        self._clips += clips
        every = self.tracking.every_steps
        due = len(self._losses) >= every if every else now - self._since >= self.tracking.every_s
        if not (due or last or now - self._bar >= BAR_S):
            return
        metrics, self._bar = self._means(now, waited), now
        console.show(self._update(now, metrics, due, last))
        if due or last:
            self.state.points.append(Point(self.state.step, int(1000 * time.time()), metrics))
            self._sender.send()
            self._reset(now, waited)
        if last:
            self._ended = now

    def _reset(self, now: float, waited: float) -> None:
        self._since, self._waited = now, waited
        self._losses: list[float] = []
        self._clips = 0

    def _means(self, now: float, waited: float) -> dict[str, float]:
        seconds = max(now - self._since, 1e-9)
        return {
            "step/loss": sum(self._losses) / len(self._losses),
            "step/lr": float(self.state.optimiser.param_groups[0]["lr"]),
            "step/clips_per_second": self._clips / seconds,
            "step/data_wait": min(1.0, (waited - self._waited) / seconds),
        }

    def _update(self, now: float, metrics: dict[str, float], due: bool, last: bool) -> Update:
        """Format progress, such as `flow epoch 3/12: step 120/800, loss 1.520, lr 0.1, 14.2 clips/s, data wait ...`."""
        done, epochs = self.state.position.steps, self.job.config.training.epochs
        a_step = (now - self._begun) / max(done - self.first, 1)
        left = (self.steps - done) * a_step
        run_left = max(self.planned - self.state.step, 0) * a_step + (epochs - self.state.epoch) * self._between
        said = (
            f"step {done}/{self.steps}, loss {metrics['step/loss']:.3f}, lr {metrics['step/lr']:.2g}, "
            f"{metrics['step/clips_per_second']:.1f} clips/s, data wait {100 * metrics['step/data_wait']:.0f} %, "
            f"{duration(left)} left, {duration(run_left)} of all epochs"
        )
        what = f"{self.job.stream} epoch {self.state.epoch + 1}/{epochs}:"
        return Update(what, said, done / self.steps, due and not last, last)
