"""Experiments: trainings with everything that their results depend on, so that none is run twice."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from pipeline.config import Config, to_dict
from pipeline.storage import exists, make_folder, read_json, write_json

Kind = Literal["train", "transfer", "frames"]
INFLATE = "inflate"
# Fields of a config that do not change the result of a training once the digest of its data is known.
_ELSEWHERE = ("name", "resume", "retry", "storage", "catalog", "ingest", "resources", "tracking")


@dataclass(frozen=True)
class Experiment:
    """A training without its seed.

    Attributes:
        name: the prefix of its runs' names, unique in a study.
        data: name of its data set.
        config: its config without seed, name and initial weights.
        kind: train, a training on labels (`pretrain`); transfer, a supervision transfer; frames, a training of a 2D
            network on single frames.
        starts: maps a stream, or `inflate`, to the experiment that provides the initial weights.
        seeded: False if it is run once for all seeds, because it replaces a published file.
    """

    name: str
    data: str
    config: Config
    kind: Kind = "train"
    starts: Mapping[str, "Experiment"] = field(default_factory=dict)
    seeded: bool = True

    def trial(self, seed: int) -> "Trial":
        """Return this experiment with a seed."""
        return Trial(self, seed if self.seeded else 0)


@dataclass(frozen=True)
class Trial:
    """An experiment with a seed."""

    experiment: Experiment
    seed: int

    def __str__(self) -> str:
        return f"{self.experiment.name} seed {self.seed}"

    @property
    def starts(self) -> dict[str, "Trial"]:
        """The trials that provide its initial weights, so they must be done first."""
        return {name: start.trial(self.seed) for name, start in self.experiment.starts.items()}

    def key(self, digests: Mapping[str, str]) -> str:
        """Return a hash of everything that the result depends on.

        Args:
            digests: the digests of the data sets, by name.
        """
        config = to_dict(replace(self.experiment.config, seed=self.seed))
        facts = {
            "kind": self.experiment.kind,
            "config": {name: value for name, value in config.items() if name not in _ELSEWHERE},
            "workers": self.experiment.config.resources.workers,
            "digest": digests[self.experiment.data],
            "starts": {name: start.key(digests) for name, start in self.starts.items()},
        }
        if self.starts and self.experiment.kind == "train":
            facts["classifier"] = "new"  # up to version 0.1.0 the old one was kept if the class count matched
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]

    def run_name(self, digests: Mapping[str, str]) -> str:
        """Return the name of its MLflow run and of its folder."""
        return f"{self.experiment.name}-seed{self.seed}-{self.key(digests)[:8]}"


@dataclass(frozen=True)
class Outcome:
    """The result of a trial.

    Attributes:
        name: the name of its run.
        top1: share of correctly classified clips of each network, and of both streams fused.
        clips: number of clips on which the accuracies were measured.
        digest: the digest of the data.
        history: metrics of every epoch of each network.
        batch: clips per optimiser step.
        weights: files of the trained weights for later trainings, by stream or `inflate`.
        seconds: its duration in seconds.
    """

    name: str
    top1: dict[str, float]
    clips: int
    digest: str
    history: dict[str, list[dict[str, float]]]
    batch: int
    weights: dict[str, str]
    seconds: float

    def steps(self, network: str) -> list[int]:
        """Return the number of optimiser steps done by the end of each epoch."""
        total, ends = 0, []
        for row in self.history[network]:
            total += -(-int(row["train/clips"]) // self.batch)
            ends.append(total)
        return ends

    def save(self, path: str) -> None:
        """Write the outcome to a file, atomically."""
        make_folder(path.rpartition("/")[0])
        write_json(path, asdict(self))

    @classmethod
    def load(cls, path: str) -> "Outcome | None":
        """Read an outcome; None if the file does not exist."""
        return cls(**read_json(path)) if exists(path) else None


def in_order(trials: list[Trial]) -> list[Trial]:
    """Return the trials and those that they start from, each once, with every trial after those it starts from."""
    found: dict[str, Trial] = {}

    def add(trial: Trial) -> None:
        for start in trial.starts.values():
            add(start)
        found.setdefault(str(trial), trial)

    for trial in trials:
        add(trial)
    return list(found.values())


def planned_passes(trial: Trial, manifests: Mapping[str, Mapping[str, Any]]) -> float:
    """Estimate the work of a trial, in training passes over a clip of 8 x 28 x 28 pixels, to predict the time left."""
    config, splits = trial.experiment.config, manifests[trial.experiment.data]["splits"]
    share = config.clips.frames * config.clips.crop**2 / (8 * 28**2)
    clips = splits["train"]["present"] + splits["val"]["present"] / 3
    networks = 1 if trial.experiment.kind == "frames" else len(config.model.streams)
    return 300 + config.training.epochs * clips * share * networks
