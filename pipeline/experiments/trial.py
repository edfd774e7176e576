"""Trials: a config, a key of everything that its result depends on, and the outcome that is stored under the key."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from pipeline.config import Config, to_dict
from pipeline.shards.splits import counts_of
from pipeline.storage import exists, make_folder, read_json, write_json

Kind = Literal["train", "transfer", "frames"]
Ended = Literal["done", "stopped early"]
INFLATE = "inflate"
# Fields of a config that do not change the result of a training once the digest of its data is known.
ELSEWHERE = (
    "name", "recipe", "resume", "retry", "storage", "catalog", "ingest", "resources", "tracking", "allow_other_data",
)  # fmt: skip


@dataclass(frozen=True)
class Training:
    """A training without its seed.

    Attributes:
        name: the prefix of its runs' names, unique in an experiment.
        data: name of its data set.
        config: its config without seed, name and initial weights.
        kind: train, a training on labels (`pretrain`); transfer, a supervision transfer; frames, a training of a 2D
            network on single frames.
        starts: maps a stream, or `inflate`, to the training that provides the initial weights.
        seeded: False if it is run once for all seeds, because it replaces a published file.
        axes: the values of a sweep's axes that make this training.
    """

    name: str
    data: str
    config: Config
    kind: Kind = "train"
    starts: Mapping[str, "Training"] = field(default_factory=dict)
    seeded: bool = True
    axes: Mapping[str, str] = field(default_factory=dict)

    def trial(self, seed: int) -> "Trial":
        """Return this training with a seed."""
        return Trial(self, seed if self.seeded else 0)


@dataclass(frozen=True)
class Trial:
    """A training with a seed."""

    training: Training
    seed: int

    def __str__(self) -> str:
        return f"{self.training.name} seed {self.seed}"

    @property
    def id(self) -> tuple[str, int]:
        """What tells it from the other trials of an experiment."""
        return self.training.name, self.seed

    @property
    def starts(self) -> dict[str, "Trial"]:
        """The trials that provide its initial weights, so they must be done first."""
        return {name: start.trial(self.seed) for name, start in self.training.starts.items()}

    def key(self, digests: Mapping[str, str]) -> str:
        """Return a hash of everything that the result depends on.

        Args:
            digests: the digests of the data sets, by name.
        """
        training = self.training
        config = to_dict(replace(training.config, seed=self.seed))
        facts: dict[str, Any] = {
            "kind": training.kind,
            "config": {name: value for name, value in config.items() if name not in ELSEWHERE},
            "digest": digests[training.data],
            "starts": {name: start.key(digests) for name, start in self.starts.items()},
        }
        if training.config.training.clips_per_step is None:  # otherwise a step is the same with any number of workers
            facts["workers"] = training.config.resources.workers
        if self.starts and training.kind == "train":
            facts["classifier"] = "new"  # up to version 0.1.0 the old one was kept if the class count matched
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]

    def run_name(self, digests: Mapping[str, str]) -> str:
        """Return the name of its run, which is the same in every experiment with this trial under whatever name."""
        network = re.sub(r"[^A-Za-z0-9_-]+", "-", self.training.config.model.name)[:40]
        return f"{network}-seed{self.seed}-{self.key(digests)[:8]}"


@dataclass(frozen=True)
class Outcome:
    """The result of a trial.

    Attributes:
        name: the name of its run.
        top1: share of correctly classified test clips of each network, and of both streams fused; empty before a test.
        clips: number of clips on which these accuracies were measured.
        digest: the digest of the data.
        history: metrics of every epoch of each network.
        batch: clips per optimiser step.
        weights: files of the trained weights for later trainings, by stream or `inflate`.
        seconds: its duration in seconds.
        kept: metrics of the checkpoint that `training.keep` names, of each network.
        ended: done, or stopped early by the scheduler.
        cost: what it cost: gmacs of a forward pass of a clip, parameters, core_hours.
        protocol: the test protocol.
        top5: share of test clips whose label is among the five highest, of each network.
    """

    name: str
    top1: dict[str, float]
    clips: int
    digest: str
    history: dict[str, list[dict[str, float]]]
    batch: int
    weights: dict[str, str]
    seconds: float
    kept: dict[str, dict[str, float]]
    ended: Ended = "done"
    cost: dict[str, float] = field(default_factory=dict)
    protocol: str = ""
    top5: dict[str, float] = field(default_factory=dict)

    def has(self, test: bool, early: bool) -> bool:
        """Return whether nothing is left to do.

        Args:
            test: whether the trial is to be tested after its training.
            early: whether a scheduler may stop trials, so that one that was stopped is done.
        """
        return early if self.ended == "stopped early" else bool(self.top1) or not test

    def steps(self, network: str) -> list[int]:
        """Return the number of optimiser steps done by the end of each epoch."""
        total, ends = 0, []
        for row in self.history[network]:
            total += -(-int(row["train/clips"]) // self.batch)
            ends.append(total)
        return ends

    @property
    def epochs(self) -> int:
        """Epochs of the longest of its trainings."""
        return max(map(len, self.history.values()), default=0)

    @property
    def validated(self) -> float:
        """Validation accuracy of the checkpoint that is kept, as a share; the mean of several networks."""
        return sum(row["val/top1"] for row in self.kept.values()) / max(len(self.kept), 1)

    @property
    def tested(self) -> float | None:
        """Test accuracy of the last network, which is the fusion if there are several; None before a test."""
        return list(self.top1.values())[-1] if self.top1 else None

    def measured(self, metric: str) -> list[float]:
        """Return the values of a metric in all epochs of all networks; none if it was not measured."""
        return [row[metric] for rows in self.history.values() for row in rows if metric in row]

    def save(self, path: str) -> None:
        """Write the outcome to a file, atomically."""
        make_folder(path.rpartition("/")[0])
        write_json(path, asdict(self))

    @classmethod
    def load(cls, path: str) -> "Outcome | None":
        """Read an outcome; None if the file does not exist, is broken, or is of another version."""
        try:
            return cls(**read_json(path)) if exists(path) else None
        except (ValueError, TypeError):
            return None


Outcomes = Mapping[tuple[str, int], Outcome]  # by the ids of the trials


def outcome_file(storage: str, name: str) -> str:
    """Return the path of the outcome of a run."""
    return f"{storage}/outcomes/{name}.json"


def in_order(trials: Iterable[Trial]) -> list[Trial]:
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
    config, manifest = trial.training.config, manifests[trial.training.data]
    share = config.clips.frames * config.clips.crop**2 / (8 * 28**2)
    used = (config.training.train_split, config.training.val_split)
    train, val = (counts_of(manifest, split)["present"] for split in used)
    networks = 1 if trial.training.kind == "frames" else len(config.model.streams)
    return 300 + config.training.epochs * (train + val / 3) * share * networks
