"""The queue of an experiment, from which Ray Tune takes its trials: a trial waits for those that it starts from."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from ray.tune.search import Searcher

from pipeline.experiments.asha import EPOCH
from pipeline.experiments.trial import Outcome, Trial, outcome_file, planned_passes
from pipeline.progress import duration
from pipeline.training.checkpoints import SELECT

FAILED = "failed"  # what a trial reports instead of metrics: the reason, in one line
Write = Callable[[str], object]


class Sampler(Protocol):
    """Where further trials come from, which depend on the outcomes of earlier ones."""

    def ask(self) -> list[Trial] | None:
        """Return further trials; None if there are no more."""

    def tell(self, trial: Trial, outcome: Outcome | None) -> None:
        """Take note of an outcome; None if the trial failed."""

    def left(self) -> int:
        """Return how many trials are still to come."""


class Queue(Searcher):
    """The trials that wait, run and have ended; Tune asks it for the next one and tells it how each ended.

    Args:
        name: name of the experiment, for the lines of progress.
        storage: folder with the outcomes.
        manifests: the manifests of the data sets, by name.
        trials: the trials that are known, in the order of `in_order`.
        test: whether an outcome without a test is only half of one.
        early: whether a scheduler may stop trials; otherwise those that an earlier one has stopped go on.
        sampler: gives further trials; None if there are none.
        write: function that is called with each line of progress.

    Attributes:
        outcomes: the outcomes, by the ids of the trials.
        failed: the reason of each failure, by the name of the trial.
    """

    def __init__(
        self,
        name: str,
        storage: str,
        manifests: Mapping[str, Mapping[str, Any]],
        trials: Sequence[Trial],
        test: bool,
        early: bool = False,
        sampler: Sampler | None = None,
        write: Write = print,
    ) -> None:
        super().__init__()
        self.name, self.storage, self.manifests = name, storage, manifests
        self.test, self.early = test, early
        self.sampler, self.write = sampler, write
        self.digests = {data: str(manifest["digest"]) for data, manifest in manifests.items()}
        self.trials, self.waiting = list[Trial](), list[Trial]()
        self.running, self.histories = dict[str, Trial](), dict[str, dict[int, dict[str, float]]]()
        self.outcomes, self.failed = dict[tuple[str, int], Outcome](), dict[str, str]()
        self.add(trials)
        write(f"{name}: {len(self.trials)} trainings, {len(self.outcomes)} done before")
        self._work = {str(trial): planned_passes(trial, manifests) for trial in self.waiting}
        self._done, self._begun = 0.0, time.monotonic()

    def add(self, trials: Sequence[Trial]) -> None:
        """Take further trials that are not here yet; one that has an outcome is not run again."""
        here = {trial.id for trial in self.trials}
        for trial in (trial for trial in trials if trial.id not in here):
            self.trials.append(trial)
            outcome = Outcome.load(outcome_file(self.storage, self.run_name(trial)))
            if outcome is not None and outcome.has(self.test, self.early):
                self._ended(trial, outcome)
            else:
                self.waiting.append(trial)

    def known(self, trials: Sequence[Trial]) -> list[Outcome]:
        """Return the outcomes that some trials have already."""
        found = (Outcome.load(outcome_file(self.storage, self.run_name(trial))) for trial in trials)
        return [outcome for outcome in found if outcome is not None and outcome.has(self.test, self.early)]

    def run_name(self, trial: Trial) -> str:
        """Return the name of the run of a trial."""
        return trial.run_name(self.digests)

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Return what tells a process which trial to run; None to ask again later; see the base class in Ray."""
        trial = self._next()
        while trial is None and not self.waiting and self.sampler and (further := self.sampler.ask()) is not None:
            self.add(further)
            trial = self._next()
        if trial is None:
            return None if self.running else Searcher.FINISHED
        self.waiting.remove(trial)
        self.running[trial_id], self.histories[trial_id] = trial, {}
        starts = {name: self.outcomes[start.id].weights[name] for name, start in trial.starts.items()}
        axes = {**trial.training.axes, "seed": str(trial.seed)}
        return {"trial": str(trial), "name": self.run_name(trial), "axes": axes, "starts": starts}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Keep the metrics of an epoch, which a trial that Tune starts again tells again; see the base class in Ray."""
        if SELECT in result:
            epoch = {name: result[name] for name in result if "/" in name or name == "lr"}
            self.histories[trial_id][result[EPOCH]] = epoch

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Take the outcome of a trial, or the reason of its failure; see the base class in Ray."""
        if trial_id not in self.running:  # Tune tells the end of some trials twice
            return
        trial, epochs = self.running.pop(trial_id), self.histories.pop(trial_id)
        history = [epochs[number] for number in sorted(epochs)]
        file = outcome_file(self.storage, self.run_name(trial))
        outcome = Outcome.load(file)
        if outcome is not None and outcome.has(self.test, self.early):
            self._ended(trial, outcome)
        elif error:
            lost = f"its process or node was lost more than {trial.training.config.resources.max_failures} times"
            self._ended(trial, None, f"{lost} (resources.max_failures)")
        elif reason := (result or {}).get(FAILED):
            self._ended(trial, None, reason)
        elif history:
            stopped = self._stopped(trial, history)
            stopped.save(file)
            self._ended(trial, stopped)
        else:
            self._ended(trial, None, "it ended without a result")
        self._done += self._work.get(str(trial), 0.0)
        self.write(f"{self.name} {len(self.outcomes)}/{len(self.trials)}: {self._said(trial)}; {self._left()} left")

    def set_search_properties(self, *_: Any, **__: Any) -> bool:
        """See the base class in Ray."""
        return True

    def __getstate__(self) -> dict[str, Any]:
        """Give Tune nothing to store: the outcomes are stored already, and a config may hold secrets."""
        return {}

    def save_to_dir(self, *_: Any, **__: Any) -> None:
        """Save nothing, for the same reason."""

    def _ended(self, trial: Trial, outcome: Outcome | None, reason: str = "") -> None:
        if outcome is None:
            self.failed[str(trial)] = reason
        else:
            self.outcomes[trial.id] = outcome
        if self.sampler is not None:
            self.sampler.tell(trial, outcome)

    def _stopped(self, trial: Trial, history: list[dict[str, float]]) -> Outcome:
        config, name = trial.training.config, self.run_name(trial)
        (network,) = config.model.streams
        kept = history[-1] if config.training.keep == "last" else min(history, key=lambda row: row[SELECT])
        seconds = sum(row["train/clips"] / row["perf/clips_per_second"] for row in history)
        return Outcome(
            name, {}, 0, self.digests[trial.training.data], {network: history}, config.clips_of_a_step, {},
            round(seconds, 1), {network: kept}, "stopped early",
        )  # fmt: skip

    def _next(self) -> Trial | None:
        """Return the first trial that waits for no other; those that would wait for ever are left out."""
        self._drop_orphans()
        return next((trial for trial in self.waiting if self._ready(trial)), None)

    def _ready(self, trial: Trial) -> bool:
        return all(start.id in self.outcomes for start in trial.starts.values())

    def _drop_orphans(self) -> None:
        for trial in list(self.waiting):
            if gone := [str(start) for start in trial.starts.values() if str(start) in self.failed]:
                self.waiting.remove(trial)
                self._ended(trial, None, f"{gone[0]} failed")

    def _said(self, trial: Trial) -> str:
        if reason := self.failed.get(str(trial)):
            return f"{trial} failed: {reason}"
        outcome = self.outcomes[trial.id]
        if outcome.top1:
            shares = ", ".join(f"{name} {100 * share:.1f} %" for name, share in outcome.top1.items())
            return f"{trial}: {shares} of {outcome.clips} clips, {duration(outcome.seconds)}"
        after = f" after epoch {outcome.epochs}" if outcome.ended == "stopped early" else ""
        validated = f"{100 * outcome.validated:.1f} % in validation"
        return f"{trial}: {outcome.ended}{after}, {validated}, {duration(outcome.seconds)}"

    def _left(self) -> str:
        seconds, total = time.monotonic() - self._begun, sum(self._work.values())
        return duration(seconds * max(total - self._done, 0.0) / max(self._done, 1e-9))
