"""What a training is about: which network learns, from which windows, with which labels."""

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
from pipeline.config import Config
from pipeline.models import LoadReport
from pipeline.models.weights import Provenance
from pipeline.networks import build_network, network_inputs
from pipeline.shards import ShardError
from pipeline.training.initial_weights import freeze, load_start
from pipeline.training.matching_network import MATCHING, MatchingNetwork, build_matching


class EvaluationSampler(Protocol):
    """Windows whose lengths are known, so that batches of one length can be made."""

    def lengths(self, index: ClipIndex, stream: str) -> NDArray[np.int64]:
        """(clips,) frames that the network will see of every clip."""

    def __call__(self, index: ClipIndex, row: int, stream: str) -> Window:
        """The window, (T, crop, crop, C) uint8 or planes."""


class Task(Protocol):
    """All that the loop asks."""

    @property
    def streams(self) -> tuple[str, ...]:
        """What of a batch the network takes, in the order of its arguments."""

    def index(self, split: str) -> ClipIndex:
        """The clips of a split."""

    def network(self, here: Provenance) -> tuple[nn.Module, LoadReport | None]:
        """The network as it starts a training that is of `here`, and what was loaded into it."""

    def training(self, index: ClipIndex, epoch: int) -> tuple[ClipIndex, Sampler]:
        """The clips of an epoch with its labels, and what is seen of them."""

    def validation(self, index: ClipIndex) -> tuple[ClipIndex, EvaluationSampler]:
        """The same for the validation, in every epoch alike."""


@dataclass(frozen=True)
class Classification:
    """Actions from labelled clips: rgb, flow, or two_stream for a network that takes both."""

    config: Config
    stream: str

    @property
    def streams(self) -> tuple[str, ...]:
        """See `Task`."""
        return network_inputs(self.config.model)[self.stream]

    def index(self, split: str) -> ClipIndex:
        """See `Task`.

        Raises:
            ShardError: saying how many clips have no label.
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
    """Supervision transfer: whether frames and clip are of one video, from clips without labels."""

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
    """The task of a network by its name: `matching`, or a stream's."""
    return Matching(config) if name == MATCHING else Classification(config, name)
