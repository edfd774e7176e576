"""Which trainings of an experiment could not succeed; they are looked for before any starts."""

import json
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import replace

import torch

from pipeline.config import Config, ConfigError, to_dict
from pipeline.experiments.trial import Training, Trial
from pipeline.networks import build_network, network_inputs
from pipeline.runs.pretrain import check
from pipeline.runs.supervision_transfer import check_transfer
from pipeline.training.initial_weights import freeze
from pipeline.workers import Machines, TooSmallError, fitted

DECIDE = ("model", "clips", "evaluation", "training", "ingest", "resources")  # parts of a config that decide it


def refusals(
    trials: Iterable[Trial],
    splits: Callable[[Training], Collection[str]],
    cluster: Machines,
    at_once: int,
    known: dict[str, str] | None = None,
    prefix: str = "",
) -> list[tuple[Training, str]]:
    """Return the trainings that could not succeed, each with the reason; of equal configs the first.

    Args:
        trials: the trials.
        splits: returns the splits of a training's data.
        cluster: the machines; a cluster that is only too small may grow until the training starts.
        at_once: trainings at a time.
        known: reasons that earlier calls have found, to which this one adds.
        prefix: what comes before a field's name on the command line.
    """
    known, wrong = {} if known is None else known, dict[str, tuple[Training, str]]()
    for training in {trial.training.name: trial.training for trial in trials}.values():
        if training.kind == "frames":  # a network of torchvision, on single frames of a rendered set
            continue
        values, there = to_dict(training.config), splits(training)
        facts = json.dumps([training.kind, bool(training.starts), *(values[part] for part in DECIDE), sorted(there)])
        if facts not in known:
            known[facts] = ""
            try:
                _check(training, training.config, there)
                with suppress(TooSmallError):
                    fitted(training.config, cluster, at_once, prefix)
            except ConfigError as error:
                known[facts] = str(error)
        if known[facts]:
            wrong.setdefault(facts, (training, known[facts]))
    return list(wrong.values())


def _check(training: Training, config: Config, splits: Collection[str]) -> None:
    """Check the config of a training, whose weights may be those of another one that does not exist yet."""
    model = config.model
    if training.kind == "transfer" and not training.starts:
        check_transfer(config, splits)
    elsewhere = bool(training.starts) or training.kind == "transfer"
    plain = replace(model, fine_tune="none", weights={}, inflate="") if elsewhere else model
    check(replace(config, model=plain), splits)
    for name in network_inputs(model) if elsewhere else ():
        with torch.device("meta"):
            freeze(model, build_network(model, name, num_classes=2))
