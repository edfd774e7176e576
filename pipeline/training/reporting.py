"""Reports of a running training: checkpoints to Ray Train, metrics to MLflow, one line per epoch to the user."""

import sys
import tempfile
import time
from pathlib import Path

import ray.train
import ray.train.collective

from pipeline import console
from pipeline.config import save
from pipeline.progress import duration
from pipeline.tracking.outages import tolerated
from pipeline.training.checkpoints import SELECT, State
from pipeline.training.job import Job
from pipeline.training.live_metrics import LiveMetrics
from pipeline.training.rank import Rank

ASK_S = 2.0  # seconds between checks for a preemption notice, which comes half a minute ahead or more
NEVER = sys.float_info.max  # stands for the missing loss of a checkpoint inside an epoch; JSON has no infinity


class Occasions:
    """The steps of an epoch after which a checkpoint is due: every `training.checkpoint_steps`, and on preemption.

    All ranks check after the same steps and get the same answer. Asking Ray Train for a preemption notice is a barrier
    of ten milliseconds, for which all ranks go through one actor. Therefore the ranks ask about every `ASK_S` seconds;
    rank 0 converts this interval to a number of steps.
    """

    def __init__(self, every: int | None) -> None:
        self.every, self.notice = every, None
        self.pause, self.passed, self.asked = 1, 0, time.monotonic()  # steps between checks; steps since the last

    def due(self, steps: int) -> bool:
        """Return whether a checkpoint is due after this many steps of the epoch; call it after each step."""
        self.passed += 1
        noticed = self.passed >= self.pause and self._noticed()
        return noticed or (self.every is not None and steps % self.every == 0)

    def _noticed(self) -> bool:
        before, self.notice = self.notice, ray.train.get_preemption_info()
        now = time.monotonic()
        fitting = int(self.pause * ASK_S / max(now - self.asked, 1e-3))
        self.pause = ray.train.collective.broadcast_from_rank_zero(max(1, min(fitting, 2 * self.pause)))
        self.passed, self.asked = 0, now
        return self.notice is not None and self.notice != before


def report_epoch(job: Job, state: State, here: Rank) -> None:
    """Report an epoch's metrics and checkpoint to Ray Train, a barrier for all ranks, then the metrics to MLflow."""
    _report(job, state, here, state.history[-1])
    if here.rank == 0:
        with tolerated(job.run.uri):
            job.run.log_history(state.history)


def report_inside(job: Job, state: State, here: Rank) -> None:
    """Report a checkpoint inside an epoch; it is never selected as the best one."""
    _report(job, state, here, {SELECT: NEVER})


def is_whole(metrics: dict[str, float]) -> bool:
    """Return whether a report covers a whole epoch."""
    return metrics[SELECT] != NEVER


def tell_epoch(job: Job, state: State, seconds_an_epoch: float) -> None:
    """Print the line of an epoch."""
    console.say(_line(job.stream, state, job.config.training.epochs, seconds_an_epoch))


def _report(job: Job, state: State, here: Rank, metrics: dict[str, float]) -> None:
    state.check_finite(job.stream)
    inside = state.position.steps > 0
    with tempfile.TemporaryDirectory() as folder:
        if here.rank == 0:
            state.save(Path(folder))
            save(job.config, Path(folder) / "config.yaml")
        if inside:
            state.save_rank(Path(folder), here.rank)
        stored = ray.train.Checkpoint.from_directory(folder) if inside or here.rank == 0 else None
        ray.train.report({**metrics, "epoch": state.epoch, "step": state.step}, checkpoint=stored)
    if here.rank == 0:
        LiveMetrics(job.config.name, job.stream).checkpoint()


def _line(stream: str, state: State, epochs: int, seconds_an_epoch: float) -> str:
    """Format the line of an epoch.

    It reads, for example, `flow epoch 3/12: train 1.52 (45.0 %), val 1.31 (52.5 % of 80 clips), lr 0.1, 14.2 clips/s,
    data wait 3 %, 3:10 left`.
    """
    last = state.history[-1]
    return (
        f"{stream} epoch {state.epoch}/{epochs}: "
        f"train {last['train/loss']:.2f} ({100 * last['train/top1']:.1f} %), "
        f"val {last['val/loss']:.2f} ({100 * last['val/top1']:.1f} % of {last['val/clips']:.0f} clips), "
        f"lr {last['lr']:.2g}, {last['perf/clips_per_second']:.1f} clips/s, "
        f"data wait {100 * last['perf/data_wait']:.0f} %, {duration((epochs - state.epoch) * seconds_an_epoch)} left"
    )
