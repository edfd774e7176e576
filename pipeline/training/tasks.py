"""The task of a training: which network learns, from which windows, with which labels."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import nn

from pipeline.clips.decoding import Sampler
from pipeline.clips.index import ClipIndex
from pipeline.clips.pairs import PairSampler, matched, partners
from pipeline.clips.planes import Window
from pipeline.clips.sampling import CentreSampler, TrainingSampler
from pipeline.clips.stored_clips import StoredClips
from pipeline.config import Config
from pipeline.models import LoadReport
from pipeline.models.weights import Provenance
from pipeline.networks import build_network, network_inputs
from pipeline.shards import ShardError
from pipeline.training.initial_weights import freeze, load_start
from pipeline.training.matching_network import MATCHING, MatchingNetwork, build_matching


class EvaluationSampler(Protocol):
    """A sampler that knows the lengths of its windows, so that clips of equal length can be put in one batch."""

    def lengths(self, index: StoredClips, stream: str) -> NDArray[np.int64]:
        """Return the number of frames of each clip that the network will see, (clips,)."""

    def __call__(self, index: StoredClips, row: int, stream: str) -> Window:
        """Return the window, (T, crop, crop, C) uint8 or planes."""


class Task(Protocol):
    """The interface of a task, as the training loop uses it."""

    @property
    def streams(self) -> tuple[str, ...]:
        """The streams of a batch that the network takes, in the order of its arguments."""

    def index(self, split: str) -> ClipIndex:
        """Return the clips of a split."""

    def network(self, here: Provenance) -> tuple[nn.Module, LoadReport | None]:
        """Return the network with its initial weights, and a report on those that were loaded, or None.

        Args:
            here: the provenance of the training.
        """

    def training(self, index: ClipIndex, epoch: int) -> tuple[ClipIndex, Sampler]:
        """Return the clips of an epoch with their labels, and the sampler of their windows."""

    def validation(self, index: ClipIndex) -> tuple[ClipIndex, EvaluationSampler]:
        """Return the same for the validation, which does not change from epoch to epoch."""


@dataclass(frozen=True)
class Classification:
    """Classification of actions in labelled clips: rgb, flow, or two_stream for a network that takes both."""

    config: Config
    stream: str

    @property
    def streams(self) -> tuple[str, ...]:
        """See `Task`."""
        return network_inputs(self.config.model)[self.stream]

    def index(self, split: str) -> ClipIndex:
        """See `Task`.

        Raises:
            ShardError: some clips have no label; the message says how many.
        """
        index = ClipIndex.load(self.config.ingest.shards, split)
        if (index.label < 0).any():
            raise ShardError(
                f"{index.shards}: {(index.label < 0).sum()} of {len(index)} clips of {index.split!r} have no label"
            )
        return index

    def network(self, here: Provenance) -> tuple[nn.Module, LoadReport | None]:
        """See `Task`."""
        network = build_network(self.config.model, self.stream, len(here.labels))
        loaded = load_start(self.config.model, self.stream, network, here)
        freeze(self.config.model, network)
        return network, loaded

    def training(self, index: ClipIndex, epoch: int) -> tuple[ClipIndex, Sampler]:
        """See `Task`."""
        return index, TrainingSampler(self.config.clips, self.config.seed, epoch, paired=len(self.streams) > 1)

    def validation(self, index: ClipIndex) -> tuple[ClipIndex, EvaluationSampler]:
        """See `Task`."""
        return index, CentreSampler(self.config.clips, self.config.evaluation.val_frames, paired=len(self.streams) > 1)


@dataclass(frozen=True)
class Matching:
    """Supervision transfer: the network learns, from clips without labels, whether frames and clip are of one video."""

    config: Config

    @property
    def streams(self) -> tuple[str, ...]:
        """See `Task`."""
        return ("frames", "rgb")

    def index(self, split: str) -> ClipIndex:
        """See `Task`."""
        return ClipIndex.load(self.config.ingest.shards, split)

    def network(self, here: Provenance) -> tuple[MatchingNetwork, LoadReport | None]:  # noqa: ARG002 - no classes
        """See `Task`."""
        return build_matching(self.config.model), None

    def training(self, index: ClipIndex, epoch: int) -> tuple[ClipIndex, Sampler]:
        """See `Task`."""
        rows = partners(index, self.config.seed, epoch)
        return matched(index, rows), PairSampler(TrainingSampler(self.config.clips, self.config.seed, epoch), rows)

    def validation(self, index: ClipIndex) -> tuple[ClipIndex, EvaluationSampler]:
        """See `Task`."""
        rows = partners(index, self.config.seed, epoch=None)
        frames = self.config.evaluation.val_frames or self.config.clips.frames
        return matched(index, rows), PairSampler(CentreSampler(self.config.clips, frames), rows)


def task_of(config: Config, name: str) -> Task:
    """Return the task of a network by its name: `matching`, or the name of a network that classifies."""
    return Matching(config) if name == MATCHING else Classification(config, name)
