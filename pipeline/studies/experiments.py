"""An experiment: one training, with all that it stands on; the same experiment is never run twice."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from pipeline.config import Config, to_dict
from pipeline.storage import exists, make_folder, read_json, write_json

Kind = Literal["train", "transfer", "frames"]
INFLATE = "inflate"
# What of a config does not change a training's result, given the digest of its data.
_ELSEWHERE = ("name", "resume", "retry", "storage", "catalog", "ingest", "resources", "tracking")


@dataclass(frozen=True)
class Experiment:
    """A training, for any seed.

    Attributes:
        name: the name of its runs, unique in a study.
        data: name of its data set.
        config: without seed, name and starting weights.
        kind: a training on labels (`pretrain`), a supervision transfer (`transfer`), or a 2D network on single frames.
        starts: stream, or `inflate`, to the experiment whose weights it begins with.
        seeded: False for one that is made once for all seeds, as a published file would be.
    """

    name: str
    data: str
    config: Config
    kind: Kind = "train"
    starts: Mapping[str, "Experiment"] = field(default_factory=dict)
    seeded: bool = True

    def trial(self, seed: int) -> "Trial":
        """This experiment with a seed."""
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
        """The trials that must be done before it."""
        return {name: start.trial(self.seed) for name, start in self.experiment.starts.items()}

    def key(self, digests: Mapping[str, str]) -> str:
        """A hash of everything that the result is a function of.

        Args:
            digests: the digests of the data sets by their names.
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
            facts["classifier"] = "new"  # until version 0.1.0 it was kept where as many classes were left
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]

    def run_name(self, digests: Mapping[str, str]) -> str:
        """Of its runs and folder."""
        return f"{self.experiment.name}-seed{self.seed}-{self.key(digests)[:8]}"


@dataclass(frozen=True)
class Outcome:
    """What a trial came to.

    Attributes:
        name: the name of its run.
        top1: share of right clips of each network, and of both fused.
        clips: that these stand on.
        digest: the digest of the data.
        history: metrics of every epoch of each network.
        batch: clips an optimiser step.
        weights: what the next training starts from, by stream, or `inflate`.
        seconds: that it took.
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
        """Optimiser steps at the end of every epoch."""
        total, ends = 0, []
        for row in self.history[network]:
            total += -(-int(row["train/clips"]) // self.batch)
            ends.append(total)
        return ends

    def save(self, path: str) -> None:
        """Write it whole or not at all."""
        make_folder(path.rpartition("/")[0])
        write_json(path, asdict(self))

    @classmethod
    def load(cls, path: str) -> "Outcome | None":
        """Read it; None where it is not there."""
        return cls(**read_json(path)) if exists(path) else None


def in_order(trials: list[Trial]) -> list[Trial]:
    """The trials and all that they start from, each once, starts first."""
    found: dict[str, Trial] = {}

    def add(trial: Trial) -> None:
        for start in trial.starts.values():
            add(start)
        found.setdefault(str(trial), trial)

    for trial in trials:
        add(trial)
    return list(found.values())


def planned_passes(trial: Trial, manifests: Mapping[str, Mapping[str, Any]]) -> float:
    """How much work a trial is, in training passes of a clip of 8 x 28 x 28 pixels; for the time left."""
    config, splits = trial.experiment.config, manifests[trial.experiment.data]["splits"]
    share = config.clips.frames * config.clips.crop**2 / (8 * 28**2)
    clips = splits["train"]["present"] + splits["val"]["present"] / 3
    networks = 1 if trial.experiment.kind == "frames" else len(config.model.streams)
    return 300 + config.training.epochs * clips * share * networks
