"""ASHA of Ray Tune, on epochs instead of reports, and with a memory of the trials that an earlier start has ended."""

from collections.abc import Iterable, Mapping
from types import SimpleNamespace
from typing import Any

from ray import tune
from ray.train import Checkpoint
from ray.tune.integration.ray_train import TuneReportCallback
from ray.tune.schedulers import ASHAScheduler

from pipeline.config import SweepConfig
from pipeline.experiments.trial import Outcome
from pipeline.training.reporting import is_whole

METRIC, EPOCH = "val/top1", "epoch"


def asha(sweep: SweepConfig) -> ASHAScheduler:
    """Return the scheduler of a sweep."""
    return ASHAScheduler(
        time_attr=EPOCH,
        metric=METRIC,
        mode="max",
        max_t=max(sweep.base.training.epochs, sweep.grace_epochs),
        grace_period=sweep.grace_epochs,
        reduction_factor=sweep.reduction,
        stop_last_trials=False,
    )


def remember(scheduler: ASHAScheduler, outcomes: Iterable[Outcome]) -> None:
    """Compare the trials to come with those that ended before this start, as if all ran in one."""
    (bracket,) = scheduler._brackets
    for outcome in outcomes:
        for rows in outcome.history.values():
            for epoch, row in enumerate(rows, start=1):
                bracket.on_result(SimpleNamespace(trial_id=outcome.name), epoch, row[METRIC])


class ReportEpochs(TuneReportCallback):
    """A callback that reports whole epochs to Tune: neither checkpoints inside one, nor the last, after which none is.

    Args:
        epochs: the epochs of the training.
        before: epochs of an earlier start, which are reported at once.
    """

    def __init__(self, epochs: int, before: Iterable[Mapping[str, float]] = ()) -> None:
        super().__init__()
        self.epochs = epochs
        for epoch, row in enumerate(before, start=1):
            if epoch < epochs:
                tune.report({**row, EPOCH: epoch})

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Checkpoint | None) -> None:
        """Pass on the report of a whole epoch; see the base class in Ray."""
        if is_whole(metrics[0]) and metrics[0][EPOCH] < self.epochs:
            super().after_report(run_context, metrics, checkpoint)
