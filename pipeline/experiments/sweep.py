"""A sweep: an experiment whose trials are points of a search space, on shard sets that exist already.

STORAGE/experiments/NAME/
results.csv, trials.csv, results.md   the points, best in validation first; single trials; both as a report
axis_*.png, cost.png                  accuracy over each axis, and over what it cost
winner.yaml                           the config of the best trial, which can be trained on its own
points.json                           what a sampler of Optuna has chosen so far, of any axes
"""

import contextlib
import hashlib
import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from pipeline.cluster import machines
from pipeline.config import ConfigError, SweepConfig, to_dict, yaml_text
from pipeline.escaping import MESSAGE, for_markdown
from pipeline.experiments.asha import asha, remember
from pipeline.experiments.charts import axis_figure, cost_figure
from pipeline.experiments.perform import registered
from pipeline.experiments.queue import Queue, Sampler, Write
from pipeline.experiments.refusals import refusals
from pipeline.experiments.repeats import AfterTheFirst
from pipeline.experiments.results import Row, csv_rows, markdown, rows_of, shown_rows, trial_rows
from pipeline.experiments.run import ExperimentError, Settings, experiment_run, folder_of, run_trials
from pipeline.experiments.samplers import OptunaSampler
from pipeline.experiments.space import FOLDS, OF_THE_DATA, Check, Space, as_flags, pinned, sets_of
from pipeline.experiments.trial import ELSEWHERE, Outcome, Outcomes, Training, Trial
from pipeline.figures.charts import png
from pipeline.interruptions import Interrupted
from pipeline.masking import masked
from pipeline.shards import read_manifest
from pipeline.shards.splits import clips_in, splits_of
from pipeline.storage import remove, write_bytes
from pipeline.table import csv_text
from pipeline.tracking.decoration import may_fail
from pipeline.tracking.notes import pipes, set_note
from pipeline.tracking.runs import Run
from pipeline.training.classes import other_classes
from pipeline.workers import Machines, fitted

ADAPTIVE = ("tpe", "gp")


@dataclass(frozen=True)
class Swept:
    """The result of a sweep.

    Attributes:
        name: its name.
        folder: the folder with its tables and figures.
        run: the parent MLflow run.
        space: its space.
        rows: its points, the best in validation first.
        failed: the reason of each failure, by the name of the trial.
        digest: digest of the base's shard set.
        version: version of the registered model; None if none was asked for, or no trial was trained to the end.
    """

    name: str
    folder: str
    run: Run
    space: Space
    rows: list[Row]
    failed: dict[str, str]
    digest: str
    version: str | None = None

    @property
    def axes(self) -> list[str]:
        """The axes of the points."""
        return list(self.space.axes)

    @property
    def best(self) -> Row | None:
        """The point that is best in validation; None if none was trained to the end."""
        return next((row for row in self.rows if row.whole), None)


def space_of(sweep: SweepConfig) -> Space:
    """Return the space of a resolved sweep on the connected cluster, or on this machine if there is none.

    Raises:
        ConfigError: an axis is wrong, or the base does not fit the cluster.
        ShardError: the shard set is incomplete; a sweep does not ingest clips.
    """
    manifest = read_manifest(sweep.base.ingest.shards)
    base = fitted(sweep.base, machines(), sweep.concurrent, "base.")
    sweep = replace(sweep, base=pinned(sweep.base, base.clips_of_a_step))
    sets = {path: clips_in(read_manifest(path)) for path in sets_of(sweep)}
    return Space(sweep, clips_in(manifest), len(manifest["labels"]), sets)


