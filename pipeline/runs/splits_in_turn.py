"""Trainings on the three splits of UCF-101 or HMDB-51, or on each fold of a folder, over clips ingested once.

STORAGE/runs/NAME/run.json          the config, and the MLflow run below which each split has its own
STORAGE/runs/NAME/splits.json       accuracy and model version of each split that is done
STORAGE/runs/NAME-split1/, 2, 3     the training on each split, an ordinary run

A run that is resumed trains no split again that is done, and continues the one that was interrupted.
"""

from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from statistics import fmean
from typing import Any, Literal, cast

from pipeline.config import Config, ConfigError, to_dict
from pipeline.evaluation.scores import Accuracy
from pipeline.interruptions import Interrupted
from pipeline.networks import network_inputs
from pipeline.registry.descriptions import data_line
from pipeline.runs.pretrain import begun, pretrain, run_of
from pipeline.shards import read_manifest
from pipeline.shards.splits import numbers_of, splits_of
from pipeline.storage import exists, read_json, remove, write_json
from pipeline.tracking.notes import pipes, set_note
from pipeline.tracking.runs import Run


@dataclass(frozen=True)
class SplitDone:
    """The result of one split.

    Attributes:
        accuracy: accuracy of each stream, and of the fusion.
        version: version of the registered model; None if the config names no registered model.
    """

    accuracy: dict[str, Accuracy]
    version: str | None


@dataclass(frozen=True)
class SplitsDone:
    """The result of all splits.

    Attributes:
        name: name of the run.
        folder: folder of the run.
        run: its MLflow run, whose children are the runs of the splits.
        splits: result of each split by its number.
    """

    name: str
    folder: str
    run: Run
    splits: dict[int, SplitDone]

    def mean(self, network: str, measure: str) -> float:
        """Return the mean of all splits, such as that of the measure `top1` of the network `rgb`."""
        return fmean(getattr(one.accuracy[network], measure) for one in self.splits.values())


def trainings(config: Config, splits: Collection[str]) -> list[Config]:
    """Return the config of each training that a config asks for: itself, or one for each split or fold.

    Args:
        config: a resolved config.
        splits: the splits of its clips, such as train1, test1, train2, test2.
    """
    return [_of_split(config, number) for number in numbers_of(splits)] if config.catalog.in_turn else [config]


def on_split(config: Config, number: int) -> Config:
    """Return a config that trains and tests on one split or fold of a shard set that has all of them."""
    training, test = config.training, config.evaluation.split
    return replace(
        config,
        training=replace(
            training, train_split=f"{training.train_split}{number}", val_split=f"{training.val_split}{number}"
        ),
        evaluation=replace(config.evaluation, split=f"{'test' if test == 'auto' else test}{number}"),
    )


def train_splits(config: Config) -> SplitsDone:
    """Train, test and register on each of the splits or folds of a complete shard set.

    Args:
        config: a resolved config with the name of the run, whose `catalog.split_number` or `catalog.fold` is `all`.

    Raises:
        ConfigError: the name of the run of a split is taken.
    """
    manifest, start = read_manifest(config.ingest.shards), config
    numbers = numbers_of(splits_of(manifest["splits"]))
    about = {"dataset_digest": manifest["digest"], "model": config.model.name, "recipe": config.recipe or "none"}
    if not config.resume:
        _check_free(config.storage, config.name, numbers)
    with (
        begun(config, manifest, network_inputs(config.model)) as (config, folder, state),
        run_of(config.storage, config.tracking, config.name, state, folder, "all", tags=about) as run,
    ):
        run.log_config(to_dict(config))
        result, stored = SplitsDone(config.name, folder, run, {}), f"{folder}/splits.json"
        for number, values in (read_json(stored) if exists(stored) else {}).items():
            result.splits[int(number)] = _done(values)
            print(f"split {number} is done: {_said(result.splits[int(number)])}", flush=True)
        for number in sorted(set(numbers) - result.splits.keys()):
            print(f"split {number}, one of {len(numbers)}", flush=True)
            asked = _started(_of_split(replace(config, allow_other_data=start.allow_other_data), number))
            try:
                one = pretrain(asked, parent=run)
            except KeyboardInterrupt as stop:
                keeps = f"run {config.name} keeps {len(result.splits)} of {len(numbers)} splits"
                inside = f"; {stop.stays}" if isinstance(stop, Interrupted) else ""
                goes_on = ["--resume", config.name, "--storage", config.storage]
                raise Interrupted(f"{keeps}{inside}", goes_on) from stop
            result.splits[number] = SplitDone(one.accuracy, one.version)
            write_json(stored, {str(each): asdict(done) for each, done in result.splits.items()})
        _log(run, config, manifest, result)
    return result


def _of_split(config: Config, number: int) -> Config:
    """Return the config of the training on one split: its name, and its sides in the shard set that has all."""
    catalog = config.catalog
    if catalog.split_number == "all":
        catalog = replace(catalog, split_number=cast(Literal[1, 2, 3], number))
    else:
        catalog = replace(catalog, fold=f"{catalog.fold.removesuffix('all')}{number}")
    return replace(on_split(config, number), name=f"{config.name}-split{number}", catalog=catalog)


def _check_free(storage: str, name: str, numbers: Collection[int]) -> None:
    for number in numbers:
        if exists(f"{storage}/runs/{name}-split{number}"):
            raise ConfigError(f"--name {name}: there is a run {name}-split{number} already; take another name")


def _started(config: Config) -> Config:
    """Return the config of a split's training such that it continues the run that exists, if any."""
    folder = f"{config.storage}/runs/{config.name}"
    if exists(f"{folder}/run.json"):
        return replace(config, resume=config.name)
    if exists(folder):  # its process was killed before there was anything to resume
        remove(folder)
    return config


def _done(values: dict[str, Any]) -> SplitDone:
    return SplitDone({name: Accuracy(**one) for name, one in values["accuracy"].items()}, values["version"])


def _said(done: SplitDone) -> str:
    return ", ".join(f"{name} {100 * one.top1:.1f} %" for name, one in done.accuracy.items())


def _log(run: Run, config: Config, manifest: dict[str, Any], result: SplitsDone) -> None:
    """Log the accuracy on each split and the mean, and describe the run by them."""
    metrics, networks = {}, list(next(iter(result.splits.values())).accuracy)
    for network in networks:
        for measure in ("top1", "top5"):
            for number, one in result.splits.items():
                metrics[f"split{number}/{network}_{measure}"] = getattr(one.accuracy[network], measure)
            metrics[f"mean/{network}_{measure}"] = result.mean(network, measure)
    run.log_metrics(metrics, step=0)
    about = f"**{config.model.name}** on the {len(result.splits)} splits of `{manifest['dataset']}`, top-1 in %."
    rows: list[list[object]] = [["network", *(f"split {number}" for number in result.splits), "mean"]]
    for network in networks:
        each = (result.splits[number].accuracy[network].top1 for number in result.splits)
        rows.append([network.replace("_", "-"), *(f"{100 * one:.1f}" for one in (*each, result.mean(network, "top1")))])
    data = [data_line(on_split(config, number), manifest) for number in result.splits]
    set_note(run, [about, pipes(rows), *data])
