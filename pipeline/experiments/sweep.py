"""A sweep: an experiment whose trials are points of a search space, on shard sets that exist already.

STORAGE/experiments/NAME/
results.csv, trials.csv, results.md   the points, best in validation first; single trials; both as a report
axis_*.png, cost.png                  accuracy over each axis, and over what it cost
winner.yaml                           the config of the best trial, which can be trained on its own
points.json                           what a sampler of Optuna has chosen so far
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
from pipeline.experiments.queue import Queue, Write
from pipeline.experiments.results import Row, csv_rows, markdown, rows_of, shown_rows, trial_rows
from pipeline.experiments.run import ExperimentError, Settings, experiment_run, folder_of, run_trials
from pipeline.experiments.samplers import OptunaSampler
from pipeline.experiments.space import FOLDS, OF_THE_DATA, Space, pinned, read_axes
from pipeline.experiments.trial import ELSEWHERE, Outcome, Outcomes, Trial
from pipeline.figures.charts import png
from pipeline.interruptions import Interrupted
from pipeline.masking import masked
from pipeline.runs.pretrain import check
from pipeline.shards import read_manifest
from pipeline.shards.splits import clips_in, splits_of
from pipeline.storage import remove, write_bytes
from pipeline.table import csv_text
from pipeline.tracking.decoration import may_fail
from pipeline.tracking.notes import pipes, set_note
from pipeline.tracking.runs import Run
from pipeline.workers import Machines, TooSmallError, fitted

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


def space_of(sweep: SweepConfig) -> Space:
    """Return the space of a resolved sweep on the connected cluster, or on this machine if there is none.

    Raises:
        ConfigError: an axis is wrong, or the base does not fit the cluster.
        ShardError: the shard set is incomplete; a sweep does not ingest clips.
    """
    manifest = read_manifest(sweep.base.ingest.shards)
    base = fitted(sweep.base, machines(), sweep.concurrent, "base.")
    sweep = replace(sweep, base=pinned(sweep.base, base.clips_of_a_step))
    read_axes(sweep)
    return Space(sweep, clips_in(manifest), len(manifest["labels"]))


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
    trials = [] if sweep.sampler in ADAPTIVE else space.trials(space.points())
    check_trials(trials or space.trials(space.corners()), machines(), sweep.concurrent)
    base, manifests = sweep.base, _manifests(space)
    digest = str(manifests[base.ingest.shards]["digest"])
    name = base.name or _named(space, digest)
    folder = folder_of(base.storage, name)
    tags = {"dataset_digest": digest, "model": base.model.name, "sampler": sweep.sampler}
    with experiment_run(base.storage, base.tracking.uri, base.tracking.experiment, name, tags) as run:
        _describe(run, space, manifests[base.ingest.shards], len(trials))
        sampler = OptunaSampler(space, f"{folder}/points.json", write) if sweep.sampler in ADAPTIVE else None
        every = sweep.test == "all"  # each trial is tested by the process that has trained it
        scheduler = asha(sweep) if sweep.scheduler == "asha" else None
        queue = Queue(name, base.storage, manifests, trials, every, scheduler is not None, sampler, write)
        settings = Settings(base.storage, folder, sweep.concurrent, base.resources.max_failures, every)
        if scheduler is not None:
            remember(scheduler, queue.known(space.trials(sampler.chosen) if sampler else trials))
        run_trials(queue, run, settings, scheduler, space)
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


def check_trials(trials: Sequence[Trial], cluster: Machines, at_once: int) -> None:
    """Check the config of every trial before any starts; trials of the same network and windows are checked once.

    Args:
        trials: the trials.
        cluster: the machines; a cluster that is only too small may grow until the trial starts.
        at_once: trials at a time.

    Raises:
        ConfigError: a trial could not succeed; the message names its point.
    """
    seen, wrong = set[str](), list[str]()
    for trial in trials:
        config = trial.training.config
        values = to_dict(config)
        facts = json.dumps([values[part] for part in ("model", "clips", "evaluation", "training", "ingest")])
        if facts in seen:
            continue
        seen.add(facts)
        try:
            check(config, splits_of(read_manifest(config.ingest.shards)["splits"]))
            with contextlib.suppress(TooSmallError):
                fitted(config, cluster, at_once, "base.")
        except ConfigError as error:
            wrong.append(f"{trial.training.name}: {error}")
    if wrong:
        more = f"; so {len(wrong) - 1} others, --plan lists them" if len(wrong) > 1 else ""
        raise ConfigError(f"{wrong[0]}{more}; nothing was started")


def _manifests(space: Space) -> dict[str, dict[str, Any]]:
    several = read_axes(space.sweep).get(OF_THE_DATA, ())
    paths = {space.sweep.base.ingest.shards, *(several if isinstance(several, tuple) else ())}
    return {path: read_manifest(path) for path in sorted(paths)}


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


def _describe(run: Run, space: Space, manifest: dict[str, Any], trials: int) -> None:
    sweep, contexts = space.sweep, dict[str, str]()
    set_note(run, [f"{_about(space)}: {trials or sweep.points} trials. Each is a run below this one.", *_facts(space)])
    run.log_config(to_dict(sweep))
    for point, repeat in itertools.product(space.corners(), space.repeats):
        used = space.base({**point, **repeat}).training
        contexts |= {used.val_split: "validation", used.train_split: "training"}
    run.log_shards(sweep.base.ingest.shards, manifest, contexts)


def _about(space: Space) -> str:
    axes = ", ".join(f"`{name}` {values}" for name, values in space.sweep.axes.items())
    return f"**{space.sweep.base.model.name}** over {axes or 'nothing'}"


def _facts(space: Space) -> list[str]:
    sweep, base = space.sweep, space.sweep.base
    folds = " of each fold" if any(name in sweep.axes for name in FOLDS) else ""
    sampler = "every combination" if sweep.sampler == "grid" else f"{sweep.points} points drawn by {sweep.sampler}"
    return [
        f"Data: `{masked(base.ingest.shards)}`, digest `{read_manifest(base.ingest.shards)['digest']}`.",
        f"Accuracies are means over {', '.join(sweep.over)} ± their standard deviation; validation is on "
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
