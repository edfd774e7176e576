"""Optuna's samplers, which choose the next point of a sweep from the validation accuracy of the earlier ones."""

from collections.abc import Callable
from typing import Any

import numpy as np

from pipeline.config import ConfigError
from pipeline.experiments.space import TRIES, Check, Point, Range, Space, described
from pipeline.experiments.trial import Outcome, Trial
from pipeline.storage import exists, read_json, write_json


class OptunaSampler:
    """The points of a sweep, one after the other; points that an earlier start has chosen come first.

    A point of an earlier start that is none of this space, or cannot be trained from this base, stays in the file and
    is left out.

    Args:
        space: the space of the sweep.
        file: path of the list of the points chosen so far.
        write: function that is called with each line of progress.
        check: a point that it refuses is left out, and another is drawn.

    Attributes:
        chosen: the points of this space that were chosen so far.
        refused: why the last point was left out; empty if none was.

    Raises:
        ConfigError: Optuna is not installed.
    """

    def __init__(
        self, space: Space, file: str, write: Callable[[str], object] = print, check: Check | None = None
    ) -> None:
        try:
            import optuna
        except ImportError:
            raise ConfigError(f"sampler: {space.sweep.sampler} needs Optuna; pip install optuna") from None
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        samplers: dict[str, Any] = {
            "tpe": optuna.samplers.TPESampler,
            "gp": optuna.samplers.GPSampler,
        }
        self.space, self.file, self.write, self.check = space, file, write, check
        self.chosen, self.refused = list[Point](), ""
        self._others = list[Point]()
        for point in read_json(file) if exists(file) else ():
            if space.fits(point) and self._trials(point):
                self.chosen.append({name: point[name] for name in space.axes})
            else:
                self._others.append(point)
        if self._others:
            write(f"{len(self._others)} points of an earlier start are none of these axes now, and are left out")
        # Points of an earlier start take no random numbers: the same seed would draw the first of them again.
        sampler = samplers[space.sweep.sampler](seed=space.sweep.base.seed + len(self.chosen))
        self._states = optuna.trial.TrialState
        self._study = optuna.create_study(direction="maximize", sampler=sampler)
        self._axes = {name: _distribution(optuna.distributions, axis) for name, axis in space.axes.items()}
        self._asked = self._useless = 0
        self._open: dict[str, Any] = {}  # Optuna's trial of each point
        self._values: dict[str, list[float | None]] = {}

    def ask(self) -> list[Trial] | None:
        """Return the trials of the next point; None if there are no more.

        A combination that no network can be trained with, such as a crop larger than the clips, is left out and said.
        """
        while self._asked < self.space.sweep.points and self._useless < TRIES * self.space.sweep.points:
            known = self.chosen[self._asked] if self._asked < len(self.chosen) else None
            if known is not None:
                self._study.enqueue_trial({name: _typed(self.space.axes[name], value) for name, value in known.items()})
            asked = self._study.ask(self._axes)
            point = known or {name: _text(axis, asked.params[name]) for name, axis in self.space.axes.items()}
            trials = [] if known is None and point in self.chosen else self._trials(point)
            if not trials:
                self._study.tell(asked, state=self._states.FAIL)
                self._useless += 1
                continue
            if known is None:
                self.chosen.append(point)
                write_json(self.file, [*self._others, *self.chosen])
            self._asked += 1
            self._open[described(point, over=())] = asked
            return trials
        return None

    def left(self) -> int:
        """Return how many trials are still to come."""
        return (self.space.sweep.points - self._asked) * len(self.space.repeats)

    def tell(self, trial: Trial, outcome: Outcome | None) -> None:
        """Take note of an outcome; when a point has all of them, or is stopped early, Optuna learns their mean."""
        point = described(trial.training.axes, over=self.space.over)
        values = self._values.setdefault(point, [])
        values.append(None if outcome is None else outcome.validated)
        stopped = outcome is not None and outcome.ended == "stopped early"
        if len(values) < len(self.space.repeats) and not stopped:
            return
        known = [value for value in values if value is not None]
        asked = self._open.pop(point, None)
        if asked is not None and known:
            self._study.tell(asked, float(np.mean(known)))
        elif asked is not None:
            self._study.tell(asked, state=self._states.FAIL)

    def _trials(self, point: Point) -> list[Trial]:
        """Return the trials of a point; none if they could not succeed, which is said."""
        try:
            trials = self.space.trials([point])
            if self.check is not None:
                self.check(trials)
        except ConfigError as error:
            self.refused = str(error)
            self.write(f"{error}; this point is left out")
            return []
        return trials


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


def _text(axis: tuple[str, ...] | Range, value: Any) -> str:
    return axis.text(value) if isinstance(axis, Range) else str(value)
