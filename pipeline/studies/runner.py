"""Run trials on Ray, a few at a time, with the functions of the real jobs; finished trials are not run again."""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any

import ray
from ray.exceptions import RayError

from pipeline.cluster import quiet_worker
from pipeline.config import Config, IngestConfig, to_dict
from pipeline.interruptions import Interrupted
from pipeline.progress import duration
from pipeline.runs.pretrain import pretrain, run_of
from pipeline.runs.supervision_transfer import transfer
from pipeline.shards import read_manifest
from pipeline.storage import exists, make_folder, remove
from pipeline.studies.experiments import INFLATE, Outcome, Trial, planned_passes
from pipeline.studies.frames import train_frames
from pipeline.tracking.runs import Run
from pipeline.training.matching_network import MATCHING
from pipeline.workers import TRIAL_CPUS

Write = Callable[[str], object]


class Runner:
    """The scheduler of a study's trials, which knows which are done and which may begin.

    Args:
        storage: the study's folder; outcomes are in STORAGE/outcomes, runs in STORAGE/runs.
        manifests: the manifests of the data sets, by name.
        parent: the MLflow run that is the parent of the trials' runs.
        concurrent: number of trials at a time.
        write: function that is called with each line of progress.
    """

    def __init__(
        self, storage: str, manifests: Mapping[str, dict[str, Any]], parent: Run, concurrent: int, write: Write = print
    ) -> None:
        self.storage, self.manifests, self.parent = storage, manifests, parent
        self.concurrent, self.write = concurrent, write
        self.digests = {name: manifest["digest"] for name, manifest in manifests.items()}
        self.outcomes: dict[tuple[str, int], Outcome] = {}
        self.failed: dict[str, str] = {}  # trial to reason

    def run(self, trials: list[Trial]) -> None:
        """Run the trials that are not done; if one fails, only those that start from it are skipped.

        Args:
            trials: the trials in the order of `in_order`.
        """
        for trial in trials:
            if done := Outcome.load(self._path(trial)):
                self.outcomes[_id(trial)] = done
        waiting = [trial for trial in trials if _id(trial) not in self.outcomes]
        self.write(f"study: {len(trials)} trainings, {len(trials) - len(waiting)} done before")
        try:
            self._perform(trials, waiting)
        except KeyboardInterrupt as stop:
            self.parent.kill_children()
            raise Interrupted(f"{len(self.outcomes)} of {len(trials)} trainings are done") from stop

    def _perform(self, trials: list[Trial], waiting: list[Trial]) -> None:
        """Run the waiting trials, a few at a time."""
        work = {str(trial): planned_passes(trial, self.manifests) for trial in waiting}
        left, begun, running = sum(work.values()), time.monotonic(), dict[Any, Trial]()
        total = left
        while waiting or running:
            self._drop_orphans(waiting)
            for trial in [trial for trial in waiting if self._ready(trial)][: self.concurrent - len(running)]:
                waiting.remove(trial)
                running[self._submit(trial)] = trial
            if not running:
                break
            (reference,), _ = ray.wait(list(running), num_returns=1)
            trial = running.pop(reference)
            left -= work[str(trial)]
            self._take(trial, reference)
            seconds = time.monotonic() - begun
            remaining = duration(seconds * left / max(total - left, 1e-9))
            self.write(f"study {len(self.outcomes)}/{len(trials)}: {self._said(trial)}; {remaining} left")

    def _submit(self, trial: Trial) -> Any:
        starts = {name: self.outcomes[_id(start)].weights[name] for name, start in trial.starts.items()}
        return _performed.remote(trial, trial.run_name(self.digests), starts, self.parent)

    def _take(self, trial: Trial, reference: Any) -> None:
        try:
            outcome = Outcome(**ray.get(reference))
        except RayError as error:
            self.failed[str(trial)] = str(error).strip().splitlines()[-1].strip()
            return
        outcome.save(self._path(trial))
        self.outcomes[_id(trial)] = outcome

    def _ready(self, trial: Trial) -> bool:
        return all(_id(start) in self.outcomes for start in trial.starts.values())

    def _drop_orphans(self, waiting: list[Trial]) -> None:
        for trial in list(waiting):
            if gone := [str(start) for start in trial.starts.values() if str(start) in self.failed]:
                waiting.remove(trial)
                self.failed[str(trial)] = f"{gone[0]} failed"

    def _said(self, trial: Trial) -> str:
        if reason := self.failed.get(str(trial)):
            return f"{trial} failed: {reason}"
        outcome = self.outcomes[_id(trial)]
        shares = ", ".join(f"{name} {100 * share:.1f} %" for name, share in outcome.top1.items())
        return f"{trial}: {shares} of {outcome.clips} clips, {duration(outcome.seconds)}"

    def _path(self, trial: Trial) -> str:
        return f"{self.storage}/outcomes/{trial.run_name(self.digests)}.json"