def run_sweep(sweep: SweepConfig, write: Write = print) -> Swept:
    """Run the trials of a resolved sweep that have no outcome yet, test the best, and write tables and figures.

    Raises:
        ConfigError: a trial could not succeed; nothing has been started.
        ShardError: a shard set is incomplete.
        ExperimentError: no trial succeeded, or one failed and `fail_if_any` is set.
    """
    if sweep.base.resume:
        raise ConfigError("base.resume: a sweep goes on by itself; give its command again, without this")
    space = space_of(sweep)
    checked = partial(check_trials, cluster=machines(), at_once=sweep.concurrent, known={})
    adaptive, early = sweep.sampler in ADAPTIVE, sweep.scheduler == "asha"
    points = [] if adaptive else space.points(checked, write)
    trials = space.trials(points)
    if adaptive:
        _check_any(space, checked)
    else:
        checked(trials)
    base, manifests = sweep.base, _manifests(space)
    digest = str(manifests[base.ingest.shards]["digest"])
    name = base.name or _named(space, digest)
    folder = folder_of(base.storage, name)
    tags = {"dataset_digest": digest, "model": base.model.name, "sampler": sweep.sampler}
    with experiment_run(base.storage, base.tracking.uri, base.tracking.experiment, name, tags) as run:
        _describe(run, space, manifests, len(trials))
        optuna = OptunaSampler(space, f"{folder}/points.json", write, checked) if adaptive else None
        sampler: Sampler | None = optuna
        if early and len(space.repeats) > 1:
            sampler = after = AfterTheFirst(space, optuna)
            trials = after.first(trials)
        every = sweep.test == "all"  # each trial is tested by the process that has trained it
        scheduler = asha(sweep, space.repeats[0]) if early else None
        queue = Queue(name, base.storage, manifests, trials, every, early, sampler, write)
        settings = Settings(base.storage, folder, sweep.concurrent, base.resources.max_failures, every)
        if scheduler is not None:
            remember(scheduler, queue.known(space.trials(optuna.chosen if optuna else points, space.repeats[:1])))
        run_trials(queue, run, settings, scheduler, space)
        if not queue.trials:
            raise ExperimentError(f"{name}: no point could be trained; the last: {optuna.refused if optuna else ''}")
        failed, outcomes = dict(queue.failed), dict(queue.outcomes)
        rows = rows_of(queue.trials, outcomes, sweep.over)
        if sweep.test == "best" and rows and rows[0].whole:
            chosen = [trial for trial in rows[0].trials if trial.id in outcomes]
            tests = Queue(f"{name} test", base.storage, manifests, chosen, True, write=write)
            run_trials(tests, run, replace(settings, test=True))
            outcomes |= tests.outcomes
            failed |= {f"{trial} (test)": reason for trial, reason in tests.failed.items()}
            rows = rows_of(queue.trials, outcomes, sweep.over)
        result = Swept(name, folder, run, space, rows, failed, digest)
        _write(result, queue.trials, outcomes)
        _log(result)
        if sweep.register and rows and rows[0].whole:
            result = replace(result, version=_register(rows[0], queue, base.tracking.registered_model, run))
        if not outcomes:
            raise ExperimentError(f"{name}: all {len(failed)} trials failed; the first: {_first(failed)}")
        if failed and sweep.fail_if_any:
            raise ExperimentError(f"{name}: {len(failed)} trials failed; the first: {_first(failed)}")
    return result


def check_trials(trials: Sequence[Trial], cluster: Machines, at_once: int, known: dict[str, str] | None = None) -> None:
    """Check the config of every trial before any starts.

    Args:
        trials: the trials.
        cluster: the machines.
        at_once: trials at a time.
        known: what earlier checks have found, to which this one adds; None if there were none.

    Raises:
        ConfigError: a trial could not succeed; the message names its point.
    """
    if wrong := refusals(trials, _splits, cluster, at_once, known, "base."):
        training, reason = wrong[0]
        more = f"; so {len(wrong) - 1} others, --plan lists them" if len(wrong) > 1 else ""
        raise ConfigError(f"{training.name}: {as_flags(reason, training.axes)}{more}; nothing was started")


def _splits(training: Training) -> list[str]:
    return splits_of(read_manifest(training.config.ingest.shards)["splits"])


def _check_any(space: Space, checked: Check) -> None:
    """Check that a sampler may find a point that can be trained.

    Raises:
        ConfigError: none of the points at the ends of the axes can; the message is that of the last.
    """
    *others, last = space.corners()
    for point in others:
        with contextlib.suppress(ConfigError):
            checked(space.trials([point]))
            return
    checked(space.trials([last]))


def _manifests(space: Space) -> dict[str, dict[str, Any]]:
    """Return the manifests of the shard sets.

    Raises:
        ConfigError: the mean is to be taken over sets of different classes.
    """
    sets = sets_of(space.sweep)
    manifests = {path: read_manifest(path) for path in sorted({space.sweep.base.ingest.shards, *sets})}
    for path in sets if OF_THE_DATA in space.over else ():
        first, here = manifests[sets[0]]["labels"], manifests[path]["labels"]
        if set(first) != set(here):
            raise ConfigError(
                f"over: {OF_THE_DATA}: a mean over {sets[0]} and {path} says nothing, because of their classes: from "
                f"the first to the second, {other_classes(first, here)}; leave it out of over"
            )
    return manifests


def _named(space: Space, digest: str) -> str:
    """Return a name that follows from all that decides the results, so that the same command continues."""
    values = to_dict(space.sweep)
    for field in ("concurrent", "test", "fail_if_any", "register"):
        del values[field]
    values["base"] = {name: value for name, value in values["base"].items() if name not in ELSEWHERE}
    text = json.dumps([values, digest], sort_keys=True)
    return f"sweep-{space.sweep.base.model.name}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _register(row: Row, queue: Queue, model: str, run: Run) -> str | None:
    """Register the trial of a row that is best in validation, and return the version."""
    best = best_of(row, queue.outcomes)
    queue.write(f"{queue.name}: registering {best}")
    try:
        return registered(best, queue.run_name(best), model, run)
    except KeyboardInterrupt as stop:
        raise Interrupted("all trainings are done, and the best is not registered yet") from stop


