"""Exact evaluation: every clip of a split goes through the networks once, in a Ray Data job on any number of workers.

The protocol is I3D's: central crop, the whole clip (or a central window), logits averaged over time; two streams are
fused by the mean of their logits, which has the order of their sum (kinetics-i3d `evaluate_sample.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import ray
from numpy.typing import NDArray

from pipeline.clips.index import ClipIndex
from pipeline.clips.loader import decoding_dataset
from pipeline.clips.order import evaluation_batches
from pipeline.clips.sampling import CentreSampler
from pipeline.cluster import use_gpu
from pipeline.config import Config
from pipeline.networks import load_network
from pipeline.shards import read_manifest

FUSED = "two_stream"


class EvaluationError(RuntimeError):
    """Clips were lost or counted twice: the numbers would be wrong, so there are none."""


@dataclass(frozen=True)
class Accuracy:
    """What a set of logits is worth, and on how many clips.

    Attributes:
        top1: share of clips whose label has the highest logit.
        top5: share of clips whose label is among the five highest.
        clips: clips counted.
        missing: clips of the catalog that could not be read, and are not counted.
        digest: of the shard set.
    """

    top1: float
    top5: float
    clips: int
    missing: int
    digest: str

    def __str__(self) -> str:
        missing = f", {self.missing} missing" if self.missing else ""
        return f"top-1 {100 * self.top1:.1f} %, top-5 {100 * self.top5:.1f} % ({self.clips} clips{missing})"


@dataclass(frozen=True)
class Scores:
    """Logits of every clip of a split.

    Attributes:
        split: its name.
        digest: of the shard set.
        missing: clips of the catalog that could not be read.
        labels: class names.
        clip_ids: (clips,).
        targets: (clips,) class of each clip.
        logits: of each stream, (clips, classes) float32.
    """

    split: str
    digest: str
    missing: int
    labels: tuple[str, ...]
    clip_ids: NDArray[np.str_]
    targets: NDArray[np.int64]
    logits: dict[str, NDArray[np.float32]]

    @cached_property
    def all_logits(self) -> dict[str, NDArray[np.float32]]:
        """The streams, and their mean where there are two."""
        fused = {FUSED: np.mean(list(self.logits.values()), axis=0)} if len(self.logits) > 1 else {}
        return {**self.logits, **fused}

    def accuracy(self, name: str) -> Accuracy:
        """Of a stream, or of `two_stream`."""
        order = np.argsort(-self.all_logits[name], axis=1, kind="stable")
        hits = order[:, :5] == self.targets[:, None]
        return Accuracy(
            float(hits[:, 0].mean()), float(hits.any(axis=1).mean()), len(self.targets), self.missing, self.digest
        )

    def confusion(self, name: str) -> NDArray[np.int64]:
        """(classes, classes) counts: true class by predicted class."""
        matrix = np.zeros((len(self.labels),) * 2, np.int64)
        np.add.at(matrix, (self.targets, self.all_logits[name].argmax(axis=1)), 1)
        return matrix

    def table(self) -> pa.Table:
        """One row a clip, to be stored: what another fusion or another metric needs."""
        return pa.table(
            {
                "clip_id": self.clip_ids,
                "label": np.array(self.labels)[self.targets],
                "label_id": self.targets,
                **{f"{stream}_logits": list(logits) for stream, logits in self.logits.items()},
            }
        )


class Scorer:
    """The networks of all streams in one process; a Ray Data actor."""

    def __init__(self, config: Config, weights: Mapping[str, str], num_classes: int, gpu: bool) -> None:
        import torch

        self.device = torch.device("cuda" if gpu else "cpu")
        self.networks = {
            stream: load_network(config.model, stream, num_classes, path).to(self.device)
            for stream, path in weights.items()
        }

    def __call__(self, batch: dict[str, NDArray]) -> dict[str, NDArray]:
        """Replace the windows of each stream by logits, (N, classes) float32."""
        import torch

        from pipeline.clips.normalise import normalise

        scored = {"rows": batch["rows"]}
        with torch.inference_mode():
            for stream, network in self.networks.items():
                windows = torch.from_numpy(np.ascontiguousarray(batch[stream])).to(self.device)
                scored[stream] = network(normalise(windows)).float().cpu().numpy()
        return scored


def evaluate(config: Config, weights: Mapping[str, str], split: str) -> Scores:
    """Score every clip of a split.

    Args:
        config: resolved; its shard set, clip size, protocol and resources are used.
        weights: state dict of each stream.
        split: which clips.

    Raises:
        EvaluationError: a clip did not come back, or came back twice.
    """
    index = ClipIndex.load(config.ingest.shards, split)
    streams = tuple(weights)
    sample = CentreSampler(config.clips, config.evaluation.frames)
    batches = evaluation_batches(sample.lengths(index, streams[0]), config.evaluation.batch_size, rank=0, world=1)
    gpu = use_gpu(config)
    scored = decoding_dataset(index, streams, batches, sample, config.resources.loader_cpus).map_batches(
        Scorer,
        fn_constructor_args=(config, dict(weights), len(index.labels), gpu),
        batch_size=None,  # a block is a batch of clips of one length
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=config.resources.workers),
        num_cpus=config.resources.worker_cpus,
        num_gpus=1 if gpu else 0,
    )
    logits = {stream: np.full((len(index), len(index.labels)), np.nan, np.float32) for stream in streams}
    seen = np.zeros(len(index), np.int64)
    for batch in scored.iter_batches(batch_size=None, batch_format="numpy"):
        np.add.at(seen, batch["rows"], 1)
        for stream in streams:
            logits[stream][batch["rows"]] = batch[stream]
    if (seen != 1).any():
        raise EvaluationError(f"{split}: {(seen == 0).sum()} clips lost, {(seen > 1).sum()} counted twice")
    counts = read_manifest(config.ingest.shards)["splits"][split]
    known = index.label >= 0
    return Scores(
        split=split,
        digest=index.digest,
        missing=counts["expected"] - counts["present"],
        labels=index.labels,
        clip_ids=index.clip_ids[known],
        targets=index.label[known],
        logits={stream: values[known] for stream, values in logits.items()},
    )
