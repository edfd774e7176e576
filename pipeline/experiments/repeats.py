"""The repeats of a sweep that ASHA shortens: it judges the first of each point, and the others run if that one may.

So the mean of a point is over all its seeds and folds, and not over those that were lucky enough to go on.
"""

from collections.abc import Sequence

from pipeline.experiments.queue import Sampler
from pipeline.experiments.space import Space, described
from pipeline.experiments.trial import Outcome, Trial


class AfterTheFirst:
    """Gives the other repeats of a point when its first has ended without being stopped early.

    Args:
        space: the space of the sweep.
        sampler: gives the trials of further points; None if all points are known.
    """

    def __init__(self, space: Space, sampler: Sampler | None) -> None:
        self.space, self.sampler = space, sampler
        self._held: dict[str, list[Trial]] = {}
        self._ready: list[Trial] = []

    def first(self, trials: Sequence[Trial]) -> list[Trial]:
        """Return the first trial of each point, and keep the others back."""
        found = []
        for trial in trials:
            others = self._held.get(self._point(trial))
            if others is None:
                self._held[self._point(trial)] = []
                found.append(trial)
            else:
                others.append(trial)
        return found

    def ask(self) -> list[Trial] | None:
        """Return the repeats that may run now, or else the first trial of a further point; None if there is none."""
        if self._ready:
            ready, self._ready = self._ready, []
            return ready
        further = self.sampler.ask() if self.sampler else None
        return None if further is None else self.first(further)

    def tell(self, trial: Trial, outcome: Outcome | None) -> None:
        """Take note of an outcome; None if the trial failed, which says nothing about the other repeats."""
        others, self._held[self._point(trial)] = self._held.get(self._point(trial), []), []
        if outcome is None or outcome.ended == "done":
            self._ready += others
        if self.sampler is not None:
            self.sampler.tell(trial, outcome)

    def left(self) -> int:
        """Return how many trials are still to come, if none more is stopped."""
        return sum(map(len, (self._ready, *self._held.values()))) + (self.sampler.left() if self.sampler else 0)

    def _point(self, trial: Trial) -> str:
        return described(trial.training.axes, over=self.space.over)