def _describe(run: Run, space: Space, manifests: dict[str, dict[str, Any]], trials: int) -> None:
    sweep, contexts = space.sweep, dict[str, dict[str, str]]()
    count = trials or sweep.points * len(space.repeats)
    most = "at most " if sweep.scheduler == "asha" and len(space.repeats) > 1 else ""
    set_note(run, [f"{_about(space)}: {most}{count} trials. Each is a run below this one.", *_facts(space)])
    run.log_config(to_dict(sweep))
    for point, repeat in itertools.product(space.corners(), space.repeats):
        base = space.base({**point, **repeat})
        used = {base.training.val_split: "validation", base.training.train_split: "training"}
        contexts.setdefault(base.ingest.shards, {}).update(used)
    for path, used in contexts.items():
        run.log_shards(path, manifests[path], used)


def _about(space: Space) -> str:
    axes = ", ".join(f"`{name}` {values}" for name, values in space.sweep.axes.items())
    return f"**{space.sweep.base.model.name}** over {axes or 'nothing'}"


def _facts(space: Space) -> list[str]:
    sweep, base = space.sweep, space.sweep.base
    sets = sets_of(sweep)
    folds = " of each fold" if any(name in sweep.axes for name in FOLDS) else ""
    sampler = "every combination" if sweep.sampler == "grid" else f"{sweep.points} points drawn by {sweep.sampler}"
    data = [f"`{masked(path)}`, digest `{read_manifest(path)['digest']}`" for path in sets or (base.ingest.shards,)]
    return [
        f"Data: {'; '.join(data)}.",
        f"Accuracies are means over {', '.join(sorted(space.over))} ± their standard deviation; validation is on "
        f"`{base.training.val_split}`{folds}, the test ({sweep.test}) on `{base.evaluation.split}`{folds}. "
        f"Space: {sampler}. Equal for all: {sweep.budget}. Scheduler: {sweep.scheduler}. "
        f"Steps of {base.clips_of_a_step} clips.",
    ]


def _write(result: Swept, trials: Sequence[Trial], outcomes: dict[tuple[str, int], Outcome]) -> None:
    """Write tables and figures into the folder of the sweep, all of them, and then log them to MLflow."""
    title = f"{result.space.sweep.base.model.name}: {result.name}"
    facts = [*_facts(result.space), *_protocols(result.rows)]
    texts = {
        "results.csv": csv_text(csv_rows(result.rows, result.axes)),
        "trials.csv": csv_text(trial_rows(trials, outcomes, result.failed)),
        "results.md": markdown(title, facts, result.rows, result.axes, result.failed),
    }
    if result.rows and result.rows[0].whole:
        config = best_of(result.rows[0], outcomes).training.config
        config = replace(config, name="", tracking=result.space.sweep.base.tracking)
        texts["winner.yaml"] = yaml_text(masked(to_dict(config)))
    else:
        remove(f"{result.folder}/winner.yaml")  # of an earlier start
    files = {name: masked(text).encode() for name, text in texts.items()}
    drawn: dict[str, Callable[[], Any]] = {
        f"axis_{axis.replace('.', '_')}.png": partial(axis_figure, result.rows, axis, title) for axis in result.axes
    }
    drawn["cost.png"] = partial(cost_figure, result.rows, title)
    for name, draw in drawn.items():
        with may_fail(result.run, name):
            files[name] = png(draw())
    for name, content in files.items():
        write_bytes(f"{result.folder}/{name}", content)
    for name, content in files.items():
        result.run.log_bytes(name, content)


def best_of(row: Row, outcomes: Outcomes) -> Trial:
    """Return the trial of a row that is best in validation among those that were trained to the end."""
    done = [trial for trial in row.trials if trial.id in outcomes and outcomes[trial.id].ended == "done"]
    return max(done, key=lambda trial: outcomes[trial.id].validated)


def _protocols(rows: Sequence[Row]) -> list[str]:
    """Return a paragraph on the test protocols, which differ if the networks do."""
    names = sorted({outcome.protocol for row in rows for outcome in row.outcomes if outcome.protocol})
    return [f"Tested under the protocol {', '.join(f'`{name}`' for name in names)}."] if names else []


def _log(result: Swept) -> None:
    table = [[for_markdown(str(cell), MESSAGE) for cell in row] for row in shown_rows(result.rows, result.axes)]
    facts = [*_facts(result.space), *_protocols(result.rows)]
    set_note(result.run, [f"{_about(result.space)}, best in validation first.", pipes(table), *facts])
    metrics = {"trials": float(sum(len(row.trials) for row in result.rows)), "failed": float(len(result.failed))}
    if result.rows and result.rows[0].outcomes:
        metrics["best/val_top1"] = sum(result.rows[0].validated()) / len(result.rows[0].outcomes)
    if result.rows and result.rows[0].tested():
        metrics["best/test_top1"] = sum(result.rows[0].tested()) / len(result.rows[0].tested())
    result.run.log_metrics(metrics, step=0)


def _first(failed: dict[str, str]) -> str:
    trial, reason = next(iter(failed.items()))
    return f"{trial}: {reason}"
