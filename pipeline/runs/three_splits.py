"""Trainings on the three published splits of UCF-101 or HMDB-51, one after the other, over clips ingested once.

STORAGE/runs/NAME/run.json          the config, and the MLflow run below which each split has its own
STORAGE/runs/NAME/splits.json       accuracy and model version of each split that is done
STORAGE/runs/NAME-split1/, 2, 3     the training on each split, an ordinary run

A run that is resumed trains no split again that is done, and continues the one that was interrupted.
"""

from dataclasses import asdict, dataclass, replace
from statistics import fmean
from typing import Any, Literal

from pipeline.config import CatalogConfig, Config, ConfigError, to_dict
from pipeline.evaluation.scores import Accuracy
from pipeline.interruptions import Interrupted
from pipeline.networks import network_inputs
from pipeline.registry.descriptions import data_line
from pipeline.runs.pretrain import begun, pretrain, run_of
from pipeline.shards import read_manifest
from pipeline.storage import exists, read_json, remove, write_json
from pipeline.tracking.notes import pipes, set_note
from pipeline.tracking.runs import Run

NUMBERS: tuple[Literal[1, 2, 3], ...] = (1, 2, 3)


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


def wants_three(catalog: CatalogConfig) -> bool:
    """Return whether a catalog is asked for all three splits."""
    return catalog.split_number == "all"


def trainings(config: Config) -> list[Config]:
    """Return the config of each training that a config asks for: itself, or one for each of three splits."""
    return [_of_split(config, number) for number in NUMBERS] if wants_three(config.catalog) else [config]


def train_splits(config: Config) -> SplitsDone:
    """Train, test and register on each of the three splits of a complete shard set.

    Args:
        config: a resolved config with the name of the run, whose `catalog.split_number` is `all`.

    Raises:
        ConfigError: the name of the run of a split is taken.
    """
    manifest, start = read_manifest(config.ingest.shards), config
    about = {"dataset_digest": manifest["digest"], "model": config.model.name, "recipe": config.recipe or "none"}
    if not config.resume:
        _check_free(config)
    with (
        begun(config, manifest, network_inputs(config.model)) as (config, folder, state),
        run_of(config.storage, config.tracking, config.name, state, folder, "all", tags=about) as run,
    ):
        run.log_config(to_dict(config))
        result, stored = SplitsDone(config.name, folder, run, {}), f"{folder}/splits.json"
        for number, values in (read_json(stored) if exists(stored) else {}).items():
            result.splits[int(number)] = _done(values)
            print(f"split {number} is done: {_said(result.splits[int(number)])}", flush=True)
        for number in sorted(set(NUMBERS) - result.splits.keys()):
            print(f"split {number} of {len(NUMBERS)}", flush=True)
            asked = _started(_of_split(replace(config, allow_other_data=start.allow_other_data), number))
            try:
                one = pretrain(asked, parent=run)
            except KeyboardInterrupt as stop:
                keeps = f"run {config.name} keeps {len(result.splits)} of {len(NUMBERS)} splits"
                inside = f"; {stop.stays}" if isinstance(stop, Interrupted) else ""
                goes_on = ["--resume", config.name, "--storage", config.storage]
                raise Interrupted(f"{keeps}{inside}", goes_on) from stop
            result.splits[number] = SplitDone(one.accuracy, one.version)
            write_json(stored, {str(each): asdict(done) for each, done in result.splits.items()})
        _log(run, config, manifest, result)
    return result


def _of_split(config: Config, number: Literal[1, 2, 3]) -> Config:
    """Return the config of the training on one split: its name, and its sides in the shard set that has all three."""
    training, test = config.training, config.evaluation.split
    return replace(
        config,
        name=f"{config.name}-split{number}",
        catalog=replace(config.catalog, split_number=number),
        training=replace(
            training, train_split=f"{training.train_split}{number}", val_split=f"{training.val_split}{number}"
        ),
        evaluation=replace(config.evaluation, split=f"{'test' if test == 'auto' else test}{number}"),
    )


def _check_free(config: Config) -> None:
    for one in trainings(config):
        if exists(f"{config.storage}/runs/{one.name}"):
            raise ConfigError(f"--name {config.name}: there is a run {one.name} already; take another name")


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
    metrics, networks = {}, list(result.splits[NUMBERS[0]].accuracy)
    for network in networks:
        for measure in ("top1", "top5"):
            for number, one in result.splits.items():
                metrics[f"split{number}/{network}_{measure}"] = getattr(one.accuracy[network], measure)
            metrics[f"mean/{network}_{measure}"] = result.mean(network, measure)
    run.log_metrics(metrics, step=0)
    about = f"**{config.model.name}** on the three splits of `{manifest['dataset']}`, top-1 in %."
    rows: list[list[object]] = [["network", *(f"split {number}" for number in NUMBERS), "mean"]]
    for network in networks:
        each = (result.splits[number].accuracy[network].top1 for number in NUMBERS)
        rows.append([network.replace("_", "-"), *(f"{100 * one:.1f}" for one in (*each, result.mean(network, "top1")))])
    data = [data_line(one, manifest) for one in trainings(config)]
    set_note(run, [about, pipes(rows), *data])
