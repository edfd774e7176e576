"""ASHA of Ray Tune, on epochs instead of reports, and with a memory of the trials that an earlier start has ended.

It judges the first repeat of each point; see `pipeline/experiments/repeats.py`.
"""

from collections.abc import Iterable, Mapping
from types import SimpleNamespace
from typing import Any

from ray import tune
from ray.train import Checkpoint
from ray.tune.experiment import Trial
from ray.tune.integration.ray_train import TuneReportCallback
from ray.tune.schedulers import ASHAScheduler, TrialScheduler

from pipeline.config import SweepConfig
from pipeline.experiments.trial import Outcome
from pipeline.training.reporting import is_whole

METRIC, EPOCH = "val/top1", "epoch"


class OnFirstRepeats(ASHAScheduler):
    """ASHA that neither stops the further repeats of a point nor compares others with them.

    Args:
        first: the values of the axes of the first repeat.
        **options: those of the base class.
    """

    def __init__(self, first: Mapping[str, str], **options: Any) -> None:
        super().__init__(**options)
        self.first = dict(first)

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Say whether a trial goes on after an epoch; see the base class in Ray."""
        if not self._is_first(trial):
            return str(TrialScheduler.CONTINUE)
        return str(super().on_trial_result(tune_controller, trial, result))

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:
        """Remember the last epoch of a trial; see the base class in Ray."""
        if self._is_first(trial):
            super().on_trial_complete(tune_controller, trial, result)

    def _is_first(self, trial: Trial) -> bool:
        return self.first.items() <= trial.config["axes"].items()


def asha(sweep: SweepConfig, first: Mapping[str, str]) -> OnFirstRepeats:
    """Return the scheduler of a sweep, which judges the trials with these values of the axes in `over`."""
    return OnFirstRepeats(
        first,
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
