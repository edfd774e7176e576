"""Optuna's samplers, which choose the next point of a sweep from the validation accuracy of the earlier ones."""

from collections.abc import Callable
from typing import Any

import numpy as np

from pipeline.config import ConfigError
from pipeline.experiments.space import TRIES, Point, Range, Space, described, text
from pipeline.experiments.trial import Outcome, Trial
from pipeline.storage import exists, read_json, write_json


class OptunaSampler:
    """The points of a sweep, one after the other; points that an earlier start has chosen come first.

    Args:
        space: the space of the sweep.
        file: path of the list of the points chosen so far.
        write: function that is called with each line of progress.

    Attributes:
        chosen: these points.

    Raises:
        ConfigError: Optuna is not installed.
    """

    def __init__(self, space: Space, file: str, write: Callable[[str], object] = print) -> None:
        try:
            import optuna
        except ImportError:
            raise ConfigError(f"sampler: {space.sweep.sampler} needs Optuna; pip install optuna") from None
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        samplers: dict[str, Any] = {
            "tpe": optuna.samplers.TPESampler,
            "gp": optuna.samplers.GPSampler,
        }
        self.chosen: list[Point] = read_json(file) if exists(file) else []
        # Points of an earlier start take no random numbers: the same seed would draw the first of them again.
        sampler = samplers[space.sweep.sampler](seed=space.sweep.base.seed + len(self.chosen))
        self.space, self.file, self.write, self._states = space, file, write, optuna.trial.TrialState
        self._study = optuna.create_study(direction="maximize", sampler=sampler)
        self._axes = {name: _distribution(optuna.distributions, axis) for name, axis in space.axes.items()}
        self._asked = self._refused = 0
        self._open: dict[str, Any] = {}  # Optuna's trial of each point
        self._values: dict[str, list[float | None]] = {}

    def ask(self) -> list[Trial] | None:
        """Return the trials of the next point; None if there are no more.

        A combination that no network can be trained with, such as a crop larger than the clips, is left out and said.
        """
        while self._asked < self.space.sweep.points and self._refused < TRIES * self.space.sweep.points:
            known = self.chosen[self._asked] if self._asked < len(self.chosen) else None
            if known is not None:
                self._study.enqueue_trial({name: _typed(self.space.axes[name], value) for name, value in known.items()})
            asked = self._study.ask(self._axes)
            point = known or {name: _text(asked.params[name]) for name in self.space.axes}
            try:
                trials = self.space.trials([point])
            except ConfigError as error:
                if known is not None:
                    raise
                self._study.tell(asked, state=self._states.FAIL)
                self._refused += 1
                self.write(f"{error}; another point is drawn")
                continue
            if known is None:
                self.chosen.append(point)
                write_json(self.file, self.chosen)
            self._asked += 1
            self._open.setdefault(described(point, over=()), asked)
            return trials
        return None

    def left(self) -> int:
        """Return how many trials are still to come."""
        return (self.space.sweep.points - self._asked) * len(self.space.repeats)

    def tell(self, trial: Trial, outcome: Outcome | None) -> None:
        """Take note of an outcome; when a point has all of them, Optuna learns their mean."""
        point = described(trial.training.axes, over=self.space.sweep.over)
        values = self._values.setdefault(point, [])
        values.append(None if outcome is None else outcome.validated)
        if len(values) < len(self.space.repeats):
            return
        known = [value for value in values if value is not None]
        asked = self._open.pop(point, None)
        if asked is not None and known:
            self._study.tell(asked, float(np.mean(known)))
        elif asked is not None:
            self._study.tell(asked, state=self._states.FAIL)


def _distribution(distributions: Any, axis: tuple[str, ...] | Range) -> Any:
    if not isinstance(axis, Range):
        return distributions.CategoricalDistribution(axis)
    if axis.kind == "randint":
        return distributions.IntDistribution(int(axis.low), int(axis.high))
    return distributions.FloatDistribution(axis.low, axis.high, log=axis.kind == "loguniform")


def _typed(axis: tuple[str, ...] | Range, value: str) -> Any:
    if not isinstance(axis, Range):
        return value
    return int(value) if axis.kind == "randint" else float(value)


def _text(value: Any) -> str:
    return text(value) if isinstance(value, float) else str(value)