@ray.remote(num_cpus=TRIAL_CPUS, max_retries=0)
def _performed(trial: Trial, name: str, starts: dict[str, str], parent: Run) -> dict[str, Any]:
    quiet_worker(str(trial))
    return asdict(perform(trial, name, starts, parent))


def perform(trial: Trial, name: str, starts: Mapping[str, str], parent: Run) -> Outcome:
    """Train and test; resume a training that was interrupted.

    Args:
        trial: the trial to run.
        name: the name of its run.
        starts: maps a stream, or `inflate`, to the file of its initial weights.
        parent: the parent MLflow run.
    """
    begun, config = time.monotonic(), trial.experiment.config
    inflate, weights = starts.get(INFLATE, ""), {key: path for key, path in starts.items() if key != INFLATE}
    model = replace(config.model, weights=weights, inflate=inflate)
    config = replace(config, name=name, seed=trial.seed, model=model)
    folder = f"{config.storage}/runs/{name}"
    if exists(f"{folder}/run.json") and trial.experiment.kind != "frames":
        config = replace(config, resume=name)
    elif exists(folder):
        remove(folder)
    tags = {"mlflow.parentRunId": parent.run_id, "experiment": trial.experiment.name, "seed": trial.seed}
    match trial.experiment.kind:
        case "train":
            result = pretrain(config, tags)
            accuracy, trained = result.accuracy, result.trained
            top1 = {stream: one.top1 for stream, one in accuracy.items()}
            clips, digest = next((one.clips, one.digest) for one in accuracy.values())
            history = {stream: one.history for stream, one in trained.items()}
            files = {stream: one.weights for stream, one in trained.items()}
        case "transfer":
            taught = transfer(config, tags)
            best = taught.trained.best
            top1, clips, digest = {MATCHING: best["val/top1"]}, int(best["val/clips"]), _digest(config.ingest)
            history, files = {MATCHING: taught.trained.history}, {"rgb": taught.student}
        case "frames":
            rows, path = _frames(config, folder, tags)
            top1, clips, digest = {"frames": rows[-1]["test/top1"]}, int(rows[-1]["test/clips"]), _digest(config.ingest)
            history, files = {"frames": rows}, {INFLATE: path}
    step = config.clips_of_a_step
    return Outcome(name, top1, clips, digest, history, step, files, round(time.monotonic() - begun, 1))


def _frames(config: Config, folder: str, tags: Mapping[str, object]) -> tuple[list[dict[str, float]], str]:
    """Train the 2D network in a tracked run; return its history and the path of its weights."""
    make_folder(folder)
    path = f"{folder}/{config.model.name}.pth"
    with run_of(config.storage, config.tracking, config.name, {"runs": {}}, folder, "all", tags=dict(tags)) as run:
        run.log_config(to_dict(config))
        history = train_frames(config, path)
        for epoch, row in enumerate(history, start=1):
            run.log_metrics(row, step=epoch)
    return history, path


def _digest(ingest: IngestConfig) -> str:
    return str(read_manifest(ingest.shards)["digest"])


def _id(trial: Trial) -> tuple[str, int]:
    return trial.experiment.name, trial.seed
